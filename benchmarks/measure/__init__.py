"""The measures, one file each, in the order of a run."""

from __future__ import annotations

from benchmarks.bench import Measure
from benchmarks.measure import (
    bulk,
    dials,
    growth,
    memory,
    messages,
    ping,
    startup,
    streams,
    writes,
)

__all__ = ["MEASURES"]

MEASURES: tuple[Measure, ...] = (
    startup,
    bulk,
    writes,
    messages,
    ping,
    dials,
    streams,
    growth,
    memory,
)
