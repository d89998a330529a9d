"""What is known of one peer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carrick.peerstore.bounds import Bounds, Ttl

if TYPE_CHECKING:
    from carrick.identity import PublicKey

__all__ = ["Entry", "KnownAddress"]

# Bytes of Python objects beyond the text and bytes in them, roughly.
_ENTRY_COST = 600
_ADDRESS_COST = 250
_TEXT_COST = 100  # of a string in a set or a dictionary


@dataclass(slots=True)
class KnownAddress:
    """What is known of one address. Times are those of the store's clock."""

    expires: float
    while_connected: bool = False
    """It does not expire before the peer's connection has ended."""
    certified: bool = False
    """It is in the peer's newest signed record."""
    succeeded: float = -math.inf
    """When a dial last led to the peer there."""

    @property
    def worth(self) -> tuple[bool, float, bool, float]:
        """Of too many addresses the ones of least worth are forgotten."""
        return self.expires == Ttl.PERMANENT, self.succeeded, self.certified, self.expires

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The order of dialling, best last."""
        return self.certified, self.succeeded, self.expires


@dataclass(slots=True)
class Entry:
    """Everything that is known of one peer, and for how long."""

    addresses: dict[bytes, KnownAddress] = field(default_factory=dict)
    """By their binary form, without `/p2p/`."""
    record: bytes | None = None
    sequence: int = -1
    protocols: frozenset[str] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    key: PublicKey | None = None
    """Only one that the peer id does not contain."""
    kept_until: float = -math.inf
    """For everything but addresses."""
    protocol_bytes: int = 0
    size: int = 0
    """The estimate that the store accounts for; see `measure`."""

    @property
    def expires(self) -> float:
        """When nothing of it is of use any more, unless the peer is connected."""
        return max(self.kept_until, *(each.expires for each in self.addresses.values()), -math.inf)

    @property
    def empty(self) -> bool:
        return not (
            self.addresses
            or self.record
            or self.protocols is not None
            or self.metadata
            or self.key is not None
        )

    def believe(self, raw: bytes, ttl: float, now: float, *, certified: bool = False) -> None:
        """Believe an address for `ttl` seconds from now, or as long as before if that is longer."""
        held = ttl == Ttl.CONNECTED
        expires = now + (Ttl.RECENTLY_CONNECTED if held else ttl)
        known = self.addresses.get(raw)
        if known is None:
            self.addresses[raw] = KnownAddress(expires, held, certified)
            return
        known.expires = max(known.expires, expires)
        known.while_connected |= held
        known.certified |= certified

    def current(self, now: float, connected: bool) -> Iterator[tuple[bytes, KnownAddress]]:
        """The addresses that are still believed."""
        for raw, known in self.addresses.items():
            if known.expires > now or (connected and known.while_connected):
                yield raw, known

    def forget_certified(self, keep: set[bytes]) -> None:
        """A new record takes the place of the old one: drop what only the old one vouched for."""
        for raw, known in tuple(self.addresses.items()):
            if known.certified and raw not in keep:
                if known.expires == Ttl.PERMANENT:
                    known.certified = False
                else:
                    del self.addresses[raw]

    def trim(self, now: float, connected: bool, bounds: Bounds) -> None:
        """Drop expired addresses, and the least worthy ones of too many."""
        limit = bounds.addresses_connected if connected else bounds.addresses
        for raw, known in tuple(self.addresses.items()):
            if known.expires <= now and not (connected and known.while_connected):
                del self.addresses[raw]
        self._limit_addresses(limit)
        if not connected:  # only those of peers that are not connected are accounted for
            self.measure()

    def disconnect(self, now: float, bounds: Bounds) -> None:
        """The peer's connection has ended; call `trim` next."""
        until = now + Ttl.RECENTLY_CONNECTED
        for known in self.addresses.values():
            if known.while_connected:
                known.while_connected = False
                known.expires = max(known.expires, until)
        self.addresses = dict(self.current(now, False))
        self._limit_addresses(bounds.addresses_afterwards)
        if self.protocol_bytes > bounds.protocol_bytes_afterwards:
            self.protocols, self.protocol_bytes = None, 0
        self.kept_until = max(self.kept_until, until)

    def measure(self) -> None:
        """Estimate the memory that this takes."""
        texts = len(self.protocols or ()) + 2 * len(self.metadata)
        self.size = (
            _ENTRY_COST
            + sum(map(len, self.addresses))
            + _ADDRESS_COST * len(self.addresses)
            + len(self.record or b"")
            + self.protocol_bytes
            + sum(len(name) + len(value) for name, value in self.metadata.items())
            + _TEXT_COST * texts
        )

    def _limit_addresses(self, limit: int) -> None:
        if len(self.addresses) > limit:
            ordered = sorted(
                self.addresses.items(), key=lambda item: (item[1].worth, item[0]), reverse=True
            )
            self.addresses = dict(ordered[:limit])
