"""Yamux frames: twelve bytes of header, big endian, and for DATA a body.

    0        8        16                32                64                96
    | version |  type  |      flags      |    stream id    |     length      |

Source: yamux/README.md, "Framing".
"""

from __future__ import annotations

import struct

HEADER = struct.Struct(">HHII")
"""Version and type in one number (the version is 0, so it equals the type), flags, id, length."""
HEADER_SIZE = 12

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)

SYN, ACK, FIN, RST = 1, 2, 4, 8
KNOWN_FLAGS = SYN | ACK | FIN | RST

NORMAL, PROTOCOL_ERROR, INTERNAL_ERROR = range(3)
"""Codes of GO_AWAY in the specification. go-libp2p sends others: every value is taken."""

INITIAL_WINDOW = 256 * 1024  # bytes, fixed by the specification
MAX_UINT32 = 2**32 - 1


def pack(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """One header."""
    return HEADER.pack(kind, flags, stream_id, length)
