"""Base58, Bitcoin's alphabet: the text form of peer ids.

Decoding costs time quadratic in the length of the text, so its length is bounded.
"""

from __future__ import annotations

__all__ = ["ALPHABET", "MAX_TEXT", "decode_base58", "encode_base58"]

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_TEXT = 1024  # characters; a peer id has at most 62

_VALUES = {character: value for value, character in enumerate(ALPHABET)}


def encode_base58(data: bytes) -> str:
    """The base58 text of `data`; each leading zero byte becomes a `1`."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(ALPHABET[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return ALPHABET[0] * zeros + "".join(reversed(digits))


def decode_base58(text: str) -> bytes:
    """The bytes that `text` stands for.

    Raises:
        ValueError: a character that is not base58, or more than 1024 characters.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text)} characters of base58, the limit is {MAX_TEXT}")
    number = 0
    for position, character in enumerate(text):
        value = _VALUES.get(character)
        if value is None:
            raise ValueError(f"character {character!r} at position {position + 1} is not base58")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
