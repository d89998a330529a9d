"""Real kernel NATs in network namespaces, and a probe that says how a NAT behaves."""

from __future__ import annotations
