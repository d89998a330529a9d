"""A QUIC stream as a trio stream."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from carrick.errors import StreamReset
from carrick.interfaces import Buffer, Direction

if TYPE_CHECKING:
    from carrick.transports.quic.backend import Backend
    from carrick.transports.quic.connection import QuicConnection

__all__ = ["QuicStream"]

RECEIVE_LIMIT = 256 * 1024  # what one receive_some joins at most, in bytes
PIECE = 256 * 1024  # bytes handed to the backend at a time
LOW_WATER = 64 * 1024  # unsent bytes below which it gets the next piece
_QUICK = 4  # round trips within which a window is used up that is too small
_RTT = 0.1  # s, before it was measured


class QuicStream(trio.abc.HalfCloseableStream):
    """One stream of a `QuicConnection`; see `carrick.interfaces.MuxedStream`.

    The peer learns of a new stream with its first send, end of file or reset. At most one task may
    send and one receive at a time, as with every trio stream.

    Args:
        window: bytes that the peer may send ahead of the reader, at first.
        max_window: to which that grows for a fast reader.
    """

    __slots__ = (
        "_all_sent",
        "_chunks",
        "_closed",
        "_connection",
        "_consumed",
        "_fin",
        "_granted_at",
        "_limit",
        "_max_window",
        "_readers",
        "_receiving",
        "_received",
        "_reset",
        "_sending",
        "_sent_eof",
        "_stopped",
        "_told",
        "_window",
        "_writers",
        "direction",
        "id",
    )

    def __init__(
        self,
        connection: QuicConnection,
        number: int,
        direction: Direction,
        window: int,
        max_window: int,
    ) -> None:
        self.id = number
        self.direction = direction
        self._connection = connection
        self._chunks: deque[bytes] = deque()
        self._received = 0  # bytes in `_chunks`
        self._consumed = 0  # bytes that have left them
        self._limit = self._window = window
        self._max_window = max_window
        self._granted_at = trio.current_time()
        self._fin = False  # the peer's
        self._reset: tuple[int, bool] | None = None  # of the receiving side: code, by the peer
        self._stopped: tuple[int, bool] | None = None  # of the sending side
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()
        self._sending = False
        self._receiving = False
        self._sent_eof = False
        self._closed = False
        self._all_sent = True
        self._told = False  # the peer knows that nobody reads

    # --- what the connection tells ----------------------------------------------------------------

    def on_data(self, data: bytes, fin: bool) -> None:
        total = self._consumed + self._received + len(data)
        if total > self._limit and self._reads:
            self._connection.fail(0x03, "more was sent than the stream's window allows")
            return
        if self._reads:
            if data:
                self._chunks.append(data)
                self._received += len(data)
                self._connection.count_unread(len(data))
            self._fin = self._fin or fin
            self._readers.unpark_all()
        else:
            self._fin = self._fin or fin
            if not (self._told or self._fin):
                self._tell(0)

    def on_reset(self, code: int) -> None:
        """The peer cut its sending side: what was not read is dropped, as it is not the whole."""
        if self._reset is None:
            self._reset = code, True
            self._drop()
            self._readers.unpark_all()

    def on_stop(self, code: int) -> None:
        """The peer stopped reading."""
        if self._stopped is None:
            self._stopped = code, True
            self._wake_writers()

    def on_sent(self) -> None:
        """Something was sent, or may be: let the sender look again."""
        if self._stopped is None:
            self._all_sent = not self._backend.unsent(self.id)
        if self._writers:
            self._writers.unpark_all()

    def abandon(self) -> None:
        """The connection has ended. What was received stays readable."""
        self._readers.unpark_all()
        self._wake_writers()

    def _wake_writers(self) -> None:
        self._connection.senders.pop(self, None)
        self._writers.unpark_all()

    # --- sending ----------------------------------------------------------------------------------

    async def send_all(self, data: Buffer, *, eof: bool = False) -> None:
        """Send all of `data`, waiting for window and socket; with `eof` the end of file as well.

        The last `LOW_WATER` bytes need not have left yet: the connection sends them by itself, at
        the end of this tick or when the path takes them.

        Raises:
            trio.ClosedResourceError: after `send_eof` or `aclose`.
            trio.BusyResourceError: another task sends.
            StreamReset, ConnectionClosed: (both `trio.BrokenResourceError`).
        """
        self._begin_sending()
        written, view = 0, memoryview(data).cast("B")
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_sendable()
            if self._connection.flush_pending:
                self._connection.flush()  # of the last call: its end did not follow
            # Other tasks of this tick write too; their bytes share the packets.
            await trio.lowlevel.cancel_shielded_checkpoint()
            while written < len(view):
                self._check_sendable()
                if room := min(PIECE, self._backend.credit(self.id)):
                    last = eof and len(view) - written <= room
                    self._backend.write(self.id, view[written : written + room], fin=last)
                    written += min(room, len(view) - written)
                    self._all_sent = False
                    little = self._backend.unsent(self.id) <= LOW_WATER
                    self._connection.wrote(soon=little and written == len(view))
                await self._wait_sent(LOW_WATER)
                if not room and written < len(view):
                    await self._wait_writers()
            if eof:
                self._sent_eof = True
                if not view:
                    self._send_fin()
        except BaseException:
            if written:
                self.reset()  # a part of it left: the peer must not take it for the whole
            raise
        finally:
            self._end_sending()

    async def drain(self) -> None:
        """Wait until all that was written has left, or nobody wants it any more."""
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._connection.flush()
            while self._backend.unsent(self.id) and not (self._stopped or self._connection.closed):
                await self._writers.park()
        finally:
            self._end_sending()

    async def _wait_sent(self, most: int) -> None:
        while not self._all_sent and self._backend.unsent(self.id) > most:
            self._check_sendable()
            await self._writers.park()
        if not self._all_sent:  # else a peer that stops reading now has had it all
            self._check_sendable()

    async def _wait_writers(self) -> None:
        if not self._backend.credit(self.id):
            await self._writers.park()

    async def wait_send_all_might_not_block(self) -> None:
        self._begin_sending()
        try:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while not self._backend.credit(self.id):
                await self._writers.park()
                self._check_sendable()
        finally:
            self._end_sending()

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if not self._sent_eof:
            self._check_sendable()
            self._send_fin()  # now: it shares the packet of what was sent just before
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _send_fin(self) -> None:
        self._sent_eof = True
        self._backend.write(self.id, b"", fin=True)
        self._connection.wrote()

    def send_soon(self, data: bytes) -> bool:
        """As `ByteStream.send_soon`: the bytes share the packets of this tick."""
        if self._sending or self._backend.credit(self.id) < len(data):
            return False
        if not (self._closed or self._sent_eof or self._stopped):
            self._backend.write(self.id, data)
            self._all_sent = False
            self._connection.wrote()
        return True

    def _begin_sending(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        self._connection.senders[self] = None

    def _end_sending(self) -> None:
        self._sending = False
        self._connection.senders.pop(self, None)

    def _check_sendable(self) -> None:
        if self._closed or self._sent_eof:
            raise trio.ClosedResourceError("the stream's sending side was closed")
        self._check_alive(self._stopped)

    @property
    def _backend(self) -> Backend:
        return self._connection.backend

    # --- receiving --------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return them; `b""` at end of file.

        Raises:
            trio.ClosedResourceError: after `aclose`.
            trio.BusyResourceError: another task receives.
            StreamReset, ConnectionClosed: (both `trio.BrokenResourceError`).
        """
        if max_bytes is None:
            max_bytes = RECEIVE_LIMIT
        elif not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be an int, not {type(max_bytes).__name__}")
        elif max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        await self._wait_received()
        data = self._take(max_bytes)
        self._after_take(len(data))
        return data

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """As `receive_some` without waiting, and no checkpoint; None if nothing is there now."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        if not self._is_readable():
            return None
        data = self._take(max_bytes)
        self._after_take(len(data))
        return data

    async def receive_views(self) -> list[memoryview]:
        """As `receive_some`, but all bytes that are there, uncopied; empty at end of file."""
        await self._wait_received()
        views = [memoryview(chunk) for chunk in self._chunks]
        self._chunks.clear()
        self._after_take(self._received)
        return views

    async def _wait_received(self) -> None:
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            if self._connection.flush_pending:
                if self._is_readable():  # whoever sent may have more to say
                    await trio.lowlevel.checkpoint_if_cancelled()
                    return
                self._connection.flush()
            await trio.lowlevel.checkpoint()
            while not self._is_readable():
                await self._readers.park()
        finally:
            self._receiving = False

    def _is_readable(self) -> bool:
        """There are bytes, or the end of file. Raises what a reader must know."""
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if self._received or (self._fin and self._reset is None):
            return True
        self._check_alive(self._reset)
        return False

    def _take(self, most: int) -> bytes:
        if not self._chunks:
            return b""
        if len(self._chunks) == 1 and len(self._chunks[0]) <= most:
            return self._chunks.popleft()
        pieces: list[bytes] = []
        while self._chunks and most:
            chunk = self._chunks.popleft()
            if len(chunk) > most:
                self._chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            pieces.append(chunk)
            most -= len(chunk)
        return b"".join(pieces)

    def _after_take(self, size: int) -> None:
        """Bytes were read: let the peer send more."""
        if not size:
            return
        self._received -= size
        self._consumed += size
        self._connection.count_unread(-size)
        if self._fin or self._limit - self._consumed > self._window // 2:
            return
        now = trio.current_time()
        if now - self._granted_at < _QUICK * (self._connection.rtt or _RTT):
            self._window = min(2 * self._window, self._max_window)
        self._granted_at = now
        self._limit = self._consumed + self._window
        self._backend.grant(self.id, self._limit)
        self._connection.flush()

    # --- ending -----------------------------------------------------------------------------------

    @property
    def _reads(self) -> bool:
        return not self._closed and self._reset is None

    async def aclose(self) -> None:
        """Send FIN and stop reading; never waits for the peer."""
        if not self._closed:
            if self._sending and self._stopped is None:
                self.reset()  # a sender is at work: what it sends is not whole
            self._closed = True
            if self._stopped is None and not self._sent_eof and not self._receive_only:
                self._backend.write(self.id, b"", fin=True)
            if self._received:
                self._tell(0)  # otherwise when more comes: perhaps it is only FIN
            self._drop()
            self._connection.wrote()
            self._readers.unpark_all()
            self._wake_writers()
        await trio.lowlevel.checkpoint()

    def reset(self, code: int = 0) -> None:
        """End both directions at once, telling the peer `code`."""
        if self._connection.closed:
            return
        if self._stopped is None:
            self._stopped = code, False
            if not self._receive_only:
                self._backend.reset(self.id, code)
        self._stop_reading(code)
        self._connection.flush()
        self._readers.unpark_all()
        self._wake_writers()

    def _stop_reading(self, code: int) -> None:
        if self._reset is None:
            self._tell(code)
            if not self._closed:
                self._reset = code, False
        self._drop()

    def _tell(self, code: int) -> None:
        """Ask the peer to stop sending."""
        if not (self._told or self._fin or self._send_only):
            self._told = True
            self._backend.stop(self.id, code)

    def _drop(self) -> None:
        self._connection.count_unread(-self._received)
        self._consumed += self._received
        self._received = 0
        self._chunks.clear()

    @property
    def _receive_only(self) -> bool:
        return self.id & 2 != 0 and self.direction is Direction.INBOUND

    @property
    def _send_only(self) -> bool:
        return self.id & 2 != 0 and self.direction is Direction.OUTBOUND

    def _check_alive(self, ended: tuple[int, bool] | None) -> None:
        if self._connection.closed:
            raise self._connection.closed_error()
        if ended is None:
            return
        code, remote = ended
        raise StreamReset(
            "the peer reset the stream" if remote else "the stream was reset",
            code=code,
            remote=remote,
        )
