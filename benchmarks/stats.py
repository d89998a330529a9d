"""What was seen in the repetitions of one thing, and what to say of it. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["CLEAN", "ENOUGH", "Sample", "Summary", "percentile", "summarise"]

CLEAN = 0.2  # cores: with more used by everything else, a repetition is dropped
ENOUGH = 3  # clean repetitions


@dataclass(frozen=True, slots=True)
class Sample:
    """One repetition.

    Attributes:
        value: in the unit of its row.
        wall: seconds that it took.
        listener_cpu: CPU-seconds of the listener.
        dialer_cpu: CPU-seconds of the dialer.
        other_cores: cores that everything else on the machine used meanwhile.
    """

    value: float
    wall: float = 0.0
    listener_cpu: float = 0.0
    dialer_cpu: float = 0.0
    other_cores: float = 0.0

    @property
    def clean(self) -> bool:
        return self.other_cores <= CLEAN


@dataclass(frozen=True, slots=True)
class Summary:
    """Several repetitions.

    Attributes:
        dropped: repetitions that were left out because the machine was busy.
        doubtful: there were fewer than `ENOUGH` clean ones; all are kept, or the few that there
            are.
    """

    median: float
    low: float
    high: float
    n: int
    dropped: int
    doubtful: bool
    wall: float
    listener_cpu: float
    dialer_cpu: float


def summarise(samples: Sequence[Sample], enough: int = ENOUGH) -> Summary | None:
    """The median with its spread, of the clean repetitions if there are `enough`, else of all.

    None if there is none.
    """
    clean = [sample for sample in samples if sample.clean]
    kept = clean if len(clean) >= enough else list(samples)
    if not kept:
        return None
    values = [sample.value for sample in kept]
    return Summary(
        median=statistics.median(values),
        low=min(values),
        high=max(values),
        n=len(kept),
        dropped=len(samples) - len(kept),
        doubtful=len(clean) < enough,
        wall=_median(sample.wall for sample in kept),
        listener_cpu=_median(sample.listener_cpu for sample in kept),
        dialer_cpu=_median(sample.dialer_cpu for sample in kept),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lies; one of them.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
