"""What a user may set about yamux."""

from __future__ import annotations

from dataclasses import dataclass

from carrick.transports.muxers.yamux.frame import INITIAL_WINDOW

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class YamuxConfig:
    """Limits of one yamux connection. Sources: CONSTANTS of go-yamux, and Carrick's promises."""

    max_window: int = 16 * MIB
    """The receive window that a stream may grow to, in bytes (go-yamux: 16 MiB)."""
    max_unread: int = 4 * MIB
    """Received and unread bytes of all streams, to which grown windows are added."""
    max_streams: int = 1000
    """Streams of both directions at a time."""
    max_inbound: int = 512
    """Streams that the peer has opened, at a time."""
    max_backlog: int = 256
    """Streams that the peer has opened and we have not accepted, and the other way round
    (the specification's ACK backlog)."""
    ping_interval: float = 30.0
    """Seconds between two pings (go-yamux: 30 s)."""
    ping_timeout: float = 20.0
    """Seconds of silence after a ping, after which the connection is dead."""

    def __post_init__(self) -> None:
        if not INITIAL_WINDOW <= self.max_window < 2**32:
            raise ValueError(f"max_window must be {INITIAL_WINDOW} to 2**32 - 1 bytes")
        if min(self.max_unread, self.max_streams, self.max_inbound, self.max_backlog) < 1:
            raise ValueError("limits must be at least 1")
        if min(self.ping_interval, self.ping_timeout) <= 0:
            raise ValueError("ping_interval and ping_timeout must be more than 0 s")
