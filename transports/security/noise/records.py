"""The transport phase of Noise: plaintext to sealed records and back.

A record is `length (2 bytes, big-endian) || ciphertext || tag (16 bytes)`; the length counts
ciphertext and tag. Source: libp2p/specs, noise/README.md, "Wire Format".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer

LENGTH_BYTES = 2
TAG_BYTES = 16
MAX_MESSAGE = 65535  # Noise framework rev 34, section 3
MAX_PLAIN = MAX_MESSAGE - TAG_BYTES
NONCE_END = 2**64 - 1  # reserved: no message may use it (Noise framework, section 5.1)
MAX_EMPTY_RUN = 32  # OpenSSL's MAX_EMPTY_RECORDS

_pack_nonce = Struct("<4xQ").pack  # Noise framework, section 12.3: ChaChaPoly


class NoiseRecords:
    """Seals and opens the records of one connection.

    An empty record is legal, but costs its sender next to nothing and us a decryption: a longer
    run of them than `MAX_EMPTY_RUN` ends the connection.

    Args:
        send_key: 32 bytes; seals what we send.
        receive_key: 32 bytes; opens what we receive.
    """

    __slots__ = ("_decrypt", "_empty_run", "_encrypt_into", "_opened", "_sealed")

    max_plain = MAX_PLAIN
    overhead = LENGTH_BYTES + TAG_BYTES

    def __init__(self, send_key: bytes, receive_key: bytes) -> None:
        self._encrypt_into = ChaCha20Poly1305(send_key).encrypt_into
        self._decrypt = ChaCha20Poly1305(receive_key).decrypt
        self._sealed = 0
        self._opened = 0
        self._empty_run = 0

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        """Hand the plaintext of each complete record in `buffer[lo:hi]` to `sink`, in order.

        Empty plaintexts are not handed on. Returns where the incomplete rest begins.

        Raises:
            ProtocolError: a record is shorter than its tag, does not authenticate, or is one
                empty record too many; or 2**64 - 1 records were opened. End the connection.
        """
        while hi - lo >= LENGTH_BYTES:
            size = buffer[lo] << 8 | buffer[lo + 1]
            if size < TAG_BYTES:
                raise ProtocolError(f"noise record of {size} bytes: shorter than its tag")
            start = lo + LENGTH_BYTES
            end = start + size
            if end > hi:
                break
            counter = self._opened
            if counter == NONCE_END:
                raise ProtocolError("noise: the peer's nonces are used up")
            try:
                plain = self._decrypt(_pack_nonce(counter), buffer[start:end], None)
            except InvalidTag:
                raise ProtocolError(f"noise record {counter} does not authenticate") from None
            self._opened = counter + 1
            lo = end
            if plain:
                self._empty_run = 0
                sink(plain)
            else:
                self._count_empty()
        return lo

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        """Write one record of the joined `pieces` at `out[at:]`; returns where it ends.

        Raises:
            ValueError: more than `max_plain` bytes, or `out` is too short.
            ProtocolError: 2**64 - 1 records were sealed. End the connection.
        """
        plain = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        size = len(plain) + TAG_BYTES
        start = at + LENGTH_BYTES
        end = start + size
        if size > MAX_MESSAGE or end > len(out):
            raise ValueError(f"{len(plain)} bytes do not fit a noise record in {len(out) - at}")
        counter = self._sealed
        if counter == NONCE_END:
            raise ProtocolError("noise: our nonces are used up")
        self._sealed = counter + 1
        out[at] = size >> 8
        out[at + 1] = size & 0xFF
        self._encrypt_into(_pack_nonce(counter), plain, None, memoryview(out)[start:end])
        return end

    def closing(self) -> bytes:
        """Noise has no word for goodbye."""
        return b""

    def _count_empty(self) -> None:
        self._empty_run += 1
        if self._empty_run > MAX_EMPTY_RUN:
            raise ProtocolError(f"more than {MAX_EMPTY_RUN} empty noise records in a row")
