"""Crawls the network now and then, and keeps the table of its servers."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from carrick.host import Host
from carrick.identity import PeerId
from carrick.network.events import Event
from carrick.protocols.kademlia.crawler import (
    AddressKind,
    Crawl,
    CrawlOptions,
    Visit,
    VisitSettings,
    crawl,
)
from carrick.protocols.kademlia.full_table.dht import FullTableDht
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.scope import Scope, networks
from carrick.protocols.kademlia.upkeep import Upkeep

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["INTERVAL", "FullTable", "TableCrawled"]

_log = logging.getLogger("carrick.kademlia")

INTERVAL = 3600.0  # s from one crawl to the next (go-libp2p-kad-dht, fullrt/dht.go)
RETRY = 60.0  # s to the next one after nobody was found
WORKERS = 200  # at most (go, the same)
DIAL_TIMEOUT = 5.0  # s for a peer (go, crawler/options.go)
_DIALS = {
    Scope.WAN: AddressKind.PUBLIC,
    Scope.LAN: AddressKind.PRIVATE,
    Scope.ANY: AddressKind.ANY,
}


@dataclass(frozen=True, slots=True)
class TableCrawled(Event):
    """A crawl has ended, and the table of all servers is new.

    Attributes:
        protocol: the protocol id of the DHT.
        servers: how many serve it; nobody: the table stays as it was.
        visited: how many were visited, those who did not answer included.
        seconds: how long it took.
        at: when it ended, by `trio.current_time()`.
    """

    protocol: str
    servers: int
    visited: int
    seconds: float
    at: float


class FullTable:
    """The background work of a `FullTableDht`.

    Args:
        interval: seconds from one crawl to the next.

    Attributes:
        last: the last crawl that has ended.
        crawled: set when the first one has found somebody.
    """

    def __init__(
        self,
        host: Host,
        dht: FullTableDht,
        upkeep: Upkeep,
        *,
        protocol: str,
        scope: Scope,
        interval: float = INTERVAL,
    ) -> None:
        self.dht = dht
        self.last: TableCrawled | None = None
        self.crawled = trio.Event()
        self._host = host
        self._upkeep = upkeep
        self._protocol = protocol
        self._interval = interval
        visits = VisitSettings(protocol=protocol, dial=_DIALS[scope], dial_timeout=DIAL_TIMEOUT)
        limits = host.swarm.limits  # others of our dials, and connections, need some of them too
        workers = max(1, min(WORKERS, limits.dials // 3, limits.connections // 8))
        self._options = CrawlOptions(workers=workers, visits=visits)
        self._running: Crawl | None = None

    @property
    def crawling(self) -> bool:
        return self._running is not None

    def is_visiting(self, peer: PeerId) -> bool:
        """A crawl that runs now looks at `peer`: nobody else has to."""
        return self._running is not None and peer in self._running.frontier

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        task_status.started()
        await self._upkeep.bootstrapped.wait()
        while True:
            found = await self.crawl()
            pause = self._interval if found.servers else min(RETRY, self._interval)
            await trio.sleep(pause * self._host.rng.uniform(0.9, 1.1))

    async def crawl(self) -> TableCrawled:
        """Visit everybody now."""
        started, dht = trio.current_time(), self.dht
        seeds = [*dht.servers, *(dht.describe(contact.peer) for contact in dht.table)]
        servers: list[tuple[PeerInfo, frozenset[Hashable]]] = []
        try:
            async with crawl(self._host, seeds, self._options) as self._running:
                async for visit in self._running:
                    if visit.connect_address is not None and visit.crawl_error is None:
                        servers.append(_server(visit))
                visited = self._running.tally.crawled
        finally:
            self._running = None
        if servers:
            dht.servers.replace(servers)
            self.crawled.set()
        now = trio.current_time()
        self.last = TableCrawled(self._protocol, len(servers), visited, now - started, now)
        self._host.events.publish(self.last)
        _log.info("%d servers of %s, %d visited", len(servers), self._protocol, visited)
        return self.last


def _server(visit: Visit) -> tuple[PeerInfo, frozenset[Hashable]]:
    assert visit.connect_address is not None
    # Where it answered comes first; the networks of other addresses are only what it claims.
    addresses = dict.fromkeys((visit.connect_address, *visit.addresses))
    return PeerInfo.of(visit.peer, addresses), networks([visit.connect_address])
