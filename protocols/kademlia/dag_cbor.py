"""DAG-CBOR, as far as IPNS records need it: one map, read strictly. No I/O.

Source: IPLD's DAG-CBOR specification, "Strictness"; RFC 8949. Everything has its shortest form, and
nothing has an indefinite length. The order of a map's keys is not looked at, as go-ipld-prime does
not: signatures are over the bytes as they came.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer

__all__ = ["decode_map", "encode_map"]

MAX_DEPTH = 16  # maps and lists within each other
_LINK = 42  # the one tag: a CID
_SIMPLE = {20: False, 21: True, 22: None}
_FLOAT64 = 27
_LENGTHS = {24: 1, 25: 2, 26: 4, 27: 8}  # bytes of the argument, by the low five bits


def encode_map(items: Mapping[str, int | bytes]) -> bytes:
    """A map of numbers, not negative, and bytes; the shorter keys first."""
    out = _head(5, len(items))
    for key, value in sorted(items.items(), key=lambda item: (len(item[0]), item[0])):
        name = key.encode()
        out += _head(3, len(name)) + name
        out += _head(0, value) if isinstance(value, int) else _head(2, len(value)) + value
    return out


def decode_map(data: Buffer) -> dict[str, object]:
    """The map that `data` is, and nothing behind it. The caller has bounded `data`.

    Values are int, bytes, str, list, dict, float, bool or None; of a link, its bytes.

    Raises:
        ProtocolError: it is anything else.
    """
    reader = _Reader(bytes(data))
    value = reader.item(0)
    if not isinstance(value, dict):
        raise ProtocolError("DAG-CBOR that is no map")
    if reader.at != len(reader.data):
        raise ProtocolError("bytes behind a DAG-CBOR map")
    return value


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    for low, size in _LENGTHS.items():
        if argument < 1 << 8 * size:
            return bytes((major << 5 | low,)) + argument.to_bytes(size, "big")
    raise ValueError(f"{argument} has no place in 64 bits")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def item(self, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise ProtocolError(f"DAG-CBOR deeper than {MAX_DEPTH}")
        (first,) = self._take(1)
        major, low = first >> 5, first & 31
        if major == 7:
            return self._simple(low)
        argument = self._argument(low)
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self._take(argument)
            case 3:
                return self._text(argument)
            case 4:
                return [self.item(depth + 1) for _ in range(self._count(argument))]
            case 5:
                return self._map(self._count(argument), depth)
            case _:
                return self._link(argument, depth)

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise ProtocolError("DAG-CBOR that ends too early")
        taken, self.at = self.data[self.at : end], end
        return taken

    def _argument(self, low: int) -> int:
        if low < 24:
            return low
        size = _LENGTHS.get(low)
        if size is None:
            raise ProtocolError("DAG-CBOR of indefinite length")
        argument = int.from_bytes(self._take(size), "big")
        if argument < (24 if size == 1 else 1 << 4 * size):
            raise ProtocolError("a DAG-CBOR number that is not in its shortest form")
        return argument

    def _count(self, count: int) -> int:
        if count > len(self.data) - self.at:  # each item has at least one byte
            raise ProtocolError("DAG-CBOR that ends too early")
        return count

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise ProtocolError("DAG-CBOR text that is no UTF-8") from None

    def _map(self, count: int, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        for _ in range(count):
            key = self.item(MAX_DEPTH)
            if not isinstance(key, str) or key in found:
                raise ProtocolError("a DAG-CBOR map with a key twice, or one that is no text")
            found[key] = self.item(depth + 1)
        return found

    def _link(self, tag: int, depth: int) -> bytes:
        link = self.item(MAX_DEPTH) if tag == _LINK else None
        if not isinstance(link, bytes) or not link.startswith(b"\0"):
            raise ProtocolError("a DAG-CBOR tag that is no link")
        return link[1:]

    def _simple(self, low: int) -> object:
        if low in _SIMPLE:
            return _SIMPLE[low]
        if low == _FLOAT64:
            (number,) = struct.unpack(">d", self._take(8))
            if math.isfinite(number):
                return float(number)
        raise ProtocolError("a DAG-CBOR value that is not allowed")
