"""What Carrick aims at, and how it stands beside the others. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.bench import Result
from benchmarks.stats import Summary, summarise

__all__ = ["AIMS", "Aim", "Standing", "ahead", "beside", "ceiling", "find", "reached"]

NOISE, TLS = "tcp+noise+yamux", "tcp+tls+yamux"
WEBSOCKET, QUIC = "ws+noise+yamux", "quic-v1"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a row of Carrick with itself should reach: any one of what is set is enough.

    Attributes:
        value: in the unit of the row.
        share: of the AEAD ceiling of the same run.
        times: so many times the same of a peer with itself, as (peer, factor), of each.
        of: a share of the same row on another stack, as (stack, share).
        stretch: more than has to be.
    """

    measure: str
    what: str
    stack: str
    value: float | None = None
    share: float | None = None
    times: tuple[tuple[str, float], ...] = ()
    of: tuple[str, float] | None = None
    stretch: bool = False


def _both(aim: Aim) -> tuple[Aim, Aim]:
    """The same for uploads and downloads."""
    return replace(aim, what="upload"), replace(aim, what="download")


AIMS = (
    *_both(Aim("bulk", "", NOISE, 700, share=0.65)),
    *_both(Aim("bulk", "", NOISE, share=0.85, stretch=True)),
    *_both(Aim("bulk", "", NOISE, times=(("go", 1.0), ("rust", 1.0)), stretch=True)),
    Aim("writes", "4 KiB, buffered", NOISE, 300),
    *_both(Aim("bulk", "", TLS, 700)),
    *_both(Aim("bulk", "", TLS, times=(("js", 2.0),))),
    *_both(Aim("bulk", "", WEBSOCKET, of=(NOISE, 0.7))),
    *_both(Aim("bulk", "", QUIC, 120)),
    *_both(Aim("bulk", "", QUIC, times=(("js", 1.0),))),
    Aim("dials", "dial + ping + close, one by one", NOISE, 350),
    Aim("dials", "dial + ping + close, 50 at once", NOISE, 600),
    Aim("dials", "connect(), one by one", NOISE, 250),
    Aim("ping", "p50", NOISE, 150),
    Aim("streams", "one by one", NOISE, 2000),
    Aim("streams", "100 at once", NOISE, 5000),
    Aim("memory", "memory per connection of 500", NOISE, 40),
    Aim("memory", "CPU with 500", NOISE, 0.5),
    Aim("memory", "CPU with 500", QUIC, 1),
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
    results: Sequence[Result], measure: str, what: str, stack: str, name: str = "carrick"
) -> Result | None:
    """The row of one with itself; of idle connections, that of the listener."""
    for result in results:
        row = result.row
        if (row.measure, row.what, row.stack, row.listener) != (measure, what, stack, name):
            continue
        if row.dialer in (name, "–") or row.measure == "memory":
            return result
    return None


def ceiling(results: Sequence[Result]) -> Summary | None:
    """The AEAD ceiling of the run."""
    for result in results:
        if result.row.what == "AEAD ceiling":
            return summarise(result.samples)
    return None


def ahead(ours: Result, theirs: Result | None) -> float | None:
    """How many times better ours is; None if there is nothing to compare."""
    mine, other = summarise(ours.samples), summarise(theirs.samples) if theirs else None
    if mine is None or other is None or not mine.median or not other.median:
        return None
    ratio = mine.median / other.median
    return ratio if ours.row.more_is_better else 1 / ratio


def beside(results: Sequence[Result]) -> list[Standing]:
    """Carrick with itself beside every other with itself."""
    found = []
    for result in results:
        row = result.row
        if row.listener in ("carrick", "–") or row.size is not None:
            continue
        if find(results, row.measure, row.what, row.stack, row.listener) is not result:
            continue
        ours = find(results, row.measure, row.what, row.stack)
        ratio = ahead(ours, result) if ours else None
        if ours is not None and ratio is not None:
            found.append(Standing(ours, result, ratio))
    return found


def reached(aim: Aim, result: Result, results: Sequence[Result]) -> bool:
    """Whether the median is there."""
    summary, top = summarise(result.samples), ceiling(results)
    if summary is None:
        return False
    if aim.value is not None:
        better = summary.median >= aim.value
        if better if result.row.more_is_better else summary.median <= aim.value:
            return True
    if aim.share is not None and top is not None and summary.median >= aim.share * top.median:
        return True
    if aim.of is not None:
        other = ahead(result, find(results, aim.measure, aim.what, aim.of[0]))
        return other is not None and other >= aim.of[1]
    ratios = [
        (ahead(result, find(results, aim.measure, aim.what, aim.stack, peer)), factor)
        for peer, factor in aim.times
    ]
    return bool(ratios) and all(ratio is not None and ratio >= least for ratio, least in ratios)
