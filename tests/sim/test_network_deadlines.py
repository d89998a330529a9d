"""Deadlines and orders of the network, under a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from carrick.addressing import parse_address
from carrick.errors import (
    ConnectionClosed,
    DialError,
    LimitedConnection,
    PeerTimeout,
    StreamReset,
)
from carrick.interfaces import InboundConnection, Listener, Transport
from carrick.network import Connection, ConnectionCode, Stream, Swarm
from carrick.network.events import ConnectionRefused, PeerConnected
from carrick.network.inbound import InboundStreams
from tests.support.swarms import Detour, echo, exchange, make_swarm, pair, running

PUBLIC = [parse_address(f"/ip4/1.2.3.{number}/tcp/1") for number in range(1, 7)]
PRIVATE = parse_address("/ip4/10.0.0.1/tcp/1")
REFUSED = DialError("connection refused")


def held(swarm: Swarm) -> int:
    return sum(sum(counts.values()) for counts in swarm.resources.stat().values())


@asynccontextmanager
async def detoured(
    routes: dict[Multiaddr, tuple[float, Exception | None]], **options: Any
) -> AsyncIterator[tuple[Swarm, Swarm, Detour]]:
    """A pair whose dialer reaches the listener by `routes`: seconds, and an error or None."""
    async with pair() as (dialer, listener):
        target = listener.listen_addresses[0]
        detour = Detour(
            dialer.transports[0],
            {address: (delay, error or target) for address, (delay, error) in routes.items()},
            **options,
        )
        dialer.dialer.transports = [detour]
        yield dialer, listener, detour


def offsets(detour: Detour, since: float) -> list[float]:
    return [round(at - since, 3) for at, _ in detour.started]


# --- dialling -------------------------------------------------------------------------------------


async def test_the_first_success_wins_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with detoured({PUBLIC[0]: (0.4, None), PUBLIC[1]: (3, None), PUBLIC[2]: (3, None)}) as (
        dialer,
        listener,
        detour,
    ):
        start = trio.current_time()
        connection = await dialer.connect(listener.peer_id, PUBLIC[:3])
        assert connection.remote_address == PUBLIC[0]
        assert trio.current_time() - start == pytest.approx(0.4, abs=0.01)
        await trio.sleep(0.1)
        assert len(detour.started) == len(detour.ended)
        assert len(dialer.connections()) == 1
        assert dialer.resources.stat()["system"]["connections"] == 1


async def test_a_good_first_address_is_not_taxed(autojump_clock: trio.testing.MockClock) -> None:
    async with detoured({PUBLIC[0]: (0.01, None), PUBLIC[1]: (0.01, None)}) as (
        dialer,
        listener,
        detour,
    ):
        start = trio.current_time()
        await dialer.connect(listener.peer_id, PUBLIC[:2])
        assert trio.current_time() - start == pytest.approx(0.01, abs=0.001)
        assert len(detour.started) == 1


async def test_a_failure_starts_the_next_address_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    routes: dict[Multiaddr, tuple[float, Exception | None]] = {
        address: (0.01, REFUSED) for address in PUBLIC[:5]
    }
    routes[PUBLIC[5]] = (0.01, None)
    async with detoured(routes) as (dialer, listener, detour):
        start = trio.current_time()
        await dialer.connect(listener.peer_id, PUBLIC)
        assert trio.current_time() - start < 0.1
        assert len(detour.started) == 6


async def test_addresses_that_do_not_answer_are_staggered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    quic = parse_address("/ip4/1.2.3.4/udp/1/quic-v1")
    async with detoured({quic: (100, None), PUBLIC[0]: (0.1, None)}) as (dialer, listener, detour):
        start = trio.current_time()
        connection = await dialer.connect(listener.peer_id, [PUBLIC[0], quic])
        assert connection.remote_address == PUBLIC[0]
        assert [address for _, address in detour.started] == [quic, PUBLIC[0]]
        assert offsets(detour, start) == [0, 0.25]


async def test_the_timeout_of_each_address(autojump_clock: trio.testing.MockClock) -> None:
    async with detoured({PUBLIC[0]: (100, None), PRIVATE: (100, None)}) as (dialer, listener, _):
        start = trio.current_time()
        with pytest.raises(DialError) as caught:
            await dialer.connect(listener.peer_id, [PRIVATE])
        assert trio.current_time() - start == pytest.approx(5)
        start = trio.current_time()
        with pytest.raises(DialError) as caught:
            await dialer.connect(listener.peer_id, [PUBLIC[0]])
        assert trio.current_time() - start == pytest.approx(15)
        assert isinstance(caught.value.causes[0][1], PeerTimeout)
        assert held(dialer) == 0


async def test_eight_dials_at_a_time_per_peer(autojump_clock: trio.testing.MockClock) -> None:
    addresses = [parse_address(f"/ip4/1.2.3.4/tcp/{port}") for port in range(1, 31)]
    async with detoured({address: (100, None) for address in addresses}) as (
        dialer,
        listener,
        detour,
    ):
        with trio.move_on_after(14):
            await dialer.connect(listener.peer_id, addresses)
        assert len(detour.started) == 8
        await trio.sleep(0.1)
        assert held(dialer) == 0


async def test_new_addresses_join_a_dial(autojump_clock: trio.testing.MockClock) -> None:
    async with detoured({PUBLIC[0]: (100, None), PUBLIC[1]: (0.5, None)}) as (
        dialer,
        listener,
        detour,
    ):
        connections: list[Connection] = []

        async def dial(address: Multiaddr) -> None:
            connections.append(await dialer.connect(listener.peer_id, [address]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, PUBLIC[0])
            await trio.sleep(1)
            nursery.start_soon(dial, PUBLIC[1])
        assert len(set(connections)) == 1
        assert connections[0].remote_address == PUBLIC[1]
        assert detour.ended.count(PUBLIC[0]) == 1


async def test_a_failed_address_is_left_alone_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with detoured({PUBLIC[0]: (0, REFUSED)}) as (dialer, listener, detour):
        for wait in (0, 1, 5):
            await trio.sleep(wait)
            with pytest.raises(DialError):
                await dialer.connect(listener.peer_id, PUBLIC[:1])
        assert len(detour.started) == 2


async def test_the_timeout_of_connect_and_open_stream(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with detoured({PUBLIC[0]: (100, None)}) as (dialer, listener, _):
        with pytest.raises(PeerTimeout, match="within 3 s"):
            await dialer.connect(listener.peer_id, PUBLIC[:1], timeout=3)
        with pytest.raises(PeerTimeout, match="within 2 s"):
            await dialer.open_stream(listener.peer_id, "/echo/1", addresses=PUBLIC[:1], timeout=2)


# --- being dialled --------------------------------------------------------------------------------


class SilentListener:
    """Yields connections that never answer, then those of a real listener."""

    def __init__(self, real: Listener, silent: int) -> None:
        self.real = real
        self.silent = [SilentInbound(real.address) for _ in range(silent)]
        self.address = real.address
        self.handed_out = 0

    async def accept(self) -> InboundConnection:
        await trio.lowlevel.checkpoint()
        if self.handed_out < len(self.silent):
            self.handed_out += 1
            return self.silent[self.handed_out - 1]
        return await self.real.accept()

    def close(self) -> None:
        self.real.close()


class SilentInbound:
    def __init__(self, address: Multiaddr) -> None:
        self.local_address = self.remote_address = address
        self.ended_at: float | None = None
        self.refused = False

    async def upgrade(self, budget: object) -> Any:
        try:
            await trio.sleep_forever()
        finally:
            self.ended_at = trio.current_time()

    def refuse(self) -> None:
        self.refused = True


class SilentTransport:
    """A transport whose listener first yields `silent` connections that never answer."""

    def __init__(self, inner: Transport, silent: int) -> None:
        self.inner = inner
        self.count = silent
        self.listener: SilentListener | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def listen(self, address: Multiaddr) -> Listener:
        self.listener = SilentListener(await self.inner.listen(address), self.count)
        return self.listener


@asynccontextmanager
async def besieged(silent: int) -> AsyncIterator[tuple[Swarm, Swarm, SilentTransport]]:
    listener, dialer = make_swarm(), make_swarm()
    transport = SilentTransport(listener.transports[0], silent)
    listener.transports.insert(0, transport)  # type: ignore[attr-defined]
    async with running(listener), running(dialer, listen=False):
        yield dialer, listener, transport


async def test_the_upgrade_has_one_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """ATTACKS rows 1, 2 and 11."""
    async with besieged(5) as (_, listener, transport):
        with listener.events.subscribe(ConnectionRefused) as refusals:
            await trio.sleep(11)
            assert transport.listener is not None
            ends = [inbound.ended_at for inbound in transport.listener.silent]
            assert ends == [pytest.approx(10)] * 5
            refusal = refusals.get_nowait()
            assert refusal is not None
            assert isinstance(refusal.cause, PeerTimeout)
        assert held(listener) == 0


async def test_pending_connections_give_way_when_all_places_are_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with besieged(128 + 40) as (dialer, listener, transport):
        await trio.sleep(0.1)
        assert listener.resources.stat()["transient"]["connections_inbound"] == 128
        with trio.fail_after(3):
            await dialer.connect(listener.peer_id, listener.listen_addresses)
        assert len(listener.connections()) == 1
        assert transport.listener is not None
        assert transport.listener.silent[0].ended_at == pytest.approx(1)


# --- streams --------------------------------------------------------------------------------------


async def test_negotiating_a_stream_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    """ATTACKS row 20: a stream that never negotiates."""
    async with pair() as (dialer, listener):
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        raw = await connection.muxed.open_stream()
        await raw.send_all(b"\x13")
        start = trio.current_time()
        with pytest.raises(StreamReset):
            while await raw.receive_some():
                pass
        assert trio.current_time() - start == pytest.approx(10)
        assert not listener.connections()[0].closed


async def test_a_peer_that_does_not_answer_a_proposal(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair() as (dialer, listener):
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        monkeypatch.setattr(InboundStreams, "_negotiate", lambda *_: trio.sleep_forever())
        start = trio.current_time()
        with pytest.raises(PeerTimeout, match="/echo/1 within 10 s"):
            await connection.open_stream("/echo/1")
        assert trio.current_time() - start == pytest.approx(10)
        assert dialer.resources.stat()["system"]["streams"] == 0


async def test_only_a_relayed_connection(autojump_clock: trio.testing.MockClock) -> None:
    async with detoured({PUBLIC[0]: (0, None)}, limited=True) as (dialer, listener, _):
        await dialer.connect(listener.peer_id, PUBLIC[:1])
        start = trio.current_time()
        with pytest.raises(LimitedConnection):
            await dialer.open_stream(listener.peer_id, "/echo/1")
        assert trio.current_time() - start == pytest.approx(15)


async def test_closing_never_waits_for_a_peer_that_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with pair() as (dialer, listener):

        async def idle(stream: Stream) -> None:
            await trio.sleep_forever()

        listener.handle("/idle/1", idle)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        stream = await connection.open_stream("/idle/1")
        async with trio.open_nursery() as nursery:

            async def clog() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.send_all(bytes(1 << 20))

            nursery.start_soon(clog)
            await trio.sleep(0.1)
            start = trio.current_time()
            await stream.aclose()
            assert trio.current_time() == start
        written = await connection.open_stream("/idle/1")
        await written.send_all(bytes(250 << 10))
        await written.writer().write(bytes(60 << 10))
        start = trio.current_time()
        await written.aclose()  # what the writer holds has 10 s
        assert trio.current_time() - start == pytest.approx(10)


# --- connections ----------------------------------------------------------------------------------


async def test_steps_have_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (dialer, listener):

        async def slow(connection: Connection) -> None:
            await trio.sleep_forever()

        dialer.add_connection_step(slow)
        with dialer.events.subscribe(PeerConnected) as events:
            start = trio.current_time()
            await dialer.connect(listener.peer_id, listener.listen_addresses)
            assert trio.current_time() - start == pytest.approx(5)
            assert events.get_nowait() == PeerConnected(listener.peer_id)


async def test_too_many_connections_are_trimmed_after_their_grace(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = {"low_water": 3, "high_water": 5}
    async with pair(limits=limits) as (first, listener):
        first_connection = await first.connect(listener.peer_id, listener.listen_addresses)
        friend = make_swarm()
        crowd = [make_swarm() for _ in range(8)]
        listener.manager.protect(friend.peer_id, "friend")
        listener.manager.tag(first.peer_id, "useful", 10)
        async with running(friend, *crowd, listen=False):
            await friend.connect(listener.peer_id, listener.listen_addresses)
            crowd_connections = [
                await swarm.connect(listener.peer_id, listener.listen_addresses) for swarm in crowd
            ]
            await trio.sleep(59)
            assert len(listener.connections()) == 10
            await trio.sleep(15)
            assert len(listener.connections()) == 4  # low_water, and the friend
            assert listener.connections(friend.peer_id)
            assert not first_connection.closed
            gone = [connection for connection in crowd_connections if connection.closed]
            assert len(gone) == 6
            with pytest.raises(ConnectionClosed) as caught:
                await gone[0].open_stream("/echo/1")
            assert caught.value.code == ConnectionCode.GARBAGE_COLLECTED


async def test_an_idle_swarm_sleeps(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (dialer, listener):
        await dialer.connect(listener.peer_id, listener.listen_addresses)
        await trio.testing.wait_all_tasks_blocked()
        steps = 0

        class Counter(trio.abc.Instrument):
            def before_task_step(self, task: trio.lowlevel.Task) -> None:
                nonlocal steps
                steps += 1

        counter = Counter()
        trio.lowlevel.add_instrument(counter)
        await trio.sleep(3600)
        trio.lowlevel.remove_instrument(counter)
        assert steps < 3600 / 30 * 16  # the muxer's keepalive, each 30 s on both sides


async def test_a_graceful_close_has_a_second(autojump_clock: trio.testing.MockClock) -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        stream = await connection.open_stream("/echo/1")
        assert await exchange(stream, b"x") == b"x"
        start = trio.current_time()
        await dialer.aclose()
        assert trio.current_time() - start <= 1.0
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
        assert held(dialer) == 0
