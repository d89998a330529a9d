"""The protocols of AutoNAT: v1, and the two of v2."""

from __future__ import annotations

__all__ = ["DIAL", "DIAL_BACK", "DIAL_REQUEST"]

DIAL = "/libp2p/autonat/1.0.0"
DIAL_REQUEST = "/libp2p/autonat/2/dial-request"
DIAL_BACK = "/libp2p/autonat/2/dial-back"
