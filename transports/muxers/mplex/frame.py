"""Mplex frames: varint header (stream id << 3 | flag), varint length, data.

Source: mplex/README.md, "Message format".
"""

from __future__ import annotations

from carrick.wire import encode_varint

NEW_STREAM = 0
MESSAGE, CLOSE, RESET = 1, 3, 5
"""As the receiver of a stream sends them; its initiator sends each plus one."""

MAX_BODY = 1024 * 1024  # bytes (specification)
MAX_HEADER = 9 + 9  # two varints


def pack(stream_id: int, flag: int, length: int) -> bytes:
    """The bytes in front of the data."""
    return encode_varint(stream_id << 3 | flag) + encode_varint(length)
