"""Closes connections when there are too many, or when memory runs out."""

from __future__ import annotations

import trio

from carrick.interfaces import Direction
from carrick.network.codes import ConnectionCode
from carrick.network.connection import Connection
from carrick.network.connections import Connections
from carrick.network.manager import ConnectionManager

__all__ = ["Housekeeper"]

_IDLE = 1.0  # s that a new connection has for its first stream


class Housekeeper:
    """Sleeps until there is something to do."""

    def __init__(self, connections: Connections, manager: ConnectionManager) -> None:
        self._connections = connections
        self._manager = manager
        self._wanted = trio.Event()
        self._memory_is_short = False

    def look(self) -> None:
        """There may be too many connections."""
        self._wanted.set()

    def memory_exhausted(self) -> None:
        """Memory was refused, because the whole budget is used."""
        self._memory_is_short = True
        self._wanted.set()

    def idle(self) -> list[Connection]:
        """Inbound connections without streams, which give way to new ones when all places are
        used; those of the least value first."""
        now = trio.current_time()
        return self._manager.least_valuable(
            (
                connection
                for connection in self._connections.of(None)
                if connection.direction is Direction.INBOUND
                and not connection.stream_count
                and connection.opened_at + _IDLE <= now
                and not self._manager.is_protected(connection.peer_id)
            ),
            now,
        )

    async def make_room(self) -> bool:
        """Close an idle inbound connection; False if there is none.

        So strangers that hold connections and do nothing cannot shut others out.
        """
        idle = self.idle()
        if idle:
            await idle[0].aclose(ConnectionCode.GARBAGE_COLLECTED, reason="gave way to a new one")
            await idle[0].ended.wait()
        return bool(idle)

    async def run(self) -> None:
        while True:
            due = self._manager.next_trim(self._connections.of(None), trio.current_time())
            with trio.CancelScope() as waiting:
                if due is not None:
                    waiting.deadline = due
                await self._wanted.wait()
            self._wanted = trio.Event()
            await self._trim()
            if self._memory_is_short:
                await self._close_greediest()
                self._memory_is_short = False

    async def _trim(self) -> None:
        surplus = self._manager.trim(self._connections.of(None), trio.current_time())
        async with trio.open_nursery() as nursery:
            for connection in surplus:
                nursery.start_soon(connection.aclose, ConnectionCode.GARBAGE_COLLECTED)

    async def _close_greediest(self) -> None:
        """Close the connection that holds the most, and wait until its memory is back: what is
        refused meanwhile must not cost another one its place."""
        candidates = [
            connection
            for connection in self._connections.of(None)
            if connection.memory and not self._manager.is_protected(connection.peer_id)
        ]
        greediest = max(candidates, key=lambda each: each.memory, default=None)
        if greediest is not None:
            greediest.abort(
                ConnectionCode.RESOURCE_LIMIT_EXCEEDED, reason="the memory budget is used up"
            )
            await greediest.ended.wait()
