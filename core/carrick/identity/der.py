"""Enough DER to look at the numbers of an RSA key before any arithmetic is done with them.

Only what RSA keys need: definite, minimal lengths of at most 65,535 bytes, low tags.
"""

from __future__ import annotations

__all__ = ["BIT_STRING", "INTEGER", "SEQUENCE", "DerReader", "bit_length"]

INTEGER = 0x02
BIT_STRING = 0x03
SEQUENCE = 0x30


class DerReader:
    """Reads the elements of a DER value, one after the other.

    Every method raises `ValueError` for what is not strict DER.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def element(self, tag: int) -> bytes:
        """The contents of the next element, which must have this tag."""
        data, at = self._data, self._at
        if len(data) < at + 2 or data[at] != tag:
            raise ValueError(f"no DER element 0x{tag:02x} at byte {at}")
        length, start = data[at + 1], at + 2
        if length >= 0x80:
            width = length & 0x7F
            if not 1 <= width <= 2 or len(data) < start + width:
                raise ValueError("a DER length is out of range")
            length = int.from_bytes(data[start : start + width], "big")
            start += width
            if length < 0x80 or (width == 2 and length < 0x100):
                raise ValueError("a DER length is not minimal")
        end = start + length
        if len(data) < end:
            raise ValueError("a DER element is cut off")
        self._at = end
        return data[start:end]

    def unsigned(self) -> bytes:
        """The next integer, which must not be negative: big-endian, without leading zeros."""
        contents = self.element(INTEGER)
        if not contents or contents[0] >= 0x80:
            raise ValueError("a DER integer is empty or negative")
        if len(contents) > 1 and contents[0] == 0 and contents[1] < 0x80:
            raise ValueError("a DER integer is not minimal")
        return contents.lstrip(b"\0")

    def end(self) -> None:
        """Check that nothing follows."""
        if self._at != len(self._data):
            raise ValueError("bytes follow a DER element")


def bit_length(number: bytes) -> int:
    """How many bits a big-endian number without leading zeros has, from its length alone."""
    return len(number) * 8 - 8 + number[0].bit_length() if number else 0
