"""The data path of byte streams under a clock that jumps: stalls, closes, overload, silence."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from carrick.addressing import parse_address
from carrick.errors import ConnectionClosed, StreamReset
from carrick.identity import PrivateKey
from carrick.interfaces import ByteSocket, MuxedConnection, MuxedStream, Role
from carrick.transports.bytestream import ByteStreamConnection, Upgrader
from carrick.transports.memory.pipe import memory_pair
from carrick.transports.muxers.mplex import Mplex
from carrick.transports.muxers.yamux import Yamux
from carrick.transports.security.noise import Noise
from tests.support.transports import MIB, MUXERS, Unlimited

KIB = 1024
ADDRESS = parse_address("/memory/1")
Clock = trio.testing.MockClock


class Line:
    """A byte socket whose receiving can be held up, as by a peer that stopped: a `ByteSocket`."""

    def __init__(self, socket: ByteSocket) -> None:
        self._socket = socket
        self._allowed = 0.0
        self._flowing = trio.Event()
        self.release()
        self.local, self.remote = socket.local, socket.remote
        self.send, self.wait_writable = socket.send, socket.wait_writable
        self.close, self.abort = socket.close, socket.abort

    def hold(self) -> None:
        self._allowed = 0.0
        self._flowing = trio.Event()

    def release(self, size: float = math.inf) -> None:
        """Let `size` bytes through."""
        self._allowed += size
        self._flowing.set()

    def recv_into(self, buffer: memoryview) -> int | None:
        if not self._allowed:
            return None
        received = self._socket.recv_into(buffer[: int(min(len(buffer), self._allowed))])
        self._allowed -= received or 0
        if not self._allowed:
            self.hold()
        return received

    async def wait_readable(self) -> None:
        await self._flowing.wait()
        await self._socket.wait_readable()


class Pair:
    """Two running connections; `line` is what the second one receives by."""

    def __init__(self, here: ByteStreamConnection, there: ByteStreamConnection, line: Line) -> None:
        self.here = here
        self.there = there
        self.line = line


@asynccontextmanager
async def connected(muxer: str = Yamux.id, *, mute: bool = False) -> AsyncIterator[Pair]:
    near, far = memory_pair(("memory", 1), ("memory", 2))
    line = Line(far)
    made: dict[Role, ByteStreamConnection] = {}

    async def upgrade(socket: ByteSocket, role: Role) -> None:
        upgrader = Upgrader([Noise(PrivateKey.generate())], {muxer: MUXERS[muxer]})
        made[role] = await upgrader.upgrade(
            socket,
            role=role,
            peer=None,
            budget=Unlimited(),
            local_address=ADDRESS,
            remote_address=ADDRESS,
        )
        made[role].flush()  # the end of the handshake, as `run` does

    async with trio.open_nursery() as upgrading:
        upgrading.start_soon(upgrade, near, Role.CLIENT)
        upgrading.start_soon(upgrade, line, Role.SERVER)
    pair = Pair(made[Role.CLIENT], made[Role.SERVER], line)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.here.run)
        if not mute:
            nursery.start_soon(pair.there.run)
        yield pair
        line.release()
        pair.here.abort()
        pair.there.abort()


async def settle() -> None:
    """Let everything happen that needs no time. (Waiting until all tasks are blocked would be in
    a race with the clock, which jumps then.)"""
    await trio.sleep(0.001)


async def streams(pair: Pair) -> tuple[MuxedStream, MuxedStream]:
    there = await pair.here.open_stream()
    await there.send_all(b"!")
    back = await pair.there.accept_stream()
    assert await back.receive_some(1) == b"!"
    await settle()
    return there, back


async def ended(connection: MuxedConnection) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed):
        await connection.accept_stream()
    return connection.closed_error()


# --- writing --------------------------------------------------------------------------------------


async def test_a_write_that_stalls_closes_the_connection(autojump_clock: Clock) -> None:
    async with connected(Mplex.id) as pair:  # mplex writes as much as it likes
        there, _ = await streams(pair)
        pair.line.hold()
        start = trio.current_time()
        with pytest.raises(ConnectionClosed, match="stopped reading"):
            await there.send_all(bytes(2 * MIB))
        assert trio.current_time() - start == pytest.approx(10)
        assert pair.here.closed


async def test_a_write_that_goes_on_slowly_does_not_stall(autojump_clock: Clock) -> None:
    data = bytes(2 * MIB)
    async with connected(Mplex.id) as pair:
        there, back = await streams(pair)
        start = trio.current_time()

        async def trickle() -> None:
            pair.line.hold()
            while True:
                await trio.sleep(8)
                pair.line.release(256 * KIB)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            nursery.start_soon(there.send_all, data)
            received = 0
            while received < len(data):
                received += len(await back.receive_some())
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start >= 7 * 8
        assert not pair.here.closed


async def test_timers_run_while_a_write_goes_on_slowly(autojump_clock: Clock) -> None:
    """A peer that takes a byte now and then, and never says anything, is found to be gone."""
    async with connected(mute=True) as pair:
        opened = [await pair.here.open_stream() for _ in range(8)]
        start = trio.current_time()

        async def send(stream: MuxedStream) -> None:
            with pytest.raises(ConnectionClosed, match="keepalive"):
                while True:
                    await stream.send_all(bytes(256 * KIB))

        async def nibble() -> None:
            taken = memoryview(bytearray(64 * KIB))
            while True:
                await trio.sleep(5)
                pair.line.recv_into(taken)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(nibble)
            async with trio.open_nursery() as sending:
                for stream in opened:
                    sending.start_soon(send, stream)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start <= 30 + 20 + 5


async def test_both_ends_upload_while_both_readers_are_slow(autojump_clock: Clock) -> None:
    """Windows are full both ways, and so are the sockets: nothing waits for the other."""
    total = 3 * MIB
    async with connected() as pair:
        there, back = await streams(pair)

        async def send(stream: MuxedStream) -> None:
            await stream.send_all(bytes(total))
            await stream.send_eof()

        async def receive(stream: MuxedStream) -> None:
            received = 0
            while data := await stream.receive_some(16 * KIB):
                received += len(data)
                await trio.sleep(0.5)
            assert received == total

        with trio.fail_after(total / (16 * KIB) * 0.5 + 60):
            async with trio.open_nursery() as nursery:
                for stream in (there, back):
                    nursery.start_soon(send, stream)
                    nursery.start_soon(receive, stream)
        assert not (pair.here.closed or pair.there.closed)


# --- unread input ---------------------------------------------------------------------------------


async def receive(stream: MuxedStream, size: int) -> None:
    received = 0
    while received < size:
        received += len(await stream.receive_some())


async def test_unread_input_stops_the_reader_and_reading_lets_it_go_on(
    autojump_clock: Clock,
) -> None:
    """Mplex has no windows: the connection stops reading at 4 MiB, and TCP does the rest."""
    size = MIB - KIB
    async with connected(Mplex.id) as pair:
        pairs = [await streams(pair) for _ in range(6)]
        async with trio.open_nursery() as nursery:
            for there, _ in pairs:
                nursery.start_soon(there.send_all, bytes(size))
            await settle()
            assert pair.there._muxer.overloaded
            await trio.sleep(7)  # in time: nothing is lost
            start = trio.current_time()
            for _, back in pairs:
                nursery.start_soon(receive, back, size)
        assert trio.current_time() - start < 1
        assert not pair.there._muxer.overloaded


async def test_unread_input_is_dropped_before_the_writer_gives_up(autojump_clock: Clock) -> None:
    sizes = [MIB - KIB] * 2 + [450 * KIB] * 6
    async with connected(Mplex.id) as pair:
        pairs = [await streams(pair) for _ in sizes]
        cut: list[int] = []

        async def send(index: int) -> None:
            try:
                await pairs[index][0].send_all(bytes(sizes[index]))
            except StreamReset:
                cut.append(index)

        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for index in range(len(sizes)):
                nursery.start_soon(send, index)
            await settle()
            assert pair.there._muxer.overloaded
        assert trio.current_time() - start == pytest.approx(8, abs=0.1)
        # One of those that held the most is reset; the others, and the connection, live.
        ended: list[int] = []
        for index, (_, back) in enumerate(pairs):
            try:
                await receive(back, sizes[index])
            except StreamReset:
                ended.append(index)
        assert ended in ([0], [1])
        assert cut in ([], ended)  # whose last bytes were on their way has ended its send before
        assert not (pair.here.closed or pair.there.closed)


# --- the end --------------------------------------------------------------------------------------


async def test_a_graceful_close_waits_a_second_for_a_peer_that_does_not_read(
    autojump_clock: Clock,
) -> None:
    async with connected(Mplex.id) as pair:
        there, _ = await streams(pair)
        pair.line.hold()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(ConnectionClosed):
                    await there.send_all(bytes(2 * MIB))

            nursery.start_soon(send)
            await settle()
            start = trio.current_time()
            await pair.here.aclose()
            assert trio.current_time() - start == pytest.approx(1)


async def test_a_graceful_close_does_not_wait_for_nothing(autojump_clock: Clock) -> None:
    async with connected() as pair:
        start = trio.current_time()
        await pair.here.aclose(5)
        error = await ended(pair.there)
        assert (error.remote, error.code) == (True, 5)
        assert trio.current_time() - start < 0.1


async def test_the_last_words_before_a_close_arrive(autojump_clock: Clock) -> None:
    async with connected() as pair:
        there, back = await streams(pair)
        await there.send_all(bytes(200 * KIB))
        await there.send_eof()
        await pair.here.aclose()
        received = 0
        while data := await back.receive_some():
            received += len(data)
        assert received == 200 * KIB


@pytest.mark.parametrize("pumping", [False, True])
async def test_what_came_before_a_write_failed_is_read(
    autojump_clock: Clock, pumping: bool
) -> None:
    """The peer said its last words and closed; we learn of it by writing."""
    async with connected() as pair:
        there, back = await streams(pair)
        pair.line.hold()
        await there.send_all(bytes(200 * KIB))
        await there.send_eof()
        await pair.here.aclose(7)
        start = trio.current_time()
        if pumping:
            pair.there._pumping = True
            pair.there._wake_pump()

        async def send() -> None:
            with suppress(ConnectionClosed):  # only if it could not be handed over at once
                await back.send_all(b"are you there?")  # a broken pipe

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await settle()
            pair.line.release()
            received = 0
            while data := await back.receive_some():
                received += len(data)
        assert received == 200 * KIB
        error = await ended(pair.there)
        assert (error.remote, error.code) == (True, 7)
        assert trio.current_time() - start < 0.5


async def test_after_a_write_failed_the_end_comes_within_a_second(autojump_clock: Clock) -> None:
    async with connected() as pair:
        there, back = await streams(pair)
        pair.line.hold()
        await pair.here.aclose()
        start = trio.current_time()
        await back.send_all(b"are you there?")
        with pytest.raises(ConnectionClosed, match="broken pipe"):
            await back.receive_some()
        assert trio.current_time() - start == pytest.approx(1)
        assert (await ended(pair.there)).remote


async def test_what_watches_the_end_cannot_keep_it_from_others(autojump_clock: Clock) -> None:
    """A frame trace whose file is on a full disk, say."""
    async with connected() as pair:
        there, _ = await streams(pair)

        def fails(_: ConnectionClosed) -> None:
            raise OSError("no space left on device")

        pair.here.on_end = fails
        outcomes: list[str] = []

        async def read() -> None:
            with pytest.raises(ConnectionClosed):
                await there.receive_some()
            outcomes.append("stream")

        async def accept() -> None:
            await ended(pair.here)
            outcomes.append("accept")

        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(accept)
                await settle()
                await pair.there.aclose()
        assert sorted(outcomes) == ["accept", "stream"]


async def test_a_peer_that_vanishes_silently(autojump_clock: Clock) -> None:
    """No FIN, no RST: yamux' keepalive finds out, 30 s after the last ping and 20 s of silence."""
    async with connected() as pair:
        there, _ = await streams(pair)
        await trio.sleep(100)  # idle, and alive
        assert not pair.here.closed
        pair.line.hold()
        start = trio.current_time()
        with pytest.raises(ConnectionClosed, match="keepalive"):
            await there.receive_some()
        assert 20 <= trio.current_time() - start <= 50
        assert "keepalive" in str(await ended(pair.here))


async def test_keepalive_measures_the_round_trip(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await streams(pair)
        before = pair.here.rtt
        assert before is not None
        pair.line.hold()
        await trio.sleep(31)  # a ping waits on the line
        pair.line.release()
        await trio.sleep(1)
        assert pair.here.rtt is not None and pair.here.rtt > before
        assert not pair.here.closed
