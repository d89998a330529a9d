"""What a user may set about mplex."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MplexConfig:
    """Limits of one mplex connection."""

    max_unread: int = 4 * MIB
    """Received and unread bytes of all streams. Mplex has no flow control: beyond it nothing more
    is read from the connection, and then the slowest stream is reset."""
    max_stream_unread: int = 1 * MIB
    """The same for one stream."""
    max_name: int = 1024
    """Bytes of a stream's name, which is not kept."""
    max_streams: int = 1000
    """Streams of both directions at a time."""
    max_inbound: int = 512
    """Streams that the peer has opened, at a time."""
    max_backlog: int = 256
    """Streams that the peer has opened and we have not accepted."""

    def __post_init__(self) -> None:
        if min(self.max_unread, self.max_stream_unread, self.max_name) < 1:
            raise ValueError("limits must be at least 1")
        if min(self.max_streams, self.max_inbound, self.max_backlog) < 1:
            raise ValueError("limits must be at least 1")
