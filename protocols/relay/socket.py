"""A stream over a relay as a byte socket, for the upgrade and the data path."""

from __future__ import annotations

import errno

import trio

from carrick.errors import PEER_FAILURES
from carrick.interfaces import Endpoint
from carrick.network import Stream

__all__ = ["CAPACITY", "StreamSocket"]

CAPACITY = 128 * 1024  # bytes that wait to be sent, at most; as many again may be on their way
_DRAIN = 10.0  # s that what was sent before `close` has to leave: a write stall
_NOWHERE: Endpoint = ("p2p-circuit", 0)


class StreamSocket:
    """A `carrick.interfaces.ByteSocket` over a stream.

    Received bytes stay in the stream's muxer until they are wanted, so its window holds the peer
    back. Bytes to send wait in a bounded buffer, which `pump` empties; it must run.
    """

    def __init__(self, stream: Stream) -> None:
        self.local = self.remote = _NOWHERE
        self.ended = trio.Event()
        """Set when `pump` has returned: nothing happens on the stream any more."""
        self._stream = stream
        self._received: list[memoryview] = []  # the next bytes last
        self._at_end = False
        self._output = bytearray()
        self._failure: BaseException | None = None
        self._closed = False
        self._work = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._pumping = trio.CancelScope()
        self._waiting = trio.CancelScope()  # that of `wait_readable`

    # --- receiving --------------------------------------------------------------------------------

    def recv_into(self, buffer: memoryview) -> int | None:
        if self._closed:
            raise OSError(errno.EBADF, "the socket was closed")
        if not self._received:
            if self._failure is not None:
                raise ConnectionResetError(errno.ECONNRESET, f"the circuit: {self._failure}")
            return 0 if self._at_end else None
        filled = 0
        while self._received and filled < len(buffer):
            view = self._received.pop()
            size = min(len(view), len(buffer) - filled)
            buffer[filled : filled + size] = view[:size]
            filled += size
            if size < len(view):
                self._received.append(view[size:])
        return filled

    async def wait_readable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the socket was closed")
        if self._received or self._at_end or self._failure is not None:
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope() as self._waiting:
            try:
                views = await self._stream.receive_views()
            except PEER_FAILURES as error:
                self._failure = error
            else:
                self._received = views[::-1]
                self._at_end = not views
        if self._closed:
            raise trio.ClosedResourceError("the socket was closed")

    # --- sending ----------------------------------------------------------------------------------

    def send(self, data: memoryview) -> int | None:
        if self._closed:
            raise OSError(errno.EBADF, "the socket was closed")
        if self._failure is not None:
            raise BrokenPipeError(errno.EPIPE, f"the circuit: {self._failure}")
        size = min(len(data), CAPACITY - len(self._output))
        if size == 0:
            return None if data else 0
        self._output += data[:size]
        self._work.unpark()
        return size

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not (self._closed or self._failure) and len(self._output) >= CAPACITY:
            await self._room.park()
        if self._closed:
            raise trio.ClosedResourceError("the socket was closed")

    async def pump(self) -> None:
        """Send what is written, until the socket is closed or the stream fails."""
        try:
            with self._pumping:
                while self._output or not self._closed:
                    if not self._output:
                        await self._work.park()
                        continue
                    data, self._output = self._output, bytearray()
                    self._room.unpark_all()
                    await self._stream.send_all(data)
                await self._stream.aclose()
        except PEER_FAILURES as error:
            self._failure = self._failure or error
        finally:
            self._failure = self._failure or trio.ClosedResourceError("the circuit has ended")
            self._stream.reset()  # does nothing after aclose
            self._output.clear()
            self._room.unpark_all()
            self.ended.set()

    # --- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._received.clear()
            self._waiting.cancel()
            self._pumping.deadline = trio.current_time() + _DRAIN
            self._work.unpark_all()
            self._room.unpark_all()

    def abort(self) -> None:
        self.close()
        self._stream.reset()
        self._pumping.cancel()
