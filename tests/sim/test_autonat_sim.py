"""AutoNAT on the simulated internet: what a node behind each kind of router finds out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
import trio

from carrick import Host, HostBuilder
from carrick.addressing import Reach, parse_address, reach
from carrick.errors import ProtocolError, StreamReset
from carrick.host import Reachability, ReachabilityChanged
from carrick.network import Stream
from carrick.protocols.autonat import AutoNat, AutoNatOptions, ProbeRejected
from carrick.protocols.autonat.v1 import messages as v1
from carrick.protocols.autonat.v2.messages import (
    DIAL_BACK,
    DIAL_REQUEST,
    MAX_DIAL_BACK,
    MAX_MESSAGE,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode,
    encode,
    encode_dial_back,
)
from carrick.protocols.identify import Identify
from carrick.sim import Internet, run
from carrick.testing import Node, on_machine, open_node

PORT = 4001
BASE = HostBuilder().transports("tcp", "quic")
LISTEN = (f"/ip4/0.0.0.0/tcp/{PORT}", f"/ip4/0.0.0.0/udp/{PORT}/quic-v1")
SERVER = BASE.services(partial(AutoNat, AutoNatOptions(probe=False)))
CLIENT = BASE.services(AutoNat)
PUBLIC, PRIVATE, UNKNOWN = Reachability.PUBLIC, Reachability.PRIVATE, Reachability.UNKNOWN


class V1Only(AutoNat):
    """A server as they were before v2."""

    async def run(self, host: Host, *, task_status: object = None) -> None:
        await super().run(host, task_status=task_status)  # type: ignore[arg-type]
        host.swarm.unhandle("/libp2p/autonat/2/dial-request")


@asynccontextmanager
async def servers_on(
    internet: Internet, count: int, builder: HostBuilder = SERVER
) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as nodes:
        yield [
            await nodes.enter_async_context(
                open_node(internet.host(f"server{i}"), builder, listen=LISTEN)
            )
            for i in range(count)
        ]


async def connect_all(client: Node, servers: list[Node], *, only: str = "") -> None:
    """By TCP and QUIC in turn."""
    for index, server in enumerate(servers):
        addresses = [each for each in server.addresses if only in str(each)]
        await client.connect(addresses[index % len(addresses)])


async def verdict_of(client: Node, patience: float) -> Reachability:
    """The first verdict, within `patience` seconds."""
    with client.host.events.subscribe(ReachabilityChanged) as events:
        with trio.move_on_after(patience):
            async for event in events:
                if event.reachability is not UNKNOWN:
                    return event.reachability
    return UNKNOWN


async def find_out(internet: Internet, *, nat: str | None, expected: Reachability) -> None:
    """B6: a verdict within 30 s, with three servers."""
    router = None if nat is None else internet.router("router", nat)
    machine = internet.host("client") if router is None else router.host("client")
    async with (
        servers_on(internet, 3) as servers,
        open_node(machine, CLIENT, listen=LISTEN) as client,
    ):
        await connect_all(client, servers, only="tcp" if nat == "udp-blocked" else "")
        assert await verdict_of(client, 30.0) is expected
        await trio.sleep(300)  # by then every address is judged
        service = client.service(AutoNat)
        assert service.reachability is expected
        assert service.addresses
        assert set(service.addresses.values()) <= {expected, UNKNOWN}
        outside = {machine.address} | ({router.external_address} if router else set())
        told = [each for each in client.addresses if reach(each) is Reach.PUBLIC]
        if expected is PUBLIC:  # as it is to be dialled from outside
            async with open_node(internet.host("stranger"), BASE) as stranger:
                assert told and {str(each).split("/")[2] for each in told} <= outside
                for address in told:
                    with on_machine(stranger.machine):
                        await stranger.host.connect(address)
                        await stranger.host.disconnect(client.id)
        else:
            assert told == []


@pytest.mark.parametrize(
    ("nat", "expected"),
    [
        (None, PUBLIC),
        ("open", PUBLIC),
        ("full-cone", PUBLIC),
        ("fchash", PUBLIC),
        ("port-restricted", PRIVATE),
        ("symmetric", PRIVATE),
        ("symmetric-sequential", PRIVATE),
        ("firewall", PRIVATE),
        ("linux", PRIVATE),
        ("udp-blocked", PRIVATE),
    ],
)
def test_the_verdict_behind_each_router(nat: str | None, expected: Reachability) -> None:
    """B6, by v2."""
    run(partial(find_out, nat=nat, expected=expected))


@pytest.mark.parametrize(
    ("nat", "expected"), [(None, PUBLIC), ("full-cone", PUBLIC), ("pr", PRIVATE)]
)
def test_the_verdict_by_v1(nat: str | None, expected: Reachability) -> None:
    """B6, by v1."""

    async def main(internet: Internet) -> None:
        router = None if nat is None else internet.router("router", nat)
        machine = internet.host("client") if router is None else router.host("client")
        builder = BASE.services(partial(V1Only, AutoNatOptions(probe=False)))
        async with (
            servers_on(internet, 3, builder) as servers,
            open_node(machine, CLIENT, listen=LISTEN) as client,
        ):
            await connect_all(client, servers, only="tcp")
            assert await verdict_of(client, 30.0) is expected

    run(main)


def test_a_forwarded_port_is_found_and_its_end_too() -> None:
    """B10: the port outside is another than inside, and only a person knows it."""

    async def main(internet: Internet) -> None:
        router = internet.router("router", "port-restricted")
        machine = router.host("client")
        outside = parse_address(f"/ip4/{router.external_address}/tcp/7000")
        router.map_port("tcp", 7000, (machine.address, PORT))
        builder = CLIENT.announce(append=[outside])
        async with (
            servers_on(internet, 5) as servers,
            open_node(machine, builder, listen=LISTEN[:1]) as client,
        ):
            await connect_all(client, servers, only="tcp")
            assert await verdict_of(client, 60.0) is PUBLIC
            service = client.service(AutoNat)
            assert service.addresses[outside] is PUBLIC
            router.unmap_port("tcp", 7000)
            assert await verdict_of(client, 4 * 3600.0) is PRIVATE
            assert service.addresses[outside] is PRIVATE

    run(main)


@pytest.mark.parametrize("transport", [f"tcp/{PORT}", f"udp/{PORT}/quic-v1"])
def test_a_dial_back_comes_from_another_port_and_identity(transport: str) -> None:
    async def main(internet: Internet) -> None:
        machine = internet.host("client")
        async with (
            servers_on(internet, 1) as servers,
            open_node(machine, SERVER, listen=LISTEN) as me,
        ):
            connection = await me.connect(servers[0])
            seen: list[tuple[str, object]] = []

            async def note(inbound: object) -> None:
                seen.append((str(inbound.remote_address), inbound.peer_id))  # type: ignore[attr-defined]

            me.host.add_connection_step(note)
            address = parse_address(f"/ip4/{machine.address}/{transport}")
            finding = await me.service(AutoNat).probe(connection, address)
            assert finding.reachable and finding.address == address
            ((remote, peer),) = seen
            assert remote.startswith(f"/ip4/{servers[0].machine.address}/{transport[:4]}")
            assert f"/{PORT}" not in remote
            assert peer != servers[0].id

    run(main)


def test_v1_sends_nothing_to_a_victim() -> None:
    """ATTACKS row 68: requests that name a thousand other places, within and without."""
    texts = [f"/ip4/11.77.{n % 256}.{n // 256}/tcp/80" for n in range(1000)]
    texts[:0] = [
        "/ip4/10.0.0.1/tcp/80",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip6/::1/tcp/4001",
        "/dnsaddr/victim.example",
        "/dns4/victim.example/tcp/443",
        "/ip4/11.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit",
    ]
    request = v1.pb.Message(type=v1.pb.Message.DIAL)

    async def main(internet: Internet) -> None:
        async with (
            servers_on(internet, 1) as (server,),
            open_node(internet.host("attacker"), BASE.services(Identify, defaults=False)) as me,
        ):
            connection = await me.connect(server)
            request.dial.peer.id = me.id.to_bytes()
            request.dial.peer.addrs[:] = [parse_address(each).to_bytes() for each in texts]
            payloads = [request.SerializeToString()]
            while len(request.dial.peer.addrs) > 100:  # what fits into a message
                del request.dial.peer.addrs[100:]
            payloads.append(request.SerializeToString())
            for payload in payloads:
                stream = await me.open_stream(connection, v1.DIAL)
                with suppress(StreamReset):
                    await stream.write_frame(payload)
                    answer = v1.decode(await stream.read_frame(v1.MAX_MESSAGE))
                    assert isinstance(answer, v1.DialResponse)
                    # Where we are seen is tried, whatever else was named.
                    assert answer.address is None or me.machine.address in str(answer.address)
            sent = {e.destination[0] for e in internet.trace if e.sender == server.machine.name}
            assert sent == {me.machine.address}
            assert not internet.unroutable

    run(main)


def test_a_foreign_address_costs_data_and_is_dialled_rarely() -> None:
    """ATTACKS row 69: 300 requests to dial a victim, from 30 peers behind one address."""

    async def main(internet: Internet) -> None:
        victim, machine = internet.host("victim"), internet.host("attacker")
        target = parse_address(f"/ip4/{victim.address}/tcp/80")
        statuses: list[ResponseStatus | None] = []

        async def attack(attacker: Node, server: Node) -> None:
            connection = await attacker.connect(server)
            for _ in range(10):
                try:
                    finding = await attacker.service(AutoNat).probe(connection, target)
                    assert not finding.reachable
                    statuses.append(None)
                except ProbeRejected as error:
                    statuses.append(error.status)

        async with servers_on(internet, 1) as servers, AsyncExitStack() as nodes:
            attackers = [
                await nodes.enter_async_context(
                    open_node(
                        machine,
                        BASE.services(partial(AutoNat, AutoNatOptions(probe=False))),
                        listen=(f"/ip4/0.0.0.0/tcp/{5000 + i}",),
                    )
                )
                for i in range(30)
            ]
            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                for attacker in attackers:
                    nursery.start_soon(attack, attacker, servers[0])
            assert trio.current_time() - started < 60
            dials = statuses.count(None)
            assert 0 < dials <= 12
            assert statuses.count(ResponseStatus.REQUEST_REJECTED) == 300 - dials
            syns = [e for e in internet.trace if e.destination[0] == victim.address]
            assert len(syns) <= 12 * 2
            sent = sum(
                e.length
                for e in internet.trace
                if e.destination[0] == servers[0].machine.address and e.source[0] == machine.address
            )
            assert sent > dials * 30_000  # each was paid for

    run(main)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/10.0.0.1/tcp/80",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/192.168.1.1/udp/53/quic-v1",
        "/ip6/::1/tcp/4001",
        "/dns4/victim.example/tcp/443",
        "/ip6/2a00::1/tcp/4001",  # the server has no IPv6
        "/ip4/11.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit",
    ],
)
def test_private_named_relayed_and_foreign_addresses_are_refused(text: str) -> None:
    async def main(internet: Internet) -> None:
        async with (
            servers_on(internet, 1) as servers,
            open_node(internet.host("me"), SERVER) as me,
        ):
            connection = await me.connect(servers[0])
            with pytest.raises(ProbeRejected) as refusal:
                await me.service(AutoNat).probe(connection, parse_address(text))
            assert refusal.value.status is ResponseStatus.DIAL_REFUSED

    run(main)


def test_dial_data_that_drips_is_cut_off() -> None:
    """ATTACKS row 69: nothing is dialled, and after 10 s the stream ends."""

    async def main(internet: Internet) -> None:
        victim = internet.host("victim")
        target = parse_address(f"/ip4/{victim.address}/tcp/80")
        async with (
            servers_on(internet, 1) as servers,
            open_node(internet.host("me"), BASE) as me,
        ):
            connection = await me.connect(servers[0])
            stream = await connection.open_stream(DIAL_REQUEST)
            await stream.write_frame(encode(DialRequest((target,), 7)))
            question = decode(await stream.read_frame(MAX_MESSAGE))
            assert isinstance(question, DialDataRequest)
            assert 30_000 <= question.size <= 100_000
            started = trio.current_time()
            with pytest.raises(StreamReset):
                while True:
                    await stream.write_frame(encode(DialDataResponse(bytes(100))))
                    await trio.sleep(0.5)
            assert trio.current_time() - started == pytest.approx(10, abs=1)
            await trio.sleep(30)
            assert not [each for each in internet.trace if each.destination[0] == victim.address]

    run(main)


def test_a_peer_asks_two_things_at_once_and_no_more() -> None:
    """ATTACKS row 69."""

    async def main(internet: Internet) -> None:
        async with (
            servers_on(internet, 1) as servers,
            open_node(internet.host("me"), BASE) as me,
        ):
            connection = await me.connect(servers[0])
            streams = []
            for _ in range(5):
                stream = await connection.open_stream(DIAL_REQUEST, lazy=True)
                await stream.send_all(b"\x10")  # the length of a message that does not come
                streams.append(stream)
            await trio.sleep(1)
            serving = servers[0].host.connections[0].streams
            assert len([each for each in serving if each.protocol == DIAL_REQUEST]) == 2
            await trio.sleep(15)
            assert servers[0].host.connections[0].streams == ()

    run(main)


def test_a_nonce_that_nobody_asked_for_is_refused() -> None:
    """ATTACKS row 69: DIAL_BACK to a client that asked nothing."""

    async def main(internet: Internet) -> None:
        async with (
            open_node(internet.host("client"), CLIENT) as client,
            open_node(internet.host("me"), BASE) as me,
        ):
            connection = await me.connect(client)
            stream = await connection.open_stream(DIAL_BACK)
            await stream.write_frame(encode_dial_back(7))
            with pytest.raises(StreamReset):
                await stream.read_frame(MAX_DIAL_BACK)
            assert client.service(AutoNat).reachability is UNKNOWN

    run(main)


@pytest.mark.parametrize("wrong", [True, False])
def test_a_server_that_lies_is_not_believed(wrong: bool) -> None:
    """ATTACKS row 69: OK with a wrong nonce, and OK without any dial."""

    async def main(internet: Internet) -> None:
        async def lie(stream: Stream) -> None:
            asked = decode(await stream.read_frame(MAX_MESSAGE))
            assert isinstance(asked, DialRequest)
            if wrong:
                with pytest.raises(StreamReset):
                    async with await stream.connection.open_stream(DIAL_BACK) as back:
                        await back.write_frame(encode_dial_back(asked.nonce ^ 1))
                        await back.read_frame(MAX_DIAL_BACK)
            answer = DialResponse(ResponseStatus.OK, 0, DialStatus.OK)
            await stream.write_frame(encode(answer))

        router = internet.router("router", "port-restricted")
        liar = BASE.services(Identify, defaults=False).handle(DIAL_REQUEST, lie)
        async with (
            servers_on(internet, 4, liar) as liars,
            open_node(router.host("client"), CLIENT, listen=LISTEN) as client,
        ):
            await connect_all(client, liars)
            connection = client.connections[0]
            service = client.service(AutoNat)
            address = parse_address(f"/ip4/{router.external_address}/tcp/{PORT}")
            with pytest.raises(ProtocolError, match="did not arrive"):
                await service.probe(connection, address)
            assert await verdict_of(client, 600) is UNKNOWN

    run(main)


def test_a_poisoned_address_is_never_advertised() -> None:
    """ATTACKS row 76: many identities of one address say that we are the victim."""

    async def main(internet: Internet) -> None:
        victim, machine = internet.host("victim"), internet.host("attacker")
        poison = parse_address(f"/ip4/{victim.address}/tcp/{PORT}")
        inside = internet.router("router", "linux").host("client")
        async with (
            open_node(inside, CLIENT) as client,
            servers_on(internet, 3) as servers,
            AsyncExitStack() as nodes,
        ):
            for i in range(30):
                attacker = await nodes.enter_async_context(
                    open_node(machine, BASE, listen=(f"/ip4/0.0.0.0/tcp/{5000 + i}",))
                )
                connection = await client.connect(attacker)
                client.host.observe(connection, poison)
            await connect_all(client, servers, only="tcp")
            assert await verdict_of(client, 60) is PRIVATE
            await trio.sleep(600)
            assert client.service(AutoNat).addresses.get(poison) is not PUBLIC
            assert not [each for each in client.addresses if victim.address in str(each)]

    run(main)


def test_observed_addresses_behind_a_cone() -> None:
    """B5: listed after four observers; one liar changes nothing."""

    async def main(internet: Internet) -> None:
        router = internet.router("router", "fchash")
        async with (
            servers_on(internet, 5, BASE) as peers,
            open_node(router.host("client"), BASE, listen=LISTEN[:1]) as client,
        ):
            liar = await client.connect([each for each in peers[0].addresses if "tcp" in str(each)])
            client.host.observe(liar, parse_address("/ip4/11.9.9.9/tcp/4001"))

            def public() -> list[str]:
                return [str(each) for each in client.addresses if reach(each) is Reach.PUBLIC]

            for peer in peers[1:]:
                assert public() == []
                await connect_all(client, [peer], only="tcp")
            (address,) = public()
            assert address.startswith(f"/ip4/{router.external_address}/tcp/")
            assert peers[1].connections[0].remote_address == parse_address(
                address.partition("/p2p/")[0]
            )
            await trio.sleep(5)  # and the peers are told
            with on_machine(peers[1].machine):
                known = peers[1].host.peerstore.addresses(client.id)
            assert address.partition("/p2p/")[0] in [str(each) for each in known]

    run(main)
