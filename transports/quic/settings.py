"""What a QUIC connection allows its peer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineSettings"]

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of one connection. Sizes in bytes, times in seconds.

    go: 256 streams, 5 unidirectional, keepalive 15 s (quicreuse/config.go); quic-go: idle 30 s,
    a stream's window begins at 512 KiB.
    """

    max_streams: int = 256
    max_uni_streams: int = 5
    stream_window: int = 512 * 1024
    max_stream_window: int = 4 * _MIB
    connection_window: int = 6 * _MIB
    idle_timeout: float = 30.0
    datagram_size: int = 1350  # UDP payload, as Chrome's: fits through the usual tunnels
    max_datagram_frame: int = 16 * 1024
