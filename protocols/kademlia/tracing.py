"""What a lookup did, step by step, for people who want to watch it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from carrick.identity import PeerId

__all__ = ["Hop", "HopKind", "Watch"]


class HopKind(enum.Enum):
    """What happened."""

    ASKED = "asked"
    ANSWERED = "answered"
    FAILED = "failed"
    FOUND = "found"


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a lookup.

    Attributes:
        at: seconds of `trio.current_time()`.
        rtt: seconds from the question to the answer, or to the failure.
        closer: whom the answer named.
        found: how many values or providers it brought.
        error: why it failed.
    """

    kind: HopKind
    peer: PeerId
    at: float
    rtt: float | None = None
    closer: tuple[PeerId, ...] = field(default=())
    found: int = 0
    error: str | None = None


Watch: TypeAlias = Callable[[Hop], object]
"""Is told each step as it happens."""
