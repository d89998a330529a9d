"""XSalsa20: Salsa20 with a nonce of 24 bytes.

Source: D. J. Bernstein, "Extending the Salsa20 nonce" (2011). HSalsa20 turns the key and the
nonce's first 16 bytes into a key for plain Salsa20, which takes the other 8.
"""

from __future__ import annotations

from struct import Struct

from Crypto.Cipher import Salsa20

__all__ = ["KEY_SIZE", "NONCE_SIZE", "hsalsa20", "xsalsa20"]

KEY_SIZE = 32
NONCE_SIZE = 24

_WORDS = Struct("<16I")
_OUTPUT = Struct("<8I")
_SIGMA = b"expand 32-byte k"
_MASK = 0xFFFFFFFF
_COLUMNS = ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11))
_ROWS = ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14))


def xsalsa20(key: bytes, nonce: bytes) -> Salsa20.Salsa20Cipher:
    """The key stream of a 32-byte key and a 24-byte nonce, as a cipher that goes on and on."""
    if len(nonce) != NONCE_SIZE:
        raise ValueError(f"an XSalsa20 nonce has {NONCE_SIZE} bytes, not {len(nonce)}")
    return Salsa20.new(key=hsalsa20(key, nonce[:16]), nonce=nonce[16:])


def hsalsa20(key: bytes, block: bytes) -> bytes:
    """32 bytes out of a 32-byte key and 16 bytes: Salsa20's rounds without the final addition."""
    if len(key) != KEY_SIZE or len(block) != 16:
        raise ValueError("HSalsa20 takes a key of 32 and a block of 16 bytes")
    layout = (_SIGMA[:4], key[:16], _SIGMA[4:8], block, _SIGMA[8:12], key[16:], _SIGMA[12:])
    words = list(_WORDS.unpack(b"".join(layout)))
    for _ in range(10):
        for quarters in (_COLUMNS, _ROWS):
            for a, b, c, d in quarters:
                words[b] ^= _rotate(words[a] + words[d], 7)
                words[c] ^= _rotate(words[b] + words[a], 9)
                words[d] ^= _rotate(words[c] + words[b], 13)
                words[a] ^= _rotate(words[d] + words[c], 18)
    return _OUTPUT.pack(*(words[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


def _rotate(value: int, count: int) -> int:
    value &= _MASK
    return (value << count | value >> (32 - count)) & _MASK
