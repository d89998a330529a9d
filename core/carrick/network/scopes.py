"""Scopes: counters of what is reserved, with their limits."""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable, Mapping
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


_KINDS = len(Kind)
Charge: TypeAlias = tuple[tuple[Kind, int], ...]


class Maxima:
    """The limits of one sort of scope, shared by all scopes of that sort.

    Args:
        limits: for each kind that has a limit: the limit's name and value.
    """

    __slots__ = ("names", "values")

    def __init__(self, limits: Mapping[Kind, tuple[str, int]]) -> None:
        unlimited = ("", math.inf)
        self.names = [limits.get(kind, unlimited)[0] for kind in Kind]
        self.values = [limits.get(kind, unlimited)[1] for kind in Kind]


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
        self.counts = [0] * _KINDS
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

    def room(self, kind: Kind) -> float:
        """How much more fits."""
        return self._maxima.values[kind] - self.counts[kind]

    def check(self, charge: Charge) -> None:
        counts, maxima = self.counts, self._maxima.values
        for kind, amount in charge:
            if counts[kind] + amount > maxima[kind]:
                raise self.exceeded(kind, amount)

    def exceeded(self, kind: Kind, amount: int = 1) -> ResourceLimitExceeded:
        return ResourceLimitExceeded(
            scope=self.name,
            limit=self._maxima.names[kind],
            maximum=int(self._maxima.values[kind]),
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
