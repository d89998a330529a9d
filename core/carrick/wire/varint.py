"""Unsigned varints: seven bits a byte, least significant first, 0x80 marks that more follow.

Source: multiformats `unsigned-varint`: at most 9 bytes (2**63 - 1), and only the shortest form.
"""

from __future__ import annotations

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer

MAX_VARINT = 2**63 - 1
MAX_VARINT_BYTES = 9


def encode_varint(value: int) -> bytes:
    """The shortest encoding of `value`, 1 to 9 bytes.

    Raises:
        ValueError: `value` is negative or more than `MAX_VARINT`.
    """
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} does not fit an unsigned varint (0 to 2**63 - 1)")
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: Buffer, at: int = 0) -> tuple[int, int] | None:
    """Decode the varint that starts at `data[at]`.

    Returns:
        The value and the index behind it; None if `data` ends before the varint does.

    Raises:
        ProtocolError: it is longer than 9 bytes, or not the shortest form of its value.
    """
    value = shift = 0
    for index in range(at, min(len(data), at + MAX_VARINT_BYTES)):
        byte = data[index]
        if byte < 0x80:
            if byte == 0 and shift:
                raise ProtocolError("varint is not in its shortest form")
            return value | byte << shift, index + 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if shift == 7 * MAX_VARINT_BYTES:
        raise ProtocolError(f"varint is longer than {MAX_VARINT_BYTES} bytes")
    return None
