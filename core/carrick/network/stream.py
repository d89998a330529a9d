"""A stream that has a protocol: a trio stream, with helpers that read and write messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from carrick.errors import (
    MessageTooLarge,
    NegotiationError,
    ProtocolError,
    ProtocolNotSupported,
    StreamReset,
)
from carrick.interfaces import Buffer, Direction, MuxedStream
from carrick.network.codes import StreamCode
from carrick.network.opening import LazyOpening
from carrick.network.writer import BufferedWriter
from carrick.wire import decode_varint, encode_frame, parse_message

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from carrick.identity import PeerId
    from carrick.network.connection import Connection

    M = TypeVar("M", bound=Message)

__all__ = ["Stream"]

_FEW = 4096  # bytes that are handed out without letting others run first
_CLOSE_FLUSH = 10.0  # s that aclose waits for a buffered writer's bytes: a write stall


class Stream(trio.abc.HalfCloseableStream):
    """A stream of a `Connection`, on which both sides have agreed what to speak.

    Errors of every method that sends or receives:

    - `StreamReset`, `ConnectionClosed`: both are `trio.BrokenResourceError`.
    - `ProtocolNotSupported`, `NegotiationError`: the peer refused a protocol that was proposed
      lazily; only from the first receive on.
    - `trio.ClosedResourceError`, `trio.BusyResourceError`: as with every trio stream.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_ended",
        "_opening",
        "_raw",
        "_writer",
        "connection",
        "protocol",
    )

    def __init__(
        self,
        raw: MuxedStream,
        connection: Connection,
        protocol: str,
        *,
        received: bytes = b"",
        opening: LazyOpening | None = None,
        ended: Callable[[Stream, bool], None],
    ) -> None:
        """
        Args:
            received: bytes that came behind the negotiation.
            opening: the end of the negotiation, if that is still to come.
            ended: told once, with whether the stream was reset.
        """
        self.connection = connection
        self.protocol = protocol
        self._raw = raw
        self._buffer = bytearray(received)
        self._opening = opening
        self._writer: BufferedWriter | None = None
        self._closed = False
        self._ended: Callable[[Stream, bool], None] | None = ended

    @property
    def peer_id(self) -> PeerId:
        return self.connection.peer_id

    @property
    def id(self) -> int:
        """The muxer's number of the stream."""
        return self._raw.id

    @property
    def direction(self) -> Direction:
        return self._raw.direction

    @property
    def buffered(self) -> int:
        """Bytes that came behind the last frame that was read, as far as they were fetched."""
        return len(self._buffer)

    @property
    def closed(self) -> bool:
        """`aclose` or `reset` was called."""
        return self._closed

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Stream {self.id} {state} {self.protocol} {self.direction.value} {self.peer_id}>"

    # --- sending ----------------------------------------------------------------------------------

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`. A call that is cancelled midway resets the stream."""
        if self._writer is not None and self._writer.buffered:
            await self._writer.flush()
        await self.send_unbuffered(data)

    async def send_unbuffered(self, data: Buffer) -> None:
        """As `send_all`, past what `writer()` holds: for the writer itself."""
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        try:
            if self._opening is None:
                await self._raw.send_all(data)
            else:
                await self._opening.send(data)
        except StreamReset as error:
            error.protocol = self.protocol
            raise

    async def send_last(self, data: Buffer) -> None:
        """`send_all` and `send_eof` in one."""
        if self._opening is not None or self._writer is not None or self._closed:
            await self.send_all(data)
            await self.send_eof()
        else:
            await self._raw.send_all(data, eof=True)

    async def wait_send_all_might_not_block(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        await self._raw.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send no more; the peer reads to the end, and may go on sending."""
        if self._writer is not None and self._writer.buffered:
            await self._writer.flush()
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if self._opening is not None:
            await self._opening.flush()
        await self._raw.send_eof()

    def writer(self) -> BufferedWriter:
        """The stream's buffered writer, for many small writes."""
        if self._writer is None:
            self._writer = BufferedWriter(self)
        return self._writer

    async def write_frame(self, payload: Buffer) -> None:
        """Send `payload` behind its length as a varint."""
        await self.send_all(encode_frame(payload))

    async def write_message(self, message: Message) -> None:
        """Send a protobuf message behind its length as a varint."""
        await self.send_all(encode_frame(message.SerializeToString()))

    # --- receiving --------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return them; `b""` once the peer has sent its end of file."""
        if self._buffer or self._opening or self._writer or self._closed:
            _check_size(max_bytes)
            await self._before_receive()
            if not self._buffer:
                await self._end_negotiation()
            if self._buffer:
                if len(self._buffer) > _FEW:
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.lowlevel.checkpoint_if_cancelled()
                return self._take(len(self._buffer) if max_bytes is None else max_bytes)
        try:
            return await self._raw.receive_some(max_bytes)
        except StreamReset as error:
            error.protocol = self.protocol
            raise

    async def receive_views(self) -> list[memoryview]:
        """All bytes that are there, without a copy; empty at end of file. For bulk readers."""
        await self._before_receive()
        if not self._buffer:
            await self._end_negotiation()
        if self._buffer:
            await trio.lowlevel.checkpoint()
            return [memoryview(self._take(len(self._buffer)))]
        return await self._raw.receive_views()

    async def read_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes. If it is cancelled, nothing is lost.

        Raises:
            ProtocolError: the stream ended before.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._buffer) < size:
            if not await self._fill():
                raise self._ended_early(f"{size - len(self._buffer)} bytes too early")
        return self._take(size)

    async def read_frame(self, limit: int) -> bytes:
        """The payload of the next length-prefixed frame. If it is cancelled, nothing is lost.

        Args:
            limit: the longest payload to take, in bytes; checked before it is read.

        Raises:
            MessageTooLarge: the frame announces more.
            ProtocolError: its prefix is malformed, or the stream ended before its end.
        """
        frame = await self.next_frame(limit)
        if frame is None:
            raise self._ended_early("where a message was expected")
        return frame

    async def frames(self, limit: int) -> AsyncIterator[bytes]:
        """Frames until the peer's end of file; errors as in `read_frame`."""
        while (frame := await self.next_frame(limit)) is not None:
            yield frame

    async def read_message(self, type: type[M], limit: int) -> M:
        """The next length-prefixed protobuf message.

        Raises:
            ProtocolError: as `read_frame`, or what came is no such message.
        """
        return parse_message(type, await self.read_frame(limit))

    async def messages(self, type: type[M], limit: int) -> AsyncIterator[M]:
        """Messages until the peer's end of file; errors as in `read_message`."""
        while (frame := await self.next_frame(limit)) is not None:
            yield parse_message(type, frame)

    async def next_frame(self, limit: int) -> bytes | None:
        """As `read_frame`, but None at the peer's end of file."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while (prefix := decode_varint(self._buffer)) is None:
            if not await self._fill():
                if self._buffer:
                    raise self._ended_early("within a message's length")
                return None
        length, start = prefix
        if length > limit:
            raise MessageTooLarge(
                f"a message of {length} bytes announced; the limit is {limit}",
                peer=self.peer_id,
                protocol=self.protocol,
            )
        while len(self._buffer) < start + length:
            if not await self._fill():
                raise self._ended_early("within a message")
        del self._buffer[:start]
        return self._take(length)

    async def _fill(self) -> bool:
        """Receive into the buffer; False at end of file."""
        had = len(self._buffer)
        if self._opening or self._writer or self._closed:
            await self._before_receive()
            await self._end_negotiation()
        if len(self._buffer) == had:  # else bytes came right behind the negotiation
            self._buffer += await self._raw.receive_some()
        return len(self._buffer) > had

    async def _before_receive(self) -> None:
        """Let the peer have what it answers to."""
        if self._closed:
            raise trio.ClosedResourceError("the stream was closed")
        if self._writer is not None and self._writer.buffered:
            await self._writer.flush()

    async def _end_negotiation(self) -> None:
        """See that the peer speaks our protocol."""
        if self._opening is not None:
            try:
                self._buffer += await self._opening.confirm()
            except (NegotiationError, ProtocolNotSupported) as error:
                error.peer, error.protocol = self.peer_id, self.protocol
                self.reset(StreamCode.PROTOCOL_NEGOTIATION_FAILED)
                raise
            self._opening = None

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[:size]
        return taken

    def _ended_early(self, where: str) -> ProtocolError:
        return ProtocolError(
            f"the peer ended the stream {where}", peer=self.peer_id, protocol=self.protocol
        )

    # --- ending -----------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send the end of file and stop reading; never waits for the peer.

        Only what a `writer()` still holds is sent first, for at most 10 s. What the peer sends
        afterwards is answered by a reset.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        try:
            if self._writer is not None and self._writer.buffered:
                await self._flush_at_close()
            self._closed = True
            if self._opening is None:
                self._finish(was_reset=False)  # its place is free for the peer's next stream
                await self._raw.aclose()
            else:
                await self._opening.close(self.connection.spawn)
        except BaseException:
            self._raw.reset()
            raise
        finally:
            self._finish(was_reset=False)

    def reset(self, code: int = 0) -> None:
        """End both directions at once, telling the peer `code` where the muxer can."""
        if not self._closed:
            self._raw.reset(code)
            self._finish(was_reset=True)

    async def _flush_at_close(self) -> None:
        assert self._writer is not None
        with trio.move_on_after(_CLOSE_FLUSH) as scope:
            try:
                await self._writer.flush()
            except trio.BrokenResourceError:
                return  # the peer wants no more
        if scope.cancelled_caught:
            self._raw.reset()

    def _finish(self, *, was_reset: bool) -> None:
        self._closed = True
        self._buffer.clear()
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self, was_reset)


def _check_size(max_bytes: int | None) -> None:
    if max_bytes is None:
        return
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int, not {type(max_bytes).__name__}")
    if max_bytes < 1:
        raise ValueError("max_bytes must be at least 1")
