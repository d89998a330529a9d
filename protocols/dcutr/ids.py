"""The protocol id."""

from __future__ import annotations

__all__ = ["DCUTR"]

DCUTR = "/libp2p/dcutr"
