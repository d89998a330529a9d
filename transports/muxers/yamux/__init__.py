"""Yamux: many streams with flow control over one byte stream.

Source: libp2p/specs `yamux/README.md`, r0; behaviour where it is silent: go-yamux.
"""

from __future__ import annotations

from carrick.transports.muxers.yamux.config import YamuxConfig
from carrick.transports.muxers.yamux.state import PROTOCOL_ID, Yamux

__all__ = ["PROTOCOL_ID", "Yamux", "YamuxConfig"]
