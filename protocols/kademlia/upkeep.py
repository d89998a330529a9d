"""Keeps the routing table of one DHT full of peers that live."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import trio

from carrick.errors import PEER_FAILURES
from carrick.identity import PeerId
from carrick.protocols.kademlia.dht import Dht
from carrick.protocols.kademlia.keyspace import MAX_AIMED, key_sharing, peer_key
from carrick.protocols.kademlia.messages import Message, MessageType
from carrick.protocols.kademlia.settings import REFRESH

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Upkeep"]

_log = logging.getLogger("carrick.kademlia")

QUERY_TIMEOUT = 60.0  # s for each of them
RETRY = (5.0, 300.0)  # s to the next attempt to reach bootstrap peers, at first and at most
_SOON = 1.0  # s; a refresh waits for more peers to come
_CHECKS = 8  # peers looked at at once
_MAX_WAITING = 256  # peers to be looked at
_FEW = 4  # contacts, below which bootstrap peers are asked again


class Upkeep:
    """The background work of one DHT.

    Args:
        reconnect: connects to the bootstrap peers; returns how many answered.
        rng: the host's randomness.
    """

    def __init__(
        self,
        dht: Dht,
        rng: random.Random,
        reconnect: Callable[[], Awaitable[int]],
        *,
        interval: float = REFRESH,
    ) -> None:
        self._dht = dht
        self._rng = rng
        self._reconnect = reconnect
        self._interval = interval
        self._send, self._newcomers = trio.open_memory_channel[PeerId](_MAX_WAITING)
        self._waiting: set[PeerId] = set()
        self._wake = trio.Event()
        self.bootstrapped = trio.Event()
        """Set once a first lookup for ourselves has found somebody."""

    def offer(self, peer: PeerId) -> None:
        """`peer` says that it is a server: see whether it answers, if there is a place for it. No
        more than that counts."""
        if peer in self._waiting or not self._dht.table.wants(peer):
            return
        try:
            self._send.send_nowait(peer)
        except trio.WouldBlock:
            return  # there are many; others will name it
        self._waiting.add(peer)

    def refresh_soon(self) -> None:
        """Something has changed: look at the table again, soon."""
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(_CHECKS):
                nursery.start_soon(self._check_newcomers)
            nursery.start_soon(self._refresh_for_ever)
            nursery.start_soon(self._bootstrap_for_ever)
            task_status.started()

    # --- newcomers --------------------------------------------------------------------------------

    async def _check_newcomers(self) -> None:
        async for peer in self._newcomers:
            if self._dht.table.wants(peer):  # we may have met it, or others, meanwhile
                await self.check(peer)
            self._waiting.discard(peer)

    async def check(self, peer: PeerId) -> bool:
        """Ask `peer` for our own neighbours: it enters the table if it answers."""
        dht = self._dht
        try:
            await dht.ask(dht.describe(peer), Message(MessageType.FIND_NODE, dht.own.to_bytes()))
        except PEER_FAILURES as error:
            _log.debug("%s does not answer: %s", peer, error)
            return False
        if not self.bootstrapped.is_set():
            self.refresh_soon()
        return True

    # --- refreshing -------------------------------------------------------------------------------

    async def _refresh_for_ever(self) -> None:
        # Not all nodes that were started together at the same moment.
        pause = self._rng.uniform(0.5, 1.0) * self._interval
        while True:
            with trio.move_on_after(pause):
                await self._wake.wait()
                await trio.sleep(_SOON)
            self._wake = trio.Event()
            if len(self._dht.table):
                await self.refresh()
            pause = self._interval * self._rng.uniform(0.9, 1.1)

    async def refresh(self) -> None:
        """Look at contacts that were silent for long, for ourselves, and into every bucket that
        was not looked into lately."""
        dht = self._dht
        await self._revisit(dht.table.silent(trio.current_time(), self._interval * _patience(dht)))
        horizon = 0
        with trio.move_on_after(QUERY_TIMEOUT):
            found = await self._dht.look_up(self._dht.own.to_bytes())
            if found.closest:
                self.bootstrapped.set()
            if len(found.closest) == self._dht.k:
                # Whoever is nearer to us than the last of them is known now.
                horizon = self._dht.table.prefix_length(found.closest[-1].id) + 1
        for index in self._dht.table.stale(trio.current_time(), self._interval / 2):
            if index >= min(horizon, MAX_AIMED + 1):
                break
            key = key_sharing(peer_key(self._dht.own), index, self._rng.randbytes)
            with trio.move_on_after(QUERY_TIMEOUT):
                await self._dht.look_up(key)

    async def _revisit(self, peers: Sequence[PeerId]) -> None:
        limiter = trio.CapacityLimiter(_CHECKS)

        async def visit(peer: PeerId) -> None:
            async with limiter:
                await self.check(peer)

        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(visit, peer)

    # --- bootstrapping ----------------------------------------------------------------------------

    async def _bootstrap_for_ever(self) -> None:
        """Ask the bootstrap peers at the start, and whenever hardly anybody is left."""
        pause = RETRY[0]
        while True:
            if len(self._dht.table) < _FEW:
                await self._reconnect()
            if len(self._dht.table) >= _FEW:
                pause = self._interval
            await trio.sleep(pause * self._rng.uniform(0.8, 1.2))
            pause = min(2 * pause, RETRY[1])


def _patience(dht: Dht) -> float:
    """After how many refreshes a contact that has been silent should have been asked by one of
    them: each asks `alpha` of its bucket's k (go-libp2p-kad-dht, dht.go, makeRoutingTable)."""
    if dht.alpha >= dht.k or dht.k < 2:
        return 1.0
    return math.log(1 / dht.k) / math.log(1 - dht.alpha / dht.k)
