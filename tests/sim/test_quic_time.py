"""QUIC in virtual time: timers, keepalives, deadlines, hole punching."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import ConnectionClosed, PeerTimeout
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.transports.quic import EndpointPool, EngineSettings, QuicTransport
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.transport import QuicListener
from tests.support.datagrams import Datagrams
from tests.support.transports import Unlimited

LISTEN = parse_address("/ip4/192.0.2.1/udp/4001/quic-v1")
OTHER = parse_address("/ip4/192.0.2.2/udp/4002/quic-v1")


class Side:
    """One host."""

    def __init__(self, network: Datagrams, *, seed: int = 0, **settings: float) -> None:
        self.key = PrivateKey.generate()
        self.pool = EndpointPool(EngineSettings(**settings), sockets=network)  # type: ignore[arg-type]
        self.transport = QuicTransport(self.key, pool=self.pool, rng=random.Random(seed))

    async def listen(self, address=LISTEN) -> QuicListener:
        return await self.transport.listen(address)


@asynccontextmanager
async def connected(network: Datagrams) -> AsyncIterator[tuple[QuicConnection, QuicConnection]]:
    dialing, listening = Side(network), Side(network)
    listener = await listening.listen()
    accepted: list[QuicConnection] = []

    async def accept() -> None:
        inbound = await listener.accept()
        accepted.append(await inbound.upgrade(Unlimited()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        dialed = await dialing.transport.dial(LISTEN, None, budget=Unlimited())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialed.run)
        nursery.start_soon(accepted[0].run)
        yield dialed, accepted[0]
        nursery.cancel_scope.cancel()
    listener.close()


async def test_an_idle_connection_lives_and_hardly_wakes(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        await trio.sleep(1)
        before = len(network.sent)
        await trio.sleep(600)
        assert not dialed.closed and not accepted.closed
        # 40 keepalives of each side at most, and their acknowledgements.
        assert len(network.sent) - before <= 4 * 40


async def test_a_peer_that_falls_silent_is_noticed(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        await trio.sleep(1)
        network.lose = lambda source, target, data: True
        start = trio.current_time()
        with pytest.raises(ConnectionClosed, match="silent"):
            await accepted.accept_stream()
        assert 15 <= trio.current_time() - start <= 60
        await trio.sleep(60)
        assert dialed.closed


async def test_a_dial_to_nobody(autojump_clock) -> None:
    network = Datagrams()
    side = Side(network)
    start = trio.current_time()
    with pytest.raises(PeerTimeout):
        await side.transport.dial(LISTEN, None, budget=Unlimited())
    assert trio.current_time() - start == pytest.approx(5)
    assert not network.sockets  # nothing is left


async def test_sockets_close_with_their_last_user(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        assert len(network.sockets) == 2
        await dialed.aclose()
        assert len(network.sockets) == 1
        with pytest.raises(ConnectionClosed):
            await accepted.accept_stream()
    assert not network.sockets


async def test_dials_share_an_endpoint_or_leave_from_the_listener(autojump_clock) -> None:
    network = Datagrams()
    side, listener = Side(network), Side(network)
    listening = await listener.listen()
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            while True:
                inbound = await listening.accept()
                connection = await inbound.upgrade(Unlimited())
                nursery.start_soon(connection.run)

        nursery.start_soon(serve)
        first = await side.transport.dial(LISTEN, None, budget=Unlimited())
        second = await side.transport.dial(LISTEN, None, budget=Unlimited())
        assert first.local_address == second.local_address
        nursery.start_soon(first.run)
        nursery.start_soon(second.run)
        await side.listen(OTHER)
        third = await side.transport.dial(LISTEN, None, budget=Unlimited())
        assert third.local_address == OTHER
        nursery.start_soon(third.run)
        for connection in (first, second, third):
            stream = await connection.open_stream()
            await stream.send_all(b"x")
        nursery.cancel_scope.cancel()


async def test_a_graceful_close_waits_for_a_second_at_most(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        stream = await dialed.open_stream()
        await stream.send_all(b"x")
        network.lose = lambda source, target, data: True
        await stream.send_all(b"y")
        start = trio.current_time()
        await dialed.aclose(7)
        assert trio.current_time() - start <= 1.001


async def test_a_lost_close_is_repeated(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        await trio.sleep(1)
        network.lose = lambda source, target, data: True
        await dialed.aclose(7)
        network.lose = lambda source, target, data: False
        assert not accepted.closed
        # The dialer's endpoint is gone with its last connection, so nobody answers here; the
        # listener's still stands.
        assert len(network.sockets) == 1


async def test_the_listener_repeats_its_close(autojump_clock) -> None:
    network = Datagrams()
    async with connected(network) as (dialed, accepted):
        await trio.sleep(1)
        network.lose = lambda source, target, data: True
        await accepted.aclose(9)
        network.lose = lambda source, target, data: False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepted._endpoint.read_for_others)  # as `accept` does
            stream = await dialed.open_stream()
            await stream.send_all(b"anybody?")
            with pytest.raises(ConnectionClosed) as caught:
                await stream.receive_some()
            assert caught.value.code == 9 and caught.value.remote
            nursery.cancel_scope.cancel()


async def test_clients_that_do_not_go_on_are_forgotten(autojump_clock) -> None:
    network = Datagrams()
    listening = Side(network)
    listener = await listening.listen()
    endpoint = listener._acceptor.endpoint
    # The client hears nothing, and gives up.
    network.lose = lambda source, target, data: source == ("192.0.2.1", 4001)
    with trio.move_on_after(12):
        await listener.accept()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(endpoint.read_for_others)
        with pytest.raises(PeerTimeout):
            await Side(network).transport.dial(LISTEN, None, budget=Unlimited())
        nursery.cancel_scope.cancel()
    await trio.sleep(11)
    endpoint._expire(trio.current_time())
    assert endpoint.half_open_count == 0
    listener.close()


class Nat:
    """Lets in only what comes from an address that was sent to before."""

    def __init__(self, hosts: set[str]) -> None:
        self.hosts = hosts
        self.opened: set[tuple[str, str]] = set()

    def __call__(self, source, target, data) -> bool:
        self.opened.add((source[0], target[0]))
        return target[0] in self.hosts and (target[0], source[0]) not in self.opened


async def test_hole_punching_through_two_nats(autojump_clock) -> None:
    network = Datagrams()
    network.lose = Nat({"192.0.2.1", "192.0.2.2"})
    one, two = Side(network, seed=1), Side(network, seed=2)
    first, second = await one.listen(LISTEN), await two.listen(OTHER)
    found: dict[Role, QuicConnection] = {}

    async def punch(side: Side, target, peer: PrivateKey, role: Role) -> None:
        found[role] = await side.transport.punch(
            target, peer.public_key.peer_id, role=role, budget=Unlimited()
        )

    with pytest.raises(PeerTimeout):  # without punching
        await one.transport.dial(OTHER, None, budget=Unlimited())
    with trio.fail_after(6):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(punch, one, OTHER, two.key, Role.SERVER)
            nursery.start_soon(punch, two, LISTEN, one.key, Role.CLIENT)
    client, server = found[Role.CLIENT], found[Role.SERVER]
    assert (client.role, server.role) == (Role.CLIENT, Role.SERVER)
    assert client.peer_id == one.key.peer_id and server.peer_id == two.key.peer_id
    assert client.local_address == OTHER and server.remote_address == OTHER
    first.close()
    second.close()


async def test_punching_sends_at_random_gaps_and_gives_up(autojump_clock) -> None:
    network = Datagrams()
    side = Side(network)
    await side.listen()
    with pytest.raises(PeerTimeout):
        await side.transport.dial(OTHER, None, role=Role.SERVER, budget=Unlimited())
    times = [time for time, *_ in network.sent]
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert all(0.0099 <= gap <= 0.2001 for gap in gaps) and len(set(gaps)) > 5
    assert times[-1] - times[0] <= 5
    assert {len(data) for *_, data in network.sent} == {64}


async def test_a_neighbour_of_the_punched_peer_is_the_listeners(autojump_clock) -> None:
    network = Datagrams()
    side, peer, neighbour = Side(network), Side(network), Side(network)
    listener = await side.listen()
    await neighbour.listen(OTHER)
    found: list[QuicConnection] = []

    async def punch() -> None:
        expected = peer.key.public_key.peer_id
        found.append(
            await side.transport.punch(OTHER, expected, role=Role.SERVER, budget=Unlimited())
        )

    async def dial(side: Side) -> None:
        connection = await side.transport.dial(LISTEN, None, budget=Unlimited())
        await connection.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(punch)
        nursery.start_soon(dial, neighbour)
        inbound = await (await listener.accept()).upgrade(Unlimited())
        assert inbound.peer_id == neighbour.key.public_key.peer_id
        neighbour.pool._listening.clear()
        await peer.listen(parse_address("/ip4/192.0.2.2/udp/4009/quic-v1"))
        nursery.start_soon(dial, peer)
        await trio.sleep(1)
        assert [each.peer_id for each in found] == [peer.key.public_key.peer_id]
        assert not inbound.closed
        nursery.cancel_scope.cancel()


async def test_a_stranger_does_not_pass_for_the_punched_peer(autojump_clock) -> None:
    network = Datagrams()
    side, stranger = Side(network), Side(network)
    await side.listen()
    await stranger.listen(OTHER)
    expected = PrivateKey.generate().public_key.peer_id
    async with trio.open_nursery() as nursery:

        async def dial() -> None:
            connection = await stranger.transport.dial(LISTEN, None, budget=Unlimited())
            await connection.run()

        nursery.start_soon(dial)
        with pytest.raises(PeerTimeout):
            await side.transport.punch(OTHER, expected, role=Role.SERVER, budget=Unlimited())
        nursery.cancel_scope.cancel()
