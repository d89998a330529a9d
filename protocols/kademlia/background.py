"""Work that goes on after the call that began it has returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from carrick.errors import PEER_FAILURES
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.optimistic import POOL

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Background", "Telling"]


class Background:
    """A few tasks that nobody waits for; they end with `run`."""

    def __init__(self, limit: int = POOL) -> None:
        self._limit = limit
        self._running = 0
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    def start(self, work: Callable[[PeerInfo], Awaitable[None]], peer: PeerInfo) -> bool:
        """Returns whether there was room for it."""
        if self._nursery is None or self._running >= self._limit:
            return False

        async def task() -> None:
            try:
                await work(peer)
            finally:
                self._running -= 1

        self._running += 1
        self._nursery.start_soon(task)
        return True


class Telling:
    """Peers that are told something, and how many have been.

    Attributes:
        told: how many took it.
        ended: how many did, or failed.
    """

    def __init__(self, send: Callable[[PeerInfo], Awaitable[object]]) -> None:
        self._send = send
        self._changed = trio.Event()
        self.told = 0
        self.ended = 0

    async def tell(self, peer: PeerInfo) -> None:
        try:
            await self._send(peer)
        except PEER_FAILURES:
            pass
        else:
            self.told += 1
        self.ended += 1
        self._changed.set()

    async def wait(self, count: int) -> None:
        """Until so many have ended."""
        while self.ended < count:
            self._changed = trio.Event()
            await self._changed.wait()
