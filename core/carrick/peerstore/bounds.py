"""How long and how much is remembered."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

__all__ = ["Bounds", "Ttl"]


class Ttl:
    """How long an address is believed, in seconds (go-libp2p `core/peerstore/peerstore.go`)."""

    TEMPORARY = 120.0
    """Heard from others."""
    RECENTLY_CONNECTED = 900.0
    """Of a peer that was connected until a short while ago."""
    OWN_OBSERVED = 1800.0
    """Ours, as others see it."""
    ADDRESS = 3600.0
    """Said by the peer itself."""
    CONNECTED = sys.float_info.max
    """While the peer is connected, and `RECENTLY_CONNECTED` from then on. Not itself a time."""
    PERMANENT = math.inf
    """Given by a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most that is kept. Peers without a connection share `peers` and `memory`.

    The numbers are those of ATTACKS 6.1, promise 11, where no other source is named.
    """

    addresses: int = 64
    """Of a peer without a connection."""
    addresses_connected: int = 128
    addresses_afterwards: int = 20  # go-libp2p p2p/protocol/identify, recentlyConnectedPeerMaxAddrs
    """Of a peer whose connection has ended."""
    protocols: int = 1000
    protocol_bytes: int = 64 * 1024
    """Of the protocol ids of one peer, in UTF-8."""
    protocol_bytes_afterwards: int = 8 * 1024
    """Beyond it, the protocols of a peer are forgotten when its connection ends."""
    protocol_id_bytes: int = 1023  # what one multistream-select message can carry
    metadata: int = 16
    """Entries of one peer."""
    metadata_bytes: int = 256
    """Of a value; it is cut off there."""
    peers: int = 10_000
    memory: int = 64 << 20
    """Bytes, estimated. Ours: 10,000 ordinary peers take some 50 MiB."""
