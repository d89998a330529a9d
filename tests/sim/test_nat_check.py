"""STUN and the types of NATs on the simulated internet: one table with the kernel's NATs."""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio

from carrick import HostBuilder
from carrick.addressing import parse_address
from carrick.cli.commands.nat_check import Question
from carrick.cli.commands.nat_check import run as run_check
from carrick.cli.options import Settings
from carrick.errors import PeerTimeout
from carrick.host import Dependence, Nat, NatBehaviour, PortDelta
from carrick.interfaces import Endpoint
from carrick.protocols.nat import nat_of, probe
from carrick.protocols.stun import StunClient, StunError
from carrick.sim import Host, Internet, Link, Router, run
from carrick.sim.gateways import PortControlServer
from carrick.testing import on_machine, open_node, seeded_key
from carrick.testing.stun import serve_stun
from interop.natlab.expected import EXPECTED, Expected
from interop.natlab.report import Allocation

FIRST, SECOND = "11.0.113.2", "11.0.113.3"
SERVER: Endpoint = (FIRST, 3478)
RTT = Link(latency=0.01)


def place(internet: Internet, name: str) -> Host:
    """A host behind what `name` says: a type of router, or two of them."""
    if name == "public":
        return internet.host("prober")
    router: Router | None = None
    for kind in name.split("/"):
        if router is None:
            carrier = "100.64.1.0/24" if "/" in name else None
            router = internet.router(f"{kind}-outer", kind, lan=carrier)
        else:
            router = router.router(f"{kind}-inner", kind)
    assert router is not None
    return router.host("prober")


async def start_server(internet: Internet, nursery: trio.Nursery, *, moves: bool = True) -> None:
    server = internet.host("server", address=FIRST)
    server.interface.add_address(SECOND)
    with on_machine(server):
        await nursery.start(partial(serve_stun, [FIRST, SECOND], moves=moves))


async def find_out(internet: Internet, *, name: str, seed: int = 0) -> tuple[Nat, float]:
    host = place(internet, name)
    async with trio.open_nursery() as nursery:
        await start_server(internet, nursery)
        with host.enter():
            started = trio.current_time()
            findings = await probe([SERVER], sockets=host.sockets, rng=random.Random(seed))
        nursery.cancel_scope.cancel()
    return nat_of(findings), trio.current_time() - started


_MAPPING = {
    None: Dependence.UNKNOWN,
    "endpoint-independent": Dependence.NOTHING,
    "address-dependent": Dependence.ADDRESS,
    "address-and-port-dependent": Dependence.ADDRESS_AND_PORT,
}
_DELTA = {
    None: PortDelta.UNKNOWN,
    Allocation.PRESERVING: PortDelta.EQUAL,
    Allocation.SEQUENTIAL: PortDelta.INDEPENDENT,
    Allocation.RANDOM: PortDelta.RANDOM,
}


def as_expected(row: Expected, *, filtering: bool) -> NatBehaviour:
    """A row of the laboratory's table in our words. TCP's filter cannot be tested with STUN."""
    return NatBehaviour(
        mapping=_MAPPING[row.mapping],
        filtering=_MAPPING[row.filtering] if filtering else Dependence.UNKNOWN,
        translates=row.translated,
        delta=_DELTA[row.allocation],
        step=row.delta or 0,
        hairpin=row.hairpin,
        blocked=row.mapping is None,
    )


@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "fw6"])
def test_the_table_of_the_kernel(name: str) -> None:
    nat, elapsed = run(partial(find_out, name=name), seed=6, access=RTT)
    udp, tcp = EXPECTED[name]
    assert nat.udp == as_expected(udp, filtering=True)
    assert nat.tcp == as_expected(tcp, filtering=False)
    assert elapsed <= 3


@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("public", "open"),
        ("full-cone", "full cone"),
        ("address-restricted", "restricted cone"),
        ("port-restricted", "port restricted cone"),
        ("symmetric", "symmetric"),
        ("udp-blocked", "blocked"),
    ],
)
def test_twenty_times_the_right_type(name: str, type: str) -> None:
    """B7: 20 of 20 runs, each within 3 s, near and far."""
    for seed in range(20):
        access = Link(latency=0.001 + 0.005 * seed, jitter=0.002)
        nat, elapsed = run(partial(find_out, name=name, seed=seed), seed=seed, access=access)
        assert nat.udp.type == type, seed
        assert elapsed <= 3, seed


@pytest.mark.parametrize(
    ("name", "delta"),
    [
        ("port-restricted", PortDelta.EQUAL),
        ("symmetric-sequential", PortDelta.INDEPENDENT),
        ("symseq", PortDelta.INDEPENDENT),
        ("sym", PortDelta.RANDOM),
    ],
)
def test_the_delta_with_others_behind_the_same_nat(name: str, delta: PortDelta) -> None:
    """B8: a neighbour makes new mappings all the time."""

    async def scenario(internet: Internet) -> Nat:
        router = internet.router("router", name)
        host, neighbour = router.host("prober"), router.host("neighbour")

        async def chatter() -> None:
            while True:
                socket = await neighbour.sockets.open_udp(("0.0.0.0", 0))
                socket.send(b"hello", 5, SERVER)
                socket.close()
                await trio.sleep(0.03)

        async with trio.open_nursery() as nursery:
            await start_server(internet, nursery)
            nursery.start_soon(chatter)
            with host.enter():
                findings = await probe([SERVER], sockets=host.sockets, rng=random.Random(1))
            nursery.cancel_scope.cancel()
        return nat_of(findings)

    nat = run(scenario, seed=2, access=RTT)
    assert nat.udp.delta is nat.tcp.delta is delta


async def ask_two(internet: Internet, *, name: str) -> Nat:
    """Two servers with one address each, that know of no other."""
    host = place(internet, name)
    servers = [internet.host(f"server{i}") for i in range(2)]
    async with trio.open_nursery() as nursery:
        for server in servers:
            with on_machine(server):
                await nursery.start(serve_stun, [server.address], (3478,))
        with host.enter():
            ends = [(server.address, 3478) for server in servers]
            findings = await probe(ends, sockets=host.sockets)
        nursery.cancel_scope.cancel()
    return nat_of(findings)


@pytest.mark.parametrize(
    ("name", "type"), [("pr", "cone"), ("sym", "symmetric"), ("public", "unknown")]
)
def test_simple_servers_tell_the_mapping(name: str, type: str) -> None:
    nat = run(partial(ask_two, name=name), seed=1, access=RTT)
    assert nat.udp.type == nat.tcp.type == type
    assert nat.udp.filtering is Dependence.UNKNOWN


def test_a_server_that_does_not_move_says_nothing_about_the_filter() -> None:
    async def scenario(internet: Internet) -> StunError:
        host = internet.host("prober")
        async with trio.open_nursery() as nursery:
            await start_server(internet, nursery, moves=False)
            with host.enter():
                async with StunClient(sockets=host.sockets).udp(("0.0.0.0", 0)) as port:
                    with pytest.raises(StunError, match="not to use") as caught:
                        await port.ask(SERVER, change_ip=True, change_port=True)
            nursery.cancel_scope.cancel()
        return caught.value

    assert run(scenario, seed=1).code == 0


def test_requests_are_sent_again_until_an_answer_comes() -> None:
    async def scenario(internet: Internet) -> list[float]:
        host = internet.host("prober", link=Link(loss=1.0))
        async with trio.open_nursery() as nursery:
            await start_server(internet, nursery)
            with host.enter():
                client = StunClient(sockets=host.sockets)
                with pytest.raises(PeerTimeout):
                    await client.ask(SERVER, timeout=3)
                lossy = trio.current_time()
                host.interface.link = Link()
                await client.ask(SERVER)
            nursery.cancel_scope.cancel()
        sent = [entry.time for entry in internet.trace if entry.sender == "prober"]
        assert lossy == pytest.approx(sent[0] + 3)
        return [round(time - sent[0], 3) for time in sent if time < lossy]

    # RFC 8489 section 6.2.1
    assert run(scenario, seed=1, record=True) == [0.0, 0.5, 1.5]


def check(
    capsys: pytest.CaptureFixture[str], name: str, *, json_wanted: bool = False, served: bool = True
) -> tuple[int, str, float]:
    async def scenario(internet: Internet) -> tuple[int, float]:
        host = place(internet, name)
        async with trio.open_nursery() as nursery:
            if served:
                await start_server(internet, nursery)
            with on_machine(host):
                started = trio.current_time()
                settings = Settings(json=json_wanted)
                code = await run_check(settings, Question([SERVER]), None, None)
                elapsed = trio.current_time() - started
            nursery.cancel_scope.cancel()
        return code, elapsed

    code, elapsed = run(scenario, seed=5, access=RTT)
    return code, capsys.readouterr().out, elapsed


def test_the_command_names_the_type(capsys: pytest.CaptureFixture[str]) -> None:
    """B7; and C9: what it asks is STUN."""
    code, out, elapsed = check(capsys, "pr")
    assert code == 0 and elapsed <= 3
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert lines["type"].strip() == "port restricted cone"
    assert "filtering by address and port" in lines["NAT, UDP"]
    assert "not asked" in lines["port mapping"]


def test_the_command_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, "symseq", json_wanted=True)
    found = json.loads(out)
    assert code == 0 and found["schema"] == "carrick.nat.check.v1"
    assert found["type"] == found["udp"]["type"] == found["tcp"]["type"] == "symmetric"
    assert (found["udp"]["delta"], found["udp"]["step"]) == ("independent", 256)
    assert found["servers"][0]["addr"] == f"{FIRST}:3478"
    assert found["servers"][0]["rtt_ms"] == pytest.approx(40, abs=1)


@pytest.mark.parametrize("name", ["pr", "udp-blocked", "public"])
def test_the_command_where_everything_is_silent(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, elapsed = check(capsys, name, served=False)
    assert code == 4 and elapsed <= 3
    assert "no answer" in out


def test_the_command_asks_peers_and_relays(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any STUN server; one of the relays is not there."""

    async def scenario(internet: Internet) -> int:
        async with AsyncExitStack() as stack:
            listen = ("/ip4/0.0.0.0/tcp/4001",)
            peers = [
                await stack.enter_async_context(
                    open_node(internet.host(f"peer{at}"), HostBuilder(), listen=listen)
                )
                for at in range(3)
            ]
            targets = [peer.addresses[0] for peer in peers]
            nobody = seeded_key(internet.rng).peer_id
            silent = parse_address(f"/ip4/11.9.9.9/tcp/4001/p2p/{nobody}")
            host = internet.router("router", "pr").host("prober")
            with on_machine(host):
                started = trio.current_time()
                question = Question((), targets[:2], (targets[2], silent))
                code = await run_check(Settings(json=True), question, HostBuilder(), None)
                assert trio.current_time() - started <= 3
            return code

    assert run(scenario, seed=5, access=RTT) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tcp"]["mapping"] == "endpoint-independent"
    assert found["tcp"]["type"] == "cone"
    assert found["peers"] == {"asked": 2, "answered": 2}
    near, silent = found["relays"]
    assert near["rtt_ms"] == pytest.approx(40, abs=1)
    assert silent["rtt_ms"] is None


@pytest.mark.parametrize("carrier", [False, True])
def test_the_command_asks_the_router(carrier: bool, capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(internet: Internet) -> int:
        outer = internet.router("isp", "pr", lan="100.64.1.0/24") if carrier else internet
        router = outer.router("router", "pr")
        host = router.host("prober")
        async with trio.open_nursery() as nursery:
            await start_server(internet, nursery)
            nursery.start_soon(router.run, PortControlServer(router).serve)
            with on_machine(host):
                started = trio.current_time()
                question = Question([SERVER], port_mapping=True)
                code = await run_check(Settings(json=True), question, None, None)
                assert trio.current_time() - started <= 3
            nursery.cancel_scope.cancel()
        return code

    assert run(scenario, seed=5, access=RTT) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layers"] == ("cgnat" if carrier else "nat")
    if not carrier:
        assert found["port_mapping"] == ["nat-pmp", "pcp"]


def test_the_command_again_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario(internet: Internet) -> None:
        host = place(internet, "pr")
        async with trio.open_nursery() as nursery:
            await start_server(internet, nursery)
            with on_machine(host), trio.move_on_after(70):
                await run_check(Settings(json=True), Question([SERVER]), None, 30.0)
            nursery.cancel_scope.cancel()

    run(scenario, seed=5, access=RTT)
    assert len(capsys.readouterr().out.splitlines()) == 3
