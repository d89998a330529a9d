"""Varints in keys and peer ids, where a text or key that ends early is simply wrong."""

from __future__ import annotations

from carrick.errors import ProtocolError
from carrick.wire import decode_varint

__all__ = ["read_varint"]


def read_varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """The varint at `data[at:]`, and where it ends.

    Raises:
        ValueError: it is cut off, too long, or not minimal.
    """
    try:
        decoded = decode_varint(data, at)
    except ProtocolError as error:
        raise ValueError(str(error)) from None
    if decoded is None:
        raise ValueError("a varint is cut off")
    return decoded
