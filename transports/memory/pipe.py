"""A pair of connected in-memory byte sockets."""

from __future__ import annotations

import errno
from collections.abc import Callable

import trio

from carrick.interfaces import Endpoint

__all__ = ["MemorySocket", "memory_pair"]

CAPACITY = 256 * 1024  # bytes that wait in one direction, at most


class _Channel:
    """One direction: a bounded byte queue."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False  # no more bytes will be written
        self.broken = False  # nobody reads any more, or the connection was aborted
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    def end(self, *, broken: bool) -> None:
        if broken:
            self.broken = True
            self.data.clear()
        self.closed = True
        self.readers.unpark_all()
        self.writers.unpark_all()


class MemorySocket:
    """One end; see `carrick.interfaces.ByteSocket`. Ends as a TCP socket would."""

    def __init__(
        self, incoming: _Channel, outgoing: _Channel, local: Endpoint, remote: Endpoint
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._open = True
        self.local = local
        self.remote = remote

    def recv_into(self, buffer: memoryview) -> int | None:
        incoming = self._incoming
        if not self._open:
            raise OSError(errno.EBADF, "the socket was closed")
        if incoming.broken:
            raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer")
        if not incoming.data:
            return 0 if incoming.closed else None
        size = min(len(buffer), len(incoming.data))
        buffer[:size] = incoming.data[:size]
        del incoming.data[:size]
        incoming.writers.unpark_all()
        return size

    def send(self, data: memoryview) -> int | None:
        outgoing = self._outgoing
        if not self._open:
            raise OSError(errno.EBADF, "the socket was closed")
        if outgoing.broken:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        size = min(len(data), CAPACITY - len(outgoing.data))
        if size == 0:
            return None if data else 0
        outgoing.data += data[:size]
        outgoing.readers.unpark_all()
        return size

    async def wait_readable(self) -> None:
        await self._wait(
            self._incoming.readers, lambda: bool(self._incoming.data) or self._incoming.closed
        )

    async def wait_writable(self) -> None:
        await self._wait(
            self._outgoing.writers,
            lambda: len(self._outgoing.data) < CAPACITY or self._outgoing.broken,
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            # What was not read when the socket closes resets the connection, as in TCP.
            self._incoming.end(broken=True)
            self._outgoing.end(broken=False)

    def abort(self) -> None:
        if self._open:
            self._open = False
            self._incoming.end(broken=True)
            self._outgoing.end(broken=True)

    async def _wait(self, lot: trio.lowlevel.ParkingLot, ready: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while self._open and not ready():
            await lot.park()
        if not self._open:
            raise trio.ClosedResourceError("the socket was closed")


def memory_pair(dialer: Endpoint, listener: Endpoint) -> tuple[MemorySocket, MemorySocket]:
    """Two connected sockets: the dialer's and the listener's."""
    there, back = _Channel(), _Channel()
    return (
        MemorySocket(back, there, dialer, listener),
        MemorySocket(there, back, listener, dialer),
    )
