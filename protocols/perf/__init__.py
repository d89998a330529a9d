"""Perf (`/perf/1.0.0`): how fast a connection is. Off by default."""

from __future__ import annotations

from carrick.protocols.perf.service import ID, Perf, PerfOptions, PerfResult
from carrick.protocols.perf.state import Dialect

__all__ = ["ID", "Dialect", "Perf", "PerfOptions", "PerfResult"]
