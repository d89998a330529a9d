"""Identify (`/ipfs/id/1.0.0`) and its push: who a peer is, what it speaks, where it listens."""

from __future__ import annotations

from carrick.protocols.identify.acceptance import KeyMismatch
from carrick.protocols.identify.events import (
    IdentifyFailed,
    ObservedAddress,
    PeerIdentified,
    PeerUpdated,
)
from carrick.protocols.identify.messages import Info
from carrick.protocols.identify.service import ID, ID_PUSH, Identify, IdentifyOptions

__all__ = [
    "ID",
    "ID_PUSH",
    "Identify",
    "IdentifyFailed",
    "IdentifyOptions",
    "Info",
    "KeyMismatch",
    "ObservedAddress",
    "PeerIdentified",
    "PeerUpdated",
]
