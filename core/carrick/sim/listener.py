"""Listening TCP sockets of simulated hosts."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from carrick.sim.packet import Endpoint
from carrick.sim.tcp import TcpConnection
from carrick.sim.waiting import Waiter

if TYPE_CHECKING:
    from carrick.sim.stack import Stack

__all__ = ["TcpListener"]


class TcpListener:
    """A listening TCP socket; the calls of `ByteListener`."""

    def __init__(self, stack: Stack, local: Endpoint, backlog: int) -> None:
        self.local = local
        self._stack = stack
        self._backlog = max(1, backlog)
        self._pending: dict[TcpConnection, None] = {}  # in the handshake; ordered
        self._waiting: deque[TcpConnection] = deque()
        self._acceptor = Waiter()
        self._closed = False

    async def accept(self) -> TcpConnection:
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError("the listener was closed")
            if self._waiting:
                return self._waiting.popleft()
            await self._acceptor.wait()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stack.forget_listener(self)
        for connection in [*self._pending, *self._waiting]:
            connection.abort()
        self._pending.clear()
        self._waiting.clear()
        self._acceptor.wake()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """A SYN that comes now is dropped, and its sender tries again."""
        return len(self._pending) + len(self._waiting) >= self._backlog

    def begin(self, connection: TcpConnection) -> None:
        self._pending[connection] = None

    def established(self, connection: TcpConnection) -> None:
        if connection in self._pending:
            del self._pending[connection]
            self._waiting.append(connection)
            self._acceptor.wake()

    def failed(self, connection: TcpConnection) -> None:
        self._pending.pop(connection, None)

    def vanish(self) -> None:
        """The host is gone; nobody is told."""
        self._closed = True
        self._pending.clear()
        self._waiting.clear()
        self._acceptor.wake()
