"""Drives a crawl: visits everybody that anybody names, many at once."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from carrick.addressing import Multiaddr, parse_address, split_peer
from carrick.errors import InvalidAddress
from carrick.host import Host
from carrick.protocols.kademlia.crawler.frontier import Frontier
from carrick.protocols.kademlia.crawler.rows import Tally, Visit
from carrick.protocols.kademlia.crawler.visiting import Visitor, VisitSettings
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["Crawl", "CrawlOptions", "bootstrap_peer", "crawl", "crawl_limits"]

_ROWS = 64  # visits that wait to be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlOptions:
    """How a network is crawled.

    Attributes:
        workers: visits at once.
        rate: visits begun in a second, at most; None: as fast as it goes.
        limit: visits in all; None: as many as there are peers.
        visits: how each peer is visited.
    """

    workers: int = 1000  # nebula's default
    rate: float | None = None
    limit: int | None = None
    visits: VisitSettings = field(default_factory=VisitSettings)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"a crawl needs at least one worker, not {self.workers}")
        if self.rate is not None and not (self.rate > 0 and math.isfinite(self.rate)):
            raise ValueError(f"a rate is more than 0 visits a second, not {self.rate}")


def crawl_limits(workers: int) -> dict[str, int]:
    """The limits that a host needs for so many visits at once, for `HostBuilder.limits`."""
    return {
        "connections": 2 * workers + 64,
        "dials": 2 * workers + 64,
        "low_water": 2 * workers,
        "high_water": 2 * workers + 32,
        "streams": 32 * workers + 1024,
        "streams_pending": 32 * workers + 1024,
    }


def bootstrap_peer(address: Multiaddr | str) -> PeerInfo:
    """Whom an address with `/p2p/…` names.

    Raises:
        InvalidAddress: it is wrong, or has no `/p2p/…`.
    """
    parsed = parse_address(address) if isinstance(address, str) else address
    place, peer = split_peer(parsed)
    if peer is None:
        raise InvalidAddress(
            "a bootstrap peer's address needs /p2p/ and the peer id", address=parsed
        )
    return PeerInfo(peer, (place.to_bytes(),))


class Crawl:
    """A crawl that runs: an async iterator of `Visit`s, as they end.

    When nobody takes them, the crawl waits.

    Attributes:
        frontier: whom it has seen, and whom it still has to visit.
        tally: what the visits add up to.
    """

    def __init__(self, host: Host, options: CrawlOptions, frontier: Frontier) -> None:
        self.options = options
        self.frontier = frontier
        self.tally = Tally()
        self._host = host
        self._wake = trio.Event()
        self._send, self._visits = trio.open_memory_channel[Visit](_ROWS)

    def __aiter__(self) -> Crawl:
        return self

    async def __anext__(self) -> Visit:
        return await self._visits.__anext__()

    async def _run(self) -> None:
        options, frontier = self.options, self.frontier
        pause = 0.0 if options.rate is None else 1 / options.rate
        due = trio.current_time()
        async with self._send:
            with Visitor(self._host, options.visits) as visitor:
                async with trio.open_nursery() as nursery:
                    while not frontier.finished:
                        self._wake = trio.Event()
                        while frontier.running < options.workers:
                            target = frontier.next()
                            if target is None:
                                break
                            nursery.start_soon(self._visit, visitor, target)
                            due = max(due, trio.current_time()) + pause
                            if pause:
                                await trio.sleep_until(due)
                        if not frontier.finished:
                            await self._wake.wait()

    async def _visit(self, visitor: Visitor, target: PeerInfo) -> None:
        visit = await visitor.visit(target)
        visit.discovered = tuple(
            each for each in visit.neighbors if each.id != self._host.id and self.frontier.add(each)
        )
        self.tally.add(visit)
        self._wake.set()  # there may be more to visit
        await self._send.send(visit)
        self.frontier.done(target.id)
        self._wake.set()


@asynccontextmanager
async def crawl(
    host: Host,
    bootstrap: Iterable[PeerInfo],
    options: CrawlOptions | None = None,
    *,
    frontier: Frontier | None = None,
) -> AsyncGenerator[Crawl, None]:
    """Crawl the DHT that `bootstrap` belongs to, for the time of the block::

        async with crawl(host, map(bootstrap_peer, addresses)) as visits:
            async for visit in visits:
                print(visit.peer, visit.agent_version, len(visit.neighbors))

    Args:
        host: asks; it needs no DHT, and limits as `crawl_limits` says. It should not serve.
        frontier: what an earlier run has left.
    """
    options = options or CrawlOptions()
    frontier = frontier or Frontier(limit=options.limit)
    for peer in bootstrap:
        frontier.add(peer)
    running = Crawl(host, options, frontier)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running._run)
        try:
            yield running
        except Exception as error:
            failure = error  # it comes out as it is, not in a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
