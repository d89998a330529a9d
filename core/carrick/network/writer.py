"""A buffered writer: many small writes become one send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import trio

from carrick.interfaces import Buffer

if TYPE_CHECKING:
    from carrick.network.stream import Stream

__all__ = ["BufferedWriter"]

_FLUSH_AT = 64 * 1024  # bytes; larger sends are no faster


class BufferedWriter:
    """Collects writes to a stream.

    They leave when 64 KiB are there, before the stream's next receive or `send_all`, at its end,
    and on `flush`. As a context manager it flushes when the block ends normally.
    """

    __slots__ = ("_buffer", "_flushing", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._flushing: trio.Event | None = None

    @property
    def buffered(self) -> int:
        """Bytes that wait here."""
        return len(self._buffer)

    async def write(self, data: Buffer) -> None:
        """Take `data`; waits only when 64 KiB have to be sent."""
        self._buffer += data
        if len(self._buffer) >= _FLUSH_AT:
            await self.flush()

    async def flush(self) -> None:
        """Send what is here. If it is cancelled before anything left, nothing is lost."""
        while self._flushing is not None:
            await self._flushing.wait()
        if not self._buffer:
            return
        data, self._buffer = self._buffer, bytearray()
        self._flushing = trio.Event()
        try:
            await self._stream.send_unbuffered(data)
        except BaseException:
            self._buffer[:0] = data
            raise
        finally:
            self._flushing.set()
            self._flushing = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.flush()
