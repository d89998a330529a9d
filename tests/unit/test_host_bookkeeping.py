"""When the peerstore is written: soon after a change, when something expires, else never."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from carrick.errors import PeerstoreError
from carrick.host.bookkeeping import FLUSH_INTERVAL, Bookkeeper
from carrick.identity import PrivateKey
from carrick.network import Swarm
from carrick.peerstore import MemoryPeerstore, Ttl
from tests.support.peerstores import address, peer


class Noting(MemoryPeerstore):
    """Knows when it was told to flush, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.flushes: list[float] = []
        self.broken = False

    def flush(self, limit: int | None = None) -> int:
        self.flushes.append(trio.current_time())
        if self.broken:
            raise PeerstoreError("the disk is full")
        return super().flush(limit)


@asynccontextmanager
async def kept() -> AsyncIterator[Noting]:
    store = Noting()
    keeper = Bookkeeper(Swarm(PrivateKey.generate().peer_id, []), store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(FLUSH_INTERVAL + 1)
        store.flushes.clear()
        yield store
        nursery.cancel_scope.cancel()
    assert not store._watchers


async def test_an_idle_node_sleeps(autojump_clock: MockClock) -> None:
    async with kept() as store:
        store.add_addresses(peer(1), [address(1)], Ttl.PERMANENT)
        await trio.sleep(FLUSH_INTERVAL + 1)
        store.flushes.clear()
        await trio.sleep(100_000)
        assert store.flushes == []


async def test_changes_are_gathered(autojump_clock: MockClock) -> None:
    async with kept() as store:
        began = trio.current_time()
        for number in range(5):
            store.add_addresses(peer(number), [address(number)], Ttl.PERMANENT)
            await trio.sleep(FLUSH_INTERVAL / 6)
        await trio.sleep(100)
        assert store.flushes == [began + FLUSH_INTERVAL]


async def test_it_wakes_when_something_expires(autojump_clock: MockClock) -> None:
    async with kept() as store:
        began = trio.current_time()
        store.add_addresses(peer(1), [address(1)], Ttl.TEMPORARY)
        store.add_addresses(peer(2), [address(2)], Ttl.ADDRESS)
        await trio.sleep(Ttl.TEMPORARY + FLUSH_INTERVAL + 1)
        assert store.flushes == [began + FLUSH_INTERVAL, began + Ttl.TEMPORARY + FLUSH_INTERVAL]
        assert set(store._entries) == {peer(2)}
        await trio.sleep(Ttl.ADDRESS)
        assert len(store.flushes) == 3 and not store._entries


async def test_a_failure_is_tried_again(autojump_clock: MockClock) -> None:
    async with kept() as store:
        store.broken = True
        store.add_addresses(peer(1), [address(1)], Ttl.PERMANENT)
        await trio.sleep(3 * FLUSH_INTERVAL + 1)
        assert len(store.flushes) == 3
        store.broken = False
        await trio.sleep(100)
        assert len(store.flushes) == 4
