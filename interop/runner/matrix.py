"""Which pairs there are: dialer × listener × what both offer. No I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interop.apps.environment import STANDALONE
from interop.runner.offers import Offer, offer_of

__all__ = ["Pair", "cover", "expected", "matches"]

OURS = "carrick"


@dataclass(frozen=True, slots=True)
class Pair:
    """One test; named as the official suites name it."""

    dialer: str
    listener: str
    transport: str
    security: str | None = None
    muxer: str | None = None

    @property
    def stack(self) -> str:
        return ", ".join(part for part in (self.transport, self.security, self.muxer) if part)

    @property
    def name(self) -> str:
        return f"{self.dialer} x {self.listener} ({self.stack})"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.name).strip("-")

    @property
    def test_key(self) -> str:
        """As unified-testing makes it: `echo "$name" | sha256sum`, the first 8 digits."""
        return hashlib.sha256(f"{self.name}\n".encode()).hexdigest()[:8]

    @property
    def ours(self) -> bool:
        """Whether Carrick is one of the two."""
        return OURS in (self.dialer.split("-")[0], self.listener.split("-")[0])


def expected(names: Iterable[str], transports: Iterable[str]) -> list[Pair]:
    """Every pair of the named implementations on these transports that both libraries offer."""
    offers = [(name, offer_of(name)) for name in names]
    wanted = sorted(set(transports))
    return [
        pair
        for dialer, ours in offers
        for listener, theirs in offers
        for transport in wanted
        for pair in _stacks(dialer, ours, listener, theirs, transport)
    ]


def _stacks(
    dialer: str, ours: Offer, listener: str, theirs: Offer, transport: str
) -> Iterable[Pair]:
    if transport not in ours.transports or transport not in theirs.transports - theirs.dial_only:
        return
    if transport in STANDALONE:
        yield Pair(dialer, listener, transport)
        return
    for security in sorted(ours.securities & theirs.securities):
        for muxer in sorted(ours.muxers & theirs.muxers):
            yield Pair(dialer, listener, transport, security, muxer)


def matches(pair: Pair, only: Sequence[str], skip: Sequence[str]) -> bool:
    """Whether a pair is asked for.

    A pattern is a part of the name, or several with `&` between, all of which must be in it.
    """

    def fits(pattern: str) -> bool:
        return all(part.strip() in pair.name for part in pattern.split("&"))

    return (not only or any(map(fits, only))) and not any(map(fits, skip))


def cover(pairs: Iterable[Pair]) -> list[Pair]:
    """As few pairs with Carrick as show every value once for each implementation and role.

    With itself, all.
    """
    chosen: list[Pair] = []
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if pair.ours:
            groups.setdefault((pair.dialer, pair.listener), []).append(pair)
    for (dialer, listener), group in groups.items():
        chosen += group if dialer == listener else _cover(group)
    return chosen


def _cover(group: Sequence[Pair]) -> list[Pair]:
    left = {value for pair in group for value in _values(pair)}
    chosen = []
    while left:
        best = max(group, key=lambda pair: len(left & _values(pair)))
        chosen.append(best)
        left -= _values(best)
    return chosen


def _values(pair: Pair) -> set[tuple[str, str]]:
    fields = (
        ("transport", pair.transport),
        ("security", pair.security),
        ("muxer", pair.muxer),
    )
    return {(field, value) for field, value in fields if value is not None}
