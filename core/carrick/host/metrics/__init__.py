"""Prometheus metrics of a host, and a small HTTP server for them.

Nothing here is imported unless metrics are asked for.
"""

from __future__ import annotations

from carrick.host.metrics.endpoint import parse_endpoint
from carrick.host.metrics.host import HostMetrics
from carrick.host.metrics.server import serve_metrics

__all__ = ["HostMetrics", "parse_endpoint", "serve_metrics"]
