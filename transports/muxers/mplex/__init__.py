"""Mplex: many streams without flow control over one byte stream. Deprecated; for old peers only.

Source: libp2p/specs `mplex/README.md`, r0.
"""

from __future__ import annotations

from carrick.transports.muxers.mplex.config import MplexConfig
from carrick.transports.muxers.mplex.state import PROTOCOL_ID, Mplex

__all__ = ["PROTOCOL_ID", "Mplex", "MplexConfig"]
