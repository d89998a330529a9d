"""Varints, length-prefixed frames and protobuf messages, each with a compulsory limit. No I/O."""

from __future__ import annotations

from carrick.wire.frames import FrameReader, encode_frame
from carrick.wire.generated import GeneratedModule
from carrick.wire.messages import parse_message
from carrick.wire.varint import MAX_VARINT, MAX_VARINT_BYTES, decode_varint, encode_varint

__all__ = [
    "MAX_VARINT",
    "MAX_VARINT_BYTES",
    "FrameReader",
    "GeneratedModule",
    "decode_varint",
    "encode_frame",
    "encode_varint",
    "parse_message",
]
