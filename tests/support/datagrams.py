"""An internet in memory for datagrams, so that time can be virtual."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable

import trio

from carrick.interfaces import Buffer, Endpoint

__all__ = ["Datagrams", "MemoryDatagramSocket"]


class Datagrams:
    """Opens sockets that reach each other; `lose(source, target, data)` says what gets lost."""

    def __init__(self) -> None:
        self.sockets: dict[Endpoint, MemoryDatagramSocket] = {}
        self.lose: Callable[[Endpoint, Endpoint, bytes], bool] = lambda source, target, data: False
        self.sent: list[tuple[float, Endpoint, Endpoint, bytes]] = []
        self.opened = 0

    async def open_udp(self, local: Endpoint, *, share_port: bool = False) -> MemoryDatagramSocket:
        await trio.lowlevel.checkpoint()
        host, port = local
        if not port:
            port = next(each for each in range(40_000, 60_000) if (host, each) not in self.sockets)
        if (host, port) in self.sockets:
            raise OSError(errno.EADDRINUSE, "address in use")
        self.opened += 1
        socket = self.sockets[host, port] = MemoryDatagramSocket(self, (host, port))
        return socket


class MemoryDatagramSocket:
    """See `carrick.interfaces.DatagramSocket`."""

    max_train = 64

    def __init__(self, network: Datagrams, local: Endpoint) -> None:
        self._network = network
        self.local = local
        self.queue: deque[tuple[bytes, int, Endpoint]] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._closed = False

    def recv_into(self, buffer: memoryview) -> tuple[int, int, Endpoint] | None:
        if not self.queue:
            return None
        data, segment, source = self.queue.popleft()
        buffer[: len(data)] = data
        return len(data), segment, source

    def send(self, data: Buffer, segment: int, remote: Endpoint) -> bool:
        network, data = self._network, bytes(data)
        for at in range(0, len(data), segment):
            piece = data[at : at + segment]
            network.sent.append((trio.current_time(), self.local, remote, piece))
            target = network.sockets.get(remote)
            if target is not None and not network.lose(self.local, remote, piece):
                target.queue.append((piece, len(piece), self.local))
                target._lot.unpark_all()
        return True

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.queue:
            if self._closed:
                raise trio.ClosedResourceError("the socket was closed")
            await self._lot.park()

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self._closed = True
        if self._network.sockets.get(self.local) is self:
            del self._network.sockets[self.local]
        self._lot.unpark_all()
