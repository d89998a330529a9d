"""Scopes: counters of what is reserved, with their limits."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import TypeAlias

from carrick.errors import ResourceLimitExceeded

__all__ = ["Charge", "Kind", "Maxima", "Scope"]


class Kind(enum.IntEnum):
    """What is counted."""

    __hash__ = int.__hash__  # that of Enum is no C: it took a tenth of opening a stream
    CONNECTIONS = 0
    CONNECTIONS_INBOUND = 1
    STREAMS = 2
    STREAMS_INBOUND = 3
    STREAMS_OUTBOUND = 4
    MEMORY = 5


Charge: TypeAlias = tuple[tuple[Kind, int], ...]
Maxima: TypeAlias = dict[Kind, tuple[str, int]]
"""For each kind that has a limit: the limit's name and value."""


class Scope:
    """Counters and their limits."""

    __slots__ = ("_home", "_key", "_label", "_maxima", "counts")

    def __init__(
        self,
        label: str,
        maxima: Maxima,
        home: dict[Hashable, Scope] | None = None,
        key: Hashable = None,
    ) -> None:
        self.counts = [0] * len(Kind)
        self._label = label
        self._maxima = maxima
        self._home = home
        self._key = key

    @property
    def name(self) -> str:
        if self._key is None:
            return self._label
        parts = self._key if isinstance(self._key, tuple) else (self._key,)
        return f"{self._label} {' of '.join(map(str, parts))}"

    def room(self, kind: Kind) -> int:
        """How much more fits; only for kinds that are limited here."""
        return self._maxima[kind][1] - self.counts[kind]

    def check(self, charge: Charge) -> None:
        for kind, amount in charge:
            limit = self._maxima.get(kind)
            if limit is not None and self.counts[kind] + amount > limit[1]:
                raise self.exceeded(kind, amount)

    def exceeded(self, kind: Kind, amount: int = 1) -> ResourceLimitExceeded:
        limit, maximum = self._maxima[kind]
        return ResourceLimitExceeded(
            scope=self.name,
            limit=limit,
            maximum=maximum,
            present=self.counts[kind],
            requested=amount,
        )

    def add(self, charge: Charge) -> None:
        for kind, amount in charge:
            self.counts[kind] += amount
        if self._home is not None:
            self._home[self._key] = self

    def remove(self, charge: Charge) -> None:
        for kind, amount in charge:
            self.counts[kind] -= amount
        if self._home is not None and not any(self.counts):
            self._home.pop(self._key, None)
