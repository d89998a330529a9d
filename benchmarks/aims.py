"""What Carrick aims at, and how it stands beside the others. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.bench import Result
from benchmarks.stats import Summary, summarise

__all__ = ["AIMS", "Aim", "Standing", "beside", "ceiling", "find"]

NOISE, TLS = "tcp+noise+yamux", "tcp+tls+yamux"


@dataclass(frozen=True, slots=True)
class Aim:
    """A value that a row of Carrick with itself should reach.

    Attributes:
        share: instead, this share of the AEAD ceiling of the same run will do.
    """

    measure: str
    what: str
    stack: str
    value: float
    share: float | None = None
    listener: str = "carrick"


AIMS = (
    Aim("bulk", "upload", NOISE, 700, share=0.65),
    Aim("bulk", "download", NOISE, 700, share=0.65),
    Aim("bulk", "upload", TLS, 700),
    Aim("bulk", "download", TLS, 700),
    Aim("writes", "4 KiB, buffered", NOISE, 300),
    Aim("dials", "dial + ping + close, one by one", NOISE, 350),
    Aim("dials", "dial + ping + close, 50 at once", NOISE, 600),
    Aim("dials", "connect(), one by one", NOISE, 250),
    Aim("ping", "p50", NOISE, 150),
    Aim("streams", "echo, one by one", NOISE, 2000),
    Aim("streams", "echo, 100 at once", NOISE, 5000),
    Aim("memory", "memory per connection of 500", NOISE, 40),
    Aim("memory", "CPU with 500", NOISE, 0.5),
    Aim("startup", "import of all that a host takes", "", 250),
    Aim("startup", "until it listens", "", 500),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Carrick's median beside another's, of the same thing.

    Attributes:
        ratio: how many times better Carrick is; below 1 it is behind.
    """

    ours: Result
    theirs: Result
    ratio: float


def find(
    results: Sequence[Result], measure: str, what: str, stack: str, listener: str = "carrick"
) -> Result | None:
    """The row of Carrick as the dialer, or of a listener alone."""
    for result in results:
        row = result.row
        same = (row.measure, row.what, row.stack, row.listener) == (measure, what, stack, listener)
        if same and row.dialer in ("carrick", "–"):
            return result
    return None


def ceiling(results: Sequence[Result]) -> Summary | None:
    """The AEAD ceiling of the run."""
    for result in results:
        if result.row.what == "AEAD ceiling":
            return summarise(result.samples)
    return None


def beside(results: Sequence[Result]) -> list[Standing]:
    """Carrick with itself beside every other, as its own dialer, or as Carrick's listener."""
    found = []
    for result in results:
        row = result.row
        if row.listener in ("carrick", "–") or row.dialer not in (row.listener, "carrick", "–"):
            continue
        if row.measure == "bulk" and row.dialer != row.listener:
            continue  # there, each with itself is what can be compared
        ours = find(results, row.measure, row.what, row.stack)
        if ours is None:
            continue
        mine, other = summarise(ours.samples), summarise(result.samples)
        if mine is None or other is None or not mine.median or not other.median:
            continue
        ratio = mine.median / other.median
        found.append(Standing(ours, result, ratio if row.more_is_better else 1 / ratio))
    return found
