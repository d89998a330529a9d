"""Multibase text, in the bases that peer ids are seen in.

The first character names the base: `b` base32, `z` base58btc, `k` base36, `f` base16; the
capital of each but `z` stands for capital letters.
"""

from __future__ import annotations

import string

from carrick.identity.base58 import decode_base58

__all__ = ["decode_multibase", "encode_base32"]

_BASE32 = string.ascii_lowercase + "234567"  # RFC 4648, without padding
_BASE36 = string.digits + string.ascii_lowercase
_BASE16 = string.digits + "abcdef"
_MAX_TEXT = 1024  # characters


def encode_base32(data: bytes) -> str:
    """Multibase text of `data` in base32, small letters: `b…`."""
    digits = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (digits * 5 - len(data) * 8)
    return "b" + "".join(_BASE32[number >> 5 * at & 31] for at in reversed(range(digits)))


def decode_multibase(text: str) -> bytes:
    """The bytes that multibase `text` stands for.

    Raises:
        ValueError: an unknown base, a character that is not of the base, wrong padding bits, or
            more than 1024 characters. The message tells a person which.
    """
    if not text:
        raise ValueError("it is empty")
    if len(text) > _MAX_TEXT:
        raise ValueError(f"it has {len(text)} characters, the limit is {_MAX_TEXT}")
    prefix, body = text[0], text[1:]
    if prefix == "z":
        return decode_base58(body)
    if prefix in "bB":
        return _decode_bits(body, _BASE32, 5, "base32", capital=prefix == "B")
    if prefix in "fF":
        return _decode_bits(body, _BASE16, 4, "base16", capital=prefix == "F")
    if prefix in "kK":
        values = _values(body, _BASE36, "base36", capital=prefix == "K")
        number = 0
        for value in values:
            number = number * 36 + value
        zeros = next((at for at, value in enumerate(values) if value), len(values))
        return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
    raise ValueError(
        f"{prefix!r} is not the prefix of a base that is understood (b, z, k, f: "
        "base32, base58btc, base36, base16)"
    )


def _decode_bits(text: str, alphabet: str, width: int, name: str, *, capital: bool) -> bytes:
    number = 0
    for value in _values(text, alphabet, name, capital=capital):
        number = number << width | value
    length, padding = divmod(len(text) * width, 8)
    if padding >= width or number & (1 << padding) - 1:
        raise ValueError(f"its length or its last character is wrong for {name}: is it cut off?")
    return (number >> padding).to_bytes(length, "big")


def _values(text: str, alphabet: str, name: str, *, capital: bool) -> list[int]:
    if capital:
        alphabet = alphabet.upper()
    values = [alphabet.find(character) for character in text]
    if -1 in values:
        at = values.index(-1)
        raise ValueError(f"character {text[at]!r} at position {at + 2} is not {name}")
    return values
