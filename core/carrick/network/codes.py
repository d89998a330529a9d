"""Error codes of connections and streams.

Source: go-libp2p `core/network/conn.go` and `core/network/mux.go`. They travel in QUIC's
application codes, and in the GoAway and reset frames of Yamux.
"""

from __future__ import annotations

import enum

__all__ = ["ConnectionCode", "StreamCode"]


class ConnectionCode(enum.IntEnum):
    """Why a connection was closed."""

    NO_ERROR = 0
    GOAWAY_PROTOCOL_ERROR = 1  # of the yamux specification: the one that all understand
    PROTOCOL_NEGOTIATION_FAILED = 0x1000
    RESOURCE_LIMIT_EXCEEDED = 0x1001
    RATE_LIMITED = 0x1002
    PROTOCOL_VIOLATION = 0x1003
    SUPPLANTED = 0x1004
    GARBAGE_COLLECTED = 0x1005
    SHUTDOWN = 0x1006
    GATED = 0x1007
    CODE_OUT_OF_RANGE = 0x1008


class StreamCode(enum.IntEnum):
    """Why a stream was reset."""

    NO_ERROR = 0
    PROTOCOL_NEGOTIATION_FAILED = 0x1001
    RESOURCE_LIMIT_EXCEEDED = 0x1002
    RATE_LIMITED = 0x1003
    PROTOCOL_VIOLATION = 0x1004
    SUPPLANTED = 0x1005
    GARBAGE_COLLECTED = 0x1006
    SHUTDOWN = 0x1007
    GATED = 0x1008
    CODE_OUT_OF_RANGE = 0x1009
