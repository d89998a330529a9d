"""A muxer's stream as a trio stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from carrick.errors import StreamReset
from carrick.interfaces import Buffer, Direction, MuxerStream

if TYPE_CHECKING:
    from carrick.transports.bytestream.connection import ByteStreamConnection

__all__ = ["ByteStream"]

RECEIVE_LIMIT = 256 * 1024  # what one receive_some joins at most, in bytes
BULK = 4096  # bytes; after a write from here on others get their turn only with each FAIR_SHARE
FAIR_SHARE = 256 * 1024  # bytes that one task sends before others get their turn
JOIN = 16 * 1024  # bytes; a longer write is not copied to join it with others
FULL = 64 * 1024  # bytes; as many fill a record, and wait for no more


class ByteStream(trio.abc.HalfCloseableStream):
    """One stream of a `ByteStreamConnection`; see `carrick.interfaces.MuxedStream`.

    The peer learns of a new stream with its first send, receive, end of file or reset. At most one
    task may send and one receive at a time, as with every trio stream.
    """

    __slots__ = (
        "_closed",
        "_connection",
        "_core",
        "_reader",
        "_receiving",
        "_sending",
        "_sent_eof",
        "_share",
        "_writer",
    )

    def __init__(self, connection: ByteStreamConnection, core: MuxerStream) -> None:
        self._connection = connection
        self._core = core
        self._reader: trio.lowlevel.Task | None = None  # who waits for bytes
        self._writer: trio.lowlevel.Task | None = None  # who waits until its bytes are sealed
        self._sending = False
        self._receiving = False
        self._sent_eof = False
        self._share = FAIR_SHARE  # bytes left to send before others get their turn
        self._closed = False
        core.owner = self

    @property
    def id(self) -> int:
        return self._core.id

    @property
    def direction(self) -> Direction:
        return Direction.INBOUND if self._core.inbound else Direction.OUTBOUND

    def wake(self) -> None:
        """The muxer changed the stream's state: let whom it concerns look again."""
        if (reader := self._reader) is not None and self._is_readable:
            self._reader = None
            trio.lowlevel.reschedule(reader)
        if (writer := self._writer) is not None:
            self._writer = None
            trio.lowlevel.reschedule(writer)

    async def _sleep_reading(self) -> None:
        """Sleep until `wake` has something for the reader."""
        self._reader = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._stop_reading)

    def _stop_reading(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _sleep_writing(self) -> None:
        """Sleep until `wake`."""
        self._writer = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._stop_writing)

    def _stop_writing(self, _: object) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    # --- sending --------------------------------------------------------------------------------

    async def send_all(self, data: Buffer, *, eof: bool = False) -> None:
        """Send all of `data`, waiting for window and socket; with `eof` the end of file as well.

        A checkpoint; but of writes from 4 KiB on only one in each 256 KiB gives others a turn.
        Writes of up to 16 KiB that follow each other within a millisecond share records: they wait
        for company for a few ticks, and at most 64 KiB of them.

        Raises:
            trio.ClosedResourceError: after `send_eof` or `aclose`.
            trio.BusyResourceError: another task sends.
            StreamReset, ConnectionClosed: (both `trio.BrokenResourceError`).
        """
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            core = self._core
            if self._closed or self._sent_eof or core.reset_code is not None:
                self._check_sendable()
            size = len(data) if isinstance(data, bytes) else memoryview(data).nbytes
            self._share -= size
            if size <= JOIN and not eof and self._connection.joins() and core.window >= size:
                await self._join(bytes(data))
            else:
                await self._send(memoryview(data).cast("B"), eof)
        finally:
            self._sending = False

    async def _join(self, data: bytes) -> None:
        """Have `data` leave together with what others send, or what follows."""
        core = self._core
        core.write(data)
        if core.pending >= FULL:
            self._connection.flush()
        if len(data) < BULK or self._share <= 0:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._share = FAIR_SHARE

    async def _send(self, view: memoryview, eof: bool) -> None:
        """Send `view` at once, and wait until all of it is sealed."""
        core = self._core
        untouched = -1 if eof else len(view)  # -1: cancelled, the stream would lack something
        if core.pending:
            if len(view) > JOIN:
                self._connection.flush()
                while core.pending:
                    await self._sleep_writing()
            else:
                untouched = -1
        core.write(view)
        if eof:
            self._sent_eof = True
            core.close_write()
        try:
            if len(view) >= BULK and self._share > 0:
                if len(view) <= JOIN:
                    self._connection.begin_streak()
                self._connection.flush()
            else:
                await self._connection.flush_in_turn()
                self._share = FAIR_SHARE
            while core.pending:
                await self._sleep_writing()
        except BaseException:
            if core.cancel_write() != untouched:
                self.reset()  # a part of it left: the peer must not take it for the whole
            raise
        if self._closed:
            self._check_sendable()
        elif core.reset_code is not None:
            self._check_alive()

    def send_soon(self, data: bytes) -> bool:
        """Have a few bytes leave with the next ones that are sent, three ticks later at the latest.

        No checkpoint, and no error if the stream has ended. False: there is no room for them now.
        """
        if self._sending or self._core.pending:
            return False
        self._core.write(data)
        self._connection.flush_soon()
        return True

    async def wait_send_all_might_not_block(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while not self._core.may_send:
                await self._sleep_writing()
                self._check_sendable()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if self._sent_eof:
            return
        self._check_sendable()
        self._sent_eof = True
        self._core.close_write()
        self._connection.flush()

    def _check_sendable(self) -> None:
        if self._closed or self._sent_eof:
            raise trio.ClosedResourceError("the stream's sending side was closed")
        self._check_alive()

    # --- receiving ------------------------------------------------------------------------------

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
        data = self._core.take(max_bytes)
        self._connection.after_take()
        return data

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """As `receive_some` without waiting, and no checkpoint; None if nothing is there now."""
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        if not self._is_readable:
            return None
        self._check_readable()
        data = self._core.take(max_bytes)
        self._connection.after_take()
        return data

    async def receive_views(self) -> list[memoryview]:
        """As `receive_some`, but all bytes that are there, uncopied; empty at end of file."""
        await self._wait_received()
        views = self._core.take_views()
        self._connection.after_take()
        return views

    async def _wait_received(self) -> None:
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this stream")
        self._receiving = True
        try:
            if self._is_readable:
                await trio.lowlevel.checkpoint()
            else:
                self._connection.flush_soon()  # what the peer may have to see before it answers
            while not self._is_readable:
                await self._sleep_reading()
            self._check_readable()
        finally:
            self._receiving = False

    @property
    def _is_readable(self) -> bool:
        """A receive need not wait."""
        core = self._core
        return bool(
            core.received or core.remote_closed or core.reset_code is not None or self._closed
        )

    def _check_readable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if not (self._core.received or self._core.remote_closed):
            self._check_alive()

    # --- ending ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send FIN and stop reading; never waits for the peer."""
        if not self._closed:
            self._closed = True
            if self._sending and self._core.cancel_write():
                self._core.reset()
            elif self._core.reset_code is None:
                if not self._sent_eof:
                    self._core.close_write()
                self._core.close_read()
            self.wake()
        try:
            await trio.lowlevel.checkpoint()  # what is sent meanwhile takes the end along
        finally:
            self._connection.flush_soon()

    def reset(self, code: int = 0) -> None:
        """End both directions at once, telling the peer `code`."""
        if self._core.pending and not self._sending:
            self._connection.flush()  # what `send_all` has taken is as good as sent
        self._core.reset(code)
        self._connection.flush()

    def _check_alive(self) -> None:
        core = self._core
        if core.reset_code is None:
            return
        if self._connection.closed:
            raise self._connection.closed_error()
        raise StreamReset(
            "the peer reset the stream" if core.reset_by_remote else "the stream was reset",
            code=core.reset_code,
            remote=core.reset_by_remote,
            peer=self._connection.peer_id,
        )
