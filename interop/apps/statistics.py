"""The suites' statistics of a series of measurements (unified-testing, `perf/`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Summary", "percentile", "summarize"]


@dataclass(frozen=True, slots=True)
class Summary:
    """Quartiles of all samples; `low` and `high` of those that are no outliers."""

    low: float
    q1: float
    median: float
    q3: float
    high: float
    outliers: tuple[float, ...]
    samples: tuple[float, ...]

    def block(self, name: str, unit: str, digits: int) -> str:
        """The YAML block that the suite greps for."""

        def listing(values: Sequence[float]) -> str:
            return "[" + ", ".join(f"{value:.{digits}f}" for value in values) + "]"

        return "\n".join(
            [
                f"{name}:",
                f"  iterations: {len(self.samples)}",
                f"  min: {self.low:.{digits}f}",
                f"  q1: {self.q1:.{digits}f}",
                f"  median: {self.median:.{digits}f}",
                f"  q3: {self.q3:.{digits}f}",
                f"  max: {self.high:.{digits}f}",
                f"  outliers: {listing(self.outliers)}",
                f"  samples: {listing(self.samples)}",
                f"  unit: {unit}",
            ]
        )


def percentile(ordered: Sequence[float], p: float) -> float:
    """At index p/100·(n−1) of the ordered values, linear between neighbours."""
    at = p / 100 * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def summarize(samples: Sequence[float]) -> Summary:
    """Outliers are outside Q1 − 1.5·IQR … Q3 + 1.5·IQR.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    q1, median, q3 = (percentile(ordered, p) for p in (25, 50, 75))
    reach = 1.5 * (q3 - q1)
    inside = [value for value in ordered if q1 - reach <= value <= q3 + reach]
    outside = [value for value in ordered if not q1 - reach <= value <= q3 + reach]
    return Summary(inside[0], q1, median, q3, inside[-1], tuple(outside), tuple(ordered))
