"""Measures a network's health from the files of a crawl."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrick.protocols.kademlia.crawler import CrawlReader, Graph, parse_go_duration, percentiles

__all__ = ["Health", "measure"]

SHARES = (0.5, 0.9, 0.95, 0.99)
REMOVED = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # of the dialable peers
_VERSION = re.compile(r"^([\w.+-]+)/v?(\d+(?:\.\d+)?)")


@dataclass(slots=True)
class Health:
    """What was measured.

    Attributes:
        crawl: `_crawl.json`.
        agents: program and version to its second number, of peers that told.
        connect_times: seconds, of peers that answered.
        named: of every peer, how many tables it is in.
        table_sizes: of every peer whose table was read, how many contacts it named.
        graph_size: dialable peers, and the edges between them.
        removal: after so many of the best connected are gone, the size of the largest part that
            hangs together.
    """

    crawl: dict[str, Any]
    crawled: int = 0
    dialable: int = 0
    agents: Counter[str] = field(default_factory=Counter)
    protocols: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    connect_times: list[float] = field(default_factory=list)
    named: list[int] = field(default_factory=list)
    table_sizes: list[int] = field(default_factory=list)
    graph_size: tuple[int, int] = (0, 0)
    removal: list[int] = field(default_factory=list)

    @property
    def dialable_share(self) -> float:
        return self.dialable / self.crawled if self.crawled else 0.0

    @property
    def has_tables(self) -> bool:
        """Whether the crawl wrote who knows whom."""
        return bool(self.table_sizes)

    def removals(self) -> Iterator[tuple[float, int, int]]:
        """(share removed, peers removed, size of the largest part left)."""
        total = len(self.removal) - 1
        last = -1
        for share in REMOVED:
            removed = round(share * total)
            if removed != last and total > 0:
                yield share, removed, self.removal[removed]
            last = removed

    def collapse(self) -> int | None:
        """How many of the best connected must go until less than half of the others hangs
        together; None: nobody knows, or there is no such point."""
        total = len(self.removal) - 1
        for removed, largest in enumerate(self.removal):
            if total > removed and largest * 2 < total - removed:
                return removed
        return None

    def fields(self) -> dict[str, Any]:
        """In JSON."""
        return {
            "started_at": self.crawl.get("started_at"),
            "state": self.crawl.get("state"),
            "crawled": self.crawled,
            "dialable": self.dialable,
            "dialable_share": round(self.dialable_share, 4),
            "agents": dict(self.agents.most_common()),
            "protocols": dict(self.protocols.most_common()),
            "errors": dict(self.errors.most_common()),
            "connect_ms": self._spread([each * 1000 for each in self.connect_times], 3),
            "table_size": self._spread(self.table_sizes, 0),
            "in_tables": self._spread(self.named, 0),
            "nodes": self.graph_size[0],
            "edges": self.graph_size[1],
            "removal": [
                {"share": share, "removed": removed, "largest": largest}
                for share, removed, largest in self.removals()
            ],
            "collapse_after": self.collapse(),
        }

    def _spread(self, values: Sequence[float], digits: int) -> dict[str, float]:
        found = percentiles(values, SHARES)
        names = [f"p{share * 100:g}" for share in SHARES]
        spread = {name: round(value, digits) for name, value in zip(names, found, strict=True)}
        return {"n": len(values), **spread}


def measure(reader: CrawlReader) -> Health:
    """
    Raises:
        InvalidCrawl: the files are none of a crawl.
    """
    health = Health(reader.crawl())
    dialable: set[Hashable] = set()
    everybody: list[Hashable] = []
    for row in reader.visits():
        health.crawled += 1
        everybody.append(row["PeerID"])
        if error := row.get("ConnectErrorStr"):
            health.errors[error] += 1
            continue
        health.dialable += 1
        dialable.add(row["PeerID"])
        health.agents[_program(row.get("AgentVersion") or "")] += 1
        health.protocols.update(row.get("Protocols") or ())
        try:
            health.connect_times.append(parse_go_duration(row.get("ConnectDuration") or ""))
        except ValueError:
            continue
    graph = Graph(_edges(reader, health), everybody)
    if health.has_tables:
        health.named = list(graph.in_degrees)
        core = graph.subgraph(dialable.__contains__)
        health.graph_size = len(core), core.edges
        health.removal = core.removal_curve()
    return health


def _edges(reader: CrawlReader, health: Health) -> Iterator[tuple[Hashable, Hashable]]:
    for row in reader.neighbors():
        contacts = row.get("NeighborIDs") or ()
        health.table_sizes.append(len(contacts))
        for each in contacts:
            yield row["PeerID"], each


def _program(agent: str) -> str:
    match = _VERSION.match(agent)
    return f"{match[1]} {match[2]}" if match else agent or "(not told)"
