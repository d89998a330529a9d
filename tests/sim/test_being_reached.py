"""What a node tells of itself, and whether others reach it there (CAPABILITIES B5, B9, B10, B11,
C5 and C8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio

from carrick import HostBuilder
from carrick.addressing import Reach, is_relayed, parse_address, reach
from carrick.errors import DialError, LimitedConnection, PeerTimeout
from carrick.host import ConnectTrace, Reachability, ReachabilityChanged
from carrick.network.events import Event
from carrick.protocols.autonat import AutoNat, AutoNatOptions
from carrick.protocols.dcutr import Dcutr
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import AutoRelay, Limit, RelayClient, RelayOptions, RelayService
from carrick.sim import Host as Machine
from carrick.sim import Internet, Link, run
from carrick.testing import PORT, Node, on_machine, open_node
from tests.support.swarms import echo

TCP = HostBuilder().transports("tcp").security("noise")
HELPER = TCP.services(partial(AutoNat, AutoNatOptions(probe=False)))
TUNNEL = "11.0.113.10"
OUTSIDE = f"/ip4/{TUNNEL}/tcp/7000"


@asynccontextmanager
async def nodes_on(
    internet: Internet, count: int, builder: HostBuilder = TCP
) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as exits:
        yield [
            await exits.enter_async_context(open_node(internet.host(f"helper{i}"), builder))
            for i in range(count)
        ]


def public(node: Node) -> list[str]:
    return [str(each) for each in node.addresses if reach(each) is Reach.PUBLIC]


# --- observed addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize("observers", [1, 2, 4])
def test_the_number_of_observers_is_a_choice(observers: int) -> None:
    """B5, behind a cone NAT."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "full-cone")
        async with (
            nodes_on(internet, 4) as helpers,
            open_node(home.host("bob"), TCP.observers(observers)) as bob,
        ):
            for helper in helpers[: observers - 1]:
                await bob.connect(helper)
                assert public(bob) == []
            await bob.connect(helpers[observers - 1])
            [address] = public(bob)
            assert address.startswith(f"/ip4/{home.external_address}/tcp/")
            async with open_node(internet.host("alice"), TCP) as alice:
                assert (await alice.connect(parse_address(address))).peer_id == bob.id

    run(program)


def test_a_dial_from_another_port_says_nothing() -> None:
    """B5: a node that listens on QUIC only dials TCP from ephemeral ports."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "full-cone")
        quic = f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"
        both = HostBuilder().transports("tcp", "quic").observers(1)
        async with (
            nodes_on(internet, 4) as helpers,
            open_node(home.host("bob"), both, listen=(quic,)) as bob,
        ):
            for helper in helpers:
                connection = await bob.connect(helper)
                assert connection.transport == "tcp"
                assert not str(connection.local_address).endswith(f"/tcp/{PORT}")
            assert public(bob) == []

    run(program)


# --- announced addresses --------------------------------------------------------------------------


async def tunnel(server: Machine, inside: Machine, nursery: trio.Nursery) -> None:
    """As `ssh -R 7000:localhost:4001`: `inside` dials out, and carries what comes to the server."""
    waiting_send, waiting = trio.open_memory_channel[trio.SocketStream](16)

    async def pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await sink.aclose()

    async def join(one: trio.SocketStream, other: trio.SocketStream) -> None:
        async with one, other, trio.open_nursery() as flows:
            flows.start_soon(pass_on, one, other)
            flows.start_soon(pass_on, other, one)

    async def from_outside(client: trio.SocketStream) -> None:
        await join(client, await waiting.receive())

    async def from_inside(client: trio.SocketStream) -> None:
        await waiting_send.send(client)
        await trio.sleep_forever()

    async def dial_out() -> None:
        out = await trio.open_tcp_stream(TUNNEL, 7001)
        first = await out.receive_some()
        nursery.start_soon(dial_out)  # the next one waits
        local = await trio.open_tcp_stream("127.0.0.1", PORT)
        await local.send_all(first)
        await join(out, local)

    with server.enter():
        await nursery.start(trio.serve_tcp, from_outside, 7000)
        await nursery.start(trio.serve_tcp, from_inside, 7001)
    with inside.enter():
        nursery.start_soon(dial_out)


async def through_the_tunnel(internet: Internet, builder: HostBuilder) -> list[str]:
    """Alice learns from Bob by identify what a DHT would tell her too; returns what she learns of
    public addresses, after Carol has reached Bob at the announced one."""
    server, home = internet.host("tunnel", address=TUNNEL), internet.router("home", "symmetric")
    machine = home.host("bob")
    async with (
        trio.open_nursery() as nursery,
        open_node(machine, builder) as bob,
        open_node(internet.host("alice"), TCP) as alice,
        open_node(internet.host("carol"), TCP) as carol,
    ):
        await tunnel(server, machine, nursery)
        connection = await bob.connect(alice)
        [back] = alice.host.swarm.connections(bob.id)
        told = (await alice.service(Identify).identify(back)).listen_addresses
        assert parse_address(OUTSIDE) in told
        reached = await carol.connect(parse_address(f"{OUTSIDE}/p2p/{bob.id}"))
        assert reached.peer_id == bob.id
        assert await carol.service(Ping).ping_once(reached) > 0
        [inbound] = bob.host.swarm.connections(carol.id)
        assert reach(inbound.remote_address) is Reach.LOOPBACK  # where the tunnel comes out
        await connection.aclose()
        nursery.cancel_scope.cancel()
    return [str(each) for each in told if reach(each) is Reach.PUBLIC]


def test_an_address_that_is_announced() -> None:
    """B9: listens on 4001 behind a symmetric NAT, is reached at 11.0.113.10:7000."""

    async def program(internet: Internet) -> None:
        assert await through_the_tunnel(internet, TCP.announce(OUTSIDE)) == [OUTSIDE]

    run(program)


def test_an_address_that_is_announced_too() -> None:
    """B9 and B10: besides the others; and what must not be told is not."""

    async def program(internet: Internet) -> None:
        builder = TCP.announce(append=[OUTSIDE], withhold=["192.168.0.0/16"])
        assert await through_the_tunnel(internet, builder) == [OUTSIDE]

    run(program)


def test_networks_that_are_not_told() -> None:
    """B9, `--no-announce`: neither to neighbours nor to strangers."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "full-cone")
        builder = TCP.announce(withhold=["192.168.0.0/16"])
        async with (
            open_node(home.host("bob"), builder) as bob,
            open_node(home.host("neighbour"), TCP) as neighbour,
        ):
            connection = await bob.connect(neighbour)
            [back] = neighbour.host.swarm.connections(bob.id)
            told = (await neighbour.service(Identify).identify(back)).listen_addresses
            assert not [each for each in told if reach(each) is Reach.PRIVATE]
            await connection.aclose()

    run(program)


def test_a_port_that_is_forwarded_by_hand() -> None:
    """B10: the port outside is another one."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "port-restricted")
        machine = home.host("bob")
        home.map_port("tcp", 7000, (str(machine.address), PORT))
        outside = f"/ip4/{home.external_address}/tcp/7000"
        async with (
            open_node(machine, TCP.announce(outside)) as bob,
            open_node(internet.host("alice"), TCP) as alice,
        ):
            assert [str(each) for each in bob.addresses] == [f"{outside}/p2p/{bob.id}"]
            assert (await alice.connect(bob)).peer_id == bob.id

    run(program)


# --- open nodes, and relays -----------------------------------------------------------------------


def test_an_open_node_is_confirmed_and_may_relay() -> None:
    """B11; and C5: it is nothing but a node that was told to relay, in no one's configuration."""

    async def program(internet: Internet) -> None:
        open_to_all = TCP.services(AutoNat, RelayService)
        private = TCP.services(RelayClient, AutoNat, AutoRelay).handle(
            "/echo/1", echo, allow_limited=True
        )
        async with (
            nodes_on(internet, 3, HELPER) as helpers,
            open_node(internet.host("rita"), open_to_all) as rita,
            open_node(internet.router("left").host("alice"), private) as alice,
            open_node(internet.router("right").host("bob"), private) as bob,
        ):
            with rita.host.events.subscribe(ReachabilityChanged) as changes:
                for helper in helpers:
                    await rita.connect(helper)
                with trio.fail_after(30):
                    while (await changes.__anext__()).reachability is not Reachability.PUBLIC:
                        pass
            assert public(rita)

            for helper in helpers:
                await bob.connect(helper)
            await bob.connect(rita)
            with trio.fail_after(90), bob.host.events.subscribe(Event) as events:
                while not bob.service(AutoRelay).reservations:
                    await events.__anext__()
            assert [each.relay for each in bob.service(AutoRelay).reservations] == [rita.id]
            [address] = [each for each in bob.addresses if is_relayed(each)]
            connection = await alice.connect(address)
            assert connection.is_relayed
            async with await alice.open_stream(bob.id, "/echo/1", allow_limited=True) as stream:
                await stream.send_all(b"hello")
                assert await stream.read_exactly(5) == b"hello"

    run(program)


@pytest.mark.parametrize(
    ("nat", "other", "outcome"),
    [(None, "symmetric", "CONNECTION_REVERSED"), ("port-restricted", "port-restricted", "SUCCESS")],
)
def test_any_node_brings_two_others_together(nat: str | None, other: str, outcome: str) -> None:
    """C5 (with C2 and C3): the relay is found among the connected peers; none is configured."""
    private = TCP.observers(1).services(RelayClient, AutoNat, AutoRelay, Dcutr)

    async def program(internet: Internet) -> None:
        machine = internet.host("alice") if nat is None else internet.router("left", nat).host()
        async with (
            nodes_on(internet, 3, TCP.services(AutoNat, RelayService)) as relays,
            open_node(machine, private) as alice,
            open_node(internet.router("right", other).host("bob"), private) as bob,
        ):
            for relay in relays:
                await bob.connect(relay)
                await alice.connect(relay)
            with trio.fail_after(60), bob.host.events.subscribe(Event) as events:
                while len(bob.service(AutoRelay).reservations) < 2:
                    await events.__anext__()
            trace = ConnectTrace()
            with on_machine(machine):
                places = [each for each in bob.addresses if is_relayed(each)]
                connection = await alice.host.connect(places, direct=True, trace=trace)
            assert not connection.is_relayed
            assert trace.outcome == outcome

    run(program)


def test_nothing_runs_over_a_relay_by_accident() -> None:
    """C8: a protocol that has not opted in is neither opened nor served over a limited connection,
    and goes on as soon as a direct one is there."""

    async def program(internet: Internet) -> None:
        # Without DCUtR, which would bring a direct connection at once.
        relayed = TCP.services(Identify, RelayClient, defaults=False)
        careless = relayed.handle("/careless/1", echo).limits(stream_timeout=5.0)
        rules = RelayOptions(limit=Limit(duration=600, data=1 << 20))
        async with (
            open_node(internet.host("rita"), TCP.services(RelayService(rules))) as rita,
            open_node(internet.host("bob", link=Link(latency=0.05)), careless) as bob,
            open_node(internet.router("left").host("alice"), careless) as alice,
        ):
            reservation = await bob.service(RelayClient).reserve(rita.addresses)
            await alice.connect(parse_address(f"{reservation.addresses[0]}/p2p/{bob.id}"))
            alice.host.peerstore.clear_addresses(bob.id)
            with pytest.raises((LimitedConnection, PeerTimeout, DialError)):
                await alice.open_stream(bob.id, "/careless/1", timeout=10)

            async with trio.open_nursery() as nursery:

                async def wait_for_it() -> None:
                    stream = await alice.open_stream(bob.id, "/careless/1", timeout=30)
                    assert not stream.connection.is_relayed
                    nursery.cancel_scope.cancel()

                nursery.start_soon(wait_for_it)
                await trio.sleep(1)
                with trio.fail_after(10):
                    await alice.host.swarm.connect(
                        bob.id, [parse_address(f"/ip4/{bob.machine.address}/tcp/{PORT}")],
                        allow_limited=False,
                    )  # fmt: skip
                await trio.sleep(10)
                pytest.fail("the waiting stream did not take the direct connection")

    run(program)


def test_forwarding_refuses_relayed_paths() -> None:
    pytest.skip("CAPABILITIES C8: forwarding refuses relays unless --allow-relay (its own issue)")
