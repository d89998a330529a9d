"""The NAT detector on the simulated internet: STUN servers, peers alone, foretold ports."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio

import carrick.testing.stun
from carrick import HostBuilder
from carrick.addressing import Reach, Resolver, SystemDns, reach
from carrick.errors import InvalidAddress
from carrick.host import Dependence, Layers, NatChanged, PortDelta
from carrick.interfaces import Endpoint
from carrick.protocols.nat import NatDetector, NatOptions
from carrick.protocols.stun import Kind, Message, encode
from carrick.sim import Internet, Link, Router, run
from carrick.testing import Node, on_machine, open_node
from carrick.testing.stun import serve_stun

FIRST, SECOND = "11.0.113.2", "11.0.113.3"
RTT = Link(latency=0.01)
PORT = 4001
BASE = HostBuilder().transports("tcp", "quic")
LISTEN = (f"/ip4/0.0.0.0/tcp/{PORT}", f"/ip4/0.0.0.0/udp/{PORT}/quic-v1")


def watched(stun: str = FIRST, **options: object) -> HostBuilder:
    chosen = NatOptions(stun=(stun,) if stun else (), **options)  # type: ignore[arg-type]
    return BASE.services(partial(NatDetector, chosen))


@asynccontextmanager
async def stun_server(internet: Internet) -> AsyncIterator[None]:
    machine = internet.host("server", address=FIRST)
    machine.interface.add_address(SECOND)
    async with trio.open_nursery() as nursery:
        with on_machine(machine):
            await nursery.start(serve_stun, [FIRST, SECOND])
        yield
        nursery.cancel_scope.cancel()


async def until_known(node: Node) -> None:
    """Until something is known of the NAT."""
    with node.host.events.subscribe(NatChanged) as events:
        if node.host.nat.address is None:
            await events.__anext__()


@pytest.mark.parametrize("kind", ["symmetric-sequential", "symseq", "symseq1"])
def test_the_ports_of_a_counting_nat_are_foretold(kind: str) -> None:
    """What leaves the listening ports for a stranger next has one of the foretold ports."""

    async def scenario(internet: Internet) -> None:
        router = internet.router("router", kind)
        stranger = internet.host("stranger")
        async with (
            stun_server(internet),
            open_node(router.host("home"), watched(), listen=LISTEN) as node,
        ):
            await until_known(node)
            assert node.host.nat.udp.is_predictable and node.host.nat.tcp.is_predictable
            assert node.host.nat.address == router.external_address
            started = trio.current_time()
            with on_machine(node.machine):
                addresses = await node.host.punch_addresses()
            assert trio.current_time() - started <= 0.3
            texts = [str(each).split("/") for each in addresses]
            assert {each[2] for each in texts} == {router.external_address}
            tcp = [int(each[4]) for each in texts if each[3] == "tcp" and len(each) == 5]
            udp = [int(each[4]) for each in texts if each[3:4] + each[5:] == ["udp", "quic-v1"]]
            assert (len(tcp), len(udp)) == (8, 8)

            async with open_node(stranger, BASE, listen=LISTEN) as other:
                for ending, ports in (("tcp/4001", tcp), ("quic-v1", udp)):
                    target = [each for each in other.addresses if ending in str(each)]
                    with on_machine(node.machine):
                        await node.host.connect(target)
                    (incoming,) = other.connections
                    assert int(str(incoming.remote_address).split("/")[4]) in ports
                    with on_machine(node.machine):
                        await node.host.disconnect(other.id)
                    while other.connections:
                        await trio.sleep(0.01)

    run(scenario, seed=3, access=RTT)


@pytest.mark.parametrize(
    ("kind", "transports"),
    [
        ("sym", []),
        ("symaddr", []),
        ("prhash", []),
        ("pr", ["udp", "tcp"]),
        ("fc", ["udp", "tcp"]),
        ("udp-blocked", ["tcp"]),
        ("firewall", []),
    ],
)
def test_other_nats_are_not_measured(kind: str, transports: list[str]) -> None:
    """Those that keep ports show the listening ones; of the others nothing is told."""

    async def scenario(internet: Internet) -> None:
        router = internet.router("router", kind)
        home = router.host("home")
        async with stun_server(internet), open_node(home, watched(), listen=LISTEN) as node:
            await until_known(node)
            started = trio.current_time()
            with on_machine(home):
                addresses = await node.host.punch_addresses()
            assert trio.current_time() == started
            ends = [str(each).split("/")[2:5] for each in addresses]
            assert ends == [[router.external_address, each, str(PORT)] for each in transports]

    run(scenario, seed=3, access=RTT)


@pytest.mark.parametrize(("latency", "transports"), [(0.4, set()), (0.12, {"udp"})])
def test_foretelling_has_little_time(latency: float, transports: set[str]) -> None:
    """UDP needs one round trip, TCP two; what is there when the time is up counts."""

    async def scenario(internet: Internet) -> None:
        home = internet.router("router", "symseq").host("home")
        builder = watched(predict_within=0.3)
        async with stun_server(internet), open_node(home, builder, listen=LISTEN) as node:
            await until_known(node)
            home.interface.link = Link(latency=latency)
            started = trio.current_time()
            with on_machine(home):
                addresses = await node.host.punch_addresses()
            assert trio.current_time() - started == pytest.approx(0.3)
            assert {str(each).split("/")[3] for each in addresses} == transports

    run(scenario, seed=3, access=RTT)


def test_it_is_quiet_between_two_probes() -> None:
    async def scenario(internet: Internet) -> None:
        home = internet.router("router", "pr").host("home")
        async with (
            stun_server(internet),
            open_node(home, watched(interval=600.0), listen=LISTEN) as node,
        ):
            await until_known(node)
            await trio.sleep(150)  # connections end
            before = len(internet.trace)
            await trio.sleep(400)
            assert len(internet.trace) == before
            await trio.sleep(100)
            assert len(internet.trace) > before

    run(scenario, seed=3, access=RTT, record=True)


def test_servers_have_names_and_the_gateway_a_word() -> None:
    async def gateway() -> str:
        return "100.64.1.2"

    async def scenario(internet: Internet) -> None:
        internet.dns.add("stun.example.com", "A", FIRST)
        provider = internet.router("provider", "pr", lan="100.64.1.0/24")
        home = provider.router("router", "pr").host("home")
        options = NatOptions(stun=("stun.example.com",), gateway=gateway)
        service = partial(NatDetector, options, resolver=Resolver(SystemDns(hosts=None)))
        async with stun_server(internet), open_node(home, BASE.services(service)) as node:
            await until_known(node)
            nat = node.host.nat
            assert (nat.layers, nat.address) == (Layers.CARRIER, provider.external_address)
            assert nat.udp.type == "port restricted cone"

    run(scenario, seed=3, access=RTT)


@pytest.mark.parametrize("seen", [("2a00::1", 4001), ("127.0.0.1", 1), ("0.0.0.0", 65535)])
def test_a_server_that_lies_ends_nothing(
    seen: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts the ports of a NAT that is not there, at an address that cannot be ours."""
    count = itertools.count(seen[1], -1 if seen[1] == 65535 else 1)

    def lie(request: Message, _: object, other: Endpoint | None, origin: Endpoint) -> bytes:
        mapped = seen[0], max(1, next(count))
        return encode(Message(Kind.SUCCESS, request.transaction, mapped, origin, other))

    monkeypatch.setattr(carrick.testing.stun, "answer", lie)

    async def scenario(internet: Internet) -> None:
        home = internet.router("router", "pr").host("home")
        async with (
            stun_server(internet),
            open_node(home, watched(interval=60.0), listen=LISTEN) as node,
            open_node(internet.host("other"), BASE, listen=LISTEN) as other,
        ):
            for _ in range(5):
                await trio.sleep(61)
                with on_machine(node.machine):
                    for address in await node.host.punch_addresses():
                        assert reach(address) is not Reach.PUBLIC
            assert await node.connect(other)

    run(scenario, seed=3, access=RTT)


def test_a_server_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidAddress):
        NatDetector(NatOptions(stun=("a:b:c:",)))


# --- without any server ---------------------------------------------------------------------------


@asynccontextmanager
async def with_peers(internet: Internet, kind: str, count: int) -> AsyncIterator[Node]:
    """A node that so many peers see by TCP, and as many others by QUIC."""
    machine = internet.router("router", kind).host("home")
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(machine, watched(""), listen=LISTEN))
        for at in range(2 * count):
            opening = open_node(internet.host(f"peer{at}"), BASE, listen=LISTEN)
            peer = await stack.enter_async_context(opening)
            transport = ("/tcp/", "/udp/")[at % 2]
            await node.connect([each for each in peer.addresses if transport in str(each)])
        await trio.sleep(2)
        yield node


@pytest.mark.parametrize(
    ("kind", "mapping"),
    [
        ("pr", Dependence.NOTHING),
        ("prhash", Dependence.NOTHING),
        ("fc", Dependence.NOTHING),
        ("sym", Dependence.ADDRESS_AND_PORT),
        ("symseq", Dependence.ADDRESS_AND_PORT),
    ],
)
def test_peers_show_the_mapping(kind: str, mapping: Dependence) -> None:
    async def scenario(internet: Internet) -> None:
        async with with_peers(internet, kind, 3) as node:
            nat = node.host.nat
            router = internet.nodes["router"]
            assert isinstance(router, Router) and nat.address == router.external_address
            for behaviour in (nat.tcp, nat.udp):
                assert behaviour.mapping is mapping
                assert behaviour.filtering is Dependence.UNKNOWN
                assert (behaviour.delta is PortDelta.EQUAL) is (kind in ("pr", "fc"))

    run(scenario, seed=3, access=RTT)


def test_one_peer_shows_nothing() -> None:
    async def scenario(internet: Internet) -> None:
        async with with_peers(internet, "pr", 1) as node:
            assert node.host.nat.tcp.mapping is Dependence.UNKNOWN
            assert node.host.nat.udp.mapping is Dependence.UNKNOWN

    run(scenario, seed=3, access=RTT)
