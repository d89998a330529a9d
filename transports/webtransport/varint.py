"""QUIC's variable-length integers (RFC 9000 section 16)."""

from __future__ import annotations

from carrick.interfaces import Buffer

__all__ = ["MAX_VARINT", "decode_varint", "encode_varint", "varint_length"]

MAX_VARINT = 2**62 - 1


def encode_varint(value: int) -> bytes:
    """In the shortest form. Raises: ValueError."""
    for prefix in range(4):
        size = 1 << prefix
        if 0 <= value < 1 << (8 * size - 2):
            return (value | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(f"{value} is no QUIC varint")


def varint_length(first: int) -> int:
    """How many bytes it has, by its first one."""
    return 1 << (first >> 6)


def decode_varint(data: Buffer, at: int = 0) -> tuple[int, int] | None:
    """The value and where it ends; None if it is incomplete. Any of its four lengths is valid."""
    if at >= len(data):
        return None
    end = at + varint_length(data[at])
    if end > len(data):
        return None
    mask = (1 << (8 * (end - at) - 2)) - 1
    return int.from_bytes(data[at:end], "big") & mask, end
