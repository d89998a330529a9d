"""The rows of a crawl. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from carrick.addressing import Multiaddr
from carrick.identity import PeerId
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["Tally", "Visit"]


@dataclass(slots=True, kw_only=True)
class Visit:
    """What a visit to one peer told. The names are nebula's, where it has one.

    Attributes:
        addresses: where it was dialled.
        filtered: other addresses that it is said to have.
        listen_addresses, protocols, agent_version: what it says of itself (identify).
        connect_address: where it answered.
        connect_error, crawl_error: one of `errors.NAMES`; None: none.
        connect_duration, crawl_duration: of dialling, and of all, in seconds.
        rtt: the connection's measured round-trip time in seconds.
        neighbors: the contacts in its table, as far as it named them.
        discovered: those of them that nobody had named before.
        error_bits: bit *i* is set if bucket *i* could not be read.
        requests: how many buckets were asked for.
        dial_errors: of each of `addresses`, if none answered.
        properties: texts of errors without a name, as nebula keeps them.
    """

    peer: PeerId
    started: datetime
    ended: datetime
    addresses: tuple[Multiaddr, ...] = ()
    filtered: tuple[Multiaddr, ...] = ()
    listen_addresses: tuple[Multiaddr, ...] = ()
    connect_address: Multiaddr | None = None
    protocols: tuple[str, ...] = ()
    agent_version: str = ""
    connect_duration: float = 0.0
    crawl_duration: float = 0.0
    rtt: float | None = None
    connect_error: str | None = None
    crawl_error: str | None = None
    neighbors: tuple[PeerInfo, ...] = ()
    discovered: tuple[PeerInfo, ...] = ()
    error_bits: int = 0
    requests: int = 0
    dial_errors: tuple[str, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dialable(self) -> bool:
        """Whether it answered. Others were seen in tables, but cannot be dialled: they are gone,
        or behind a NAT."""
        return self.connect_error is None


@dataclass(slots=True)
class Tally:
    """What the visits so far add up to."""

    crawled: int = 0
    dialable: int = 0
    agents: Counter[str] = field(default_factory=Counter)
    protocols: Counter[str] = field(default_factory=Counter)
    connect_errors: Counter[str] = field(default_factory=Counter)
    crawl_errors: Counter[str] = field(default_factory=Counter)

    @property
    def undialable(self) -> int:
        return self.crawled - self.dialable

    def add(self, visit: Visit) -> None:
        self.crawled += 1
        self.agents[visit.agent_version] += 1
        self.protocols.update(visit.protocols)
        if visit.connect_error is None:
            self.dialable += 1
        else:
            self.connect_errors[visit.connect_error] += 1
        if visit.crawl_error is not None:
            self.crawl_errors[visit.crawl_error] += 1
