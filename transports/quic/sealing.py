"""Puts frames of our own into packets that qh3's core has sealed.

The core grants the peer new stream window as soon as bytes leave it, whether or not anybody reads
them. To grant window when bytes are *read*, Carrick writes MAX_STREAM_DATA itself: it opens an
outgoing packet with the connection's own keys, puts the frames before what is there, and seals it
again under the same packet number. The original is never sent, so no nonce is used twice.

Sources: RFC 9001 sections 5.3, 5.4 and 6; RFC 9000 sections 17.3 and 19.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from qh3.quic.crypto import derive_key_iv_hp
from qh3.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label

__all__ = ["PacketSealer", "encode_max_stream_data", "has_ping"]

_LONG_HEADER = 0x80
_KEY_PHASE = 0x04
_TAG = 16
_VERSION_1 = 1


class PacketSealer:
    """Our 1-RTT sending keys.

    Args:
        secret: the first client or server traffic secret that we send with.
    """

    def __init__(self, suite: CipherSuite, secret: bytes) -> None:
        self._suite = suite
        self._secret = secret
        self._phase = 0
        self._aead: AESGCM | ChaCha20Poly1305
        self._iv = b""
        self._hp = self._install()

    def _install(self) -> bytes:
        key, self._iv, hp = derive_key_iv_hp(
            cipher_suite=self._suite, secret=self._secret, version=_VERSION_1
        )
        chacha = self._suite is CipherSuite.CHACHA20_POLY1305_SHA256
        self._aead = ChaCha20Poly1305(key) if chacha else AESGCM(key)
        return hp

    def _update_keys(self) -> None:
        digest = cipher_suite_hash(self._suite)
        self._secret = hkdf_expand_label(digest, self._secret, b"quic ku", b"", digest // 8)
        self._phase ^= 1
        self._install()  # the header's key stays (RFC 9001 section 6.1)

    def open(
        self, packet: bytes, id_length: int, numbers: Iterable[int]
    ) -> tuple[bytes, int, bytes] | None:
        """Open a short-header packet of ours.

        Args:
            id_length: of the connection id in it.
            numbers: packet numbers that it may have.

        Returns:
            header, packet number and payload; None if it is not such a packet.
        """
        at = 1 + id_length
        if packet[0] & _LONG_HEADER or len(packet) < at + 4 + _TAG:
            return None
        mask = self._mask(packet[at + 4 : at + 20])
        first = packet[0] ^ (mask[0] & 0x1F)
        length = (first & 3) + 1
        truncated = bytes(a ^ b for a, b in zip(packet[at : at + length], mask[1:], strict=False))
        low = int.from_bytes(truncated, "big")
        bits = (1 << 8 * length) - 1
        number = next((each for each in numbers if each & bits == low), None)
        if number is None:
            return None
        if (first & _KEY_PHASE != 0) != bool(self._phase):
            self._update_keys()
        header = bytes((first,)) + packet[1:at] + truncated
        try:
            payload = self._aead.decrypt(self._nonce(number), packet[at + length :], header)
        except InvalidTag:
            return None
        return header, number, payload

    def seal(self, header: bytes, id_length: int, number: int, payload: bytes) -> bytes:
        """Seal a packet with the header that `open` gave."""
        at = 1 + id_length
        sealed = self._aead.encrypt(self._nonce(number), payload, header)
        length = len(header) - at
        mask = self._mask((header[at:] + sealed)[4:20])
        protected = bytes(a ^ b for a, b in zip(header[at:], mask[1 : 1 + length], strict=True))
        return bytes((header[0] ^ (mask[0] & 0x1F),)) + header[1:at] + protected + sealed

    def _nonce(self, number: int) -> bytes:
        return (int.from_bytes(self._iv, "big") ^ number).to_bytes(12, "big")

    def _mask(self, sample: bytes) -> bytes:
        if self._suite is CipherSuite.CHACHA20_POLY1305_SHA256:
            return Cipher(algorithms.ChaCha20(self._hp, sample), None).encryptor().update(bytes(5))
        # One block under a key that is used for nothing else, as RFC 9001 section 5.4.3 says.
        return Cipher(algorithms.AES(self._hp), modes.ECB()).encryptor().update(sample)[:5]  # noqa: S305


def encode_max_stream_data(stream: int, maximum: int) -> bytes:
    """A MAX_STREAM_DATA frame (RFC 9000 section 19.10)."""
    return b"\x11" + _varint(stream) + _varint(maximum)


def _varint(value: int) -> bytes:
    for size, prefix in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * size - 2):
            return (value | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(f"{value} is no QUIC varint")


# How many varints a frame has, and what stands behind them: so many bytes, or (-1) as many as the
# last varint says.
_FRAMES: dict[int, tuple[int, int]] = {
    0x04: (3, 0),  # RESET_STREAM
    0x05: (2, 0),  # STOP_SENDING
    0x06: (2, -1),  # CRYPTO
    0x07: (1, -1),  # NEW_TOKEN
    **{0x10 + each: (count, 0) for each, count in enumerate((1, 2, 1, 1, 1, 2, 1, 1))},
    0x19: (1, 0),  # RETIRE_CONNECTION_ID
    0x1A: (0, 8),  # PATH_CHALLENGE
    0x1B: (0, 8),  # PATH_RESPONSE
    0x1E: (0, 0),  # HANDSHAKE_DONE
    0x31: (1, -1),  # DATAGRAM with a length
}
_PING = 0x01


def has_ping(payload: bytes) -> bool:
    """Whether one of the frames is PING. Of a payload of our own: it is well-formed."""
    at = 0

    def varint() -> int:
        nonlocal at
        size = 1 << (payload[at] >> 6)
        value = int.from_bytes(payload[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
        at += size
        return value

    try:
        while at < len(payload):
            kind = payload[at]
            at += 1
            if kind == _PING:
                return True
            if kind in (0x02, 0x03):  # ACK
                varint(), varint()
                for _ in range(2 * varint() + 1):
                    varint()
                if kind == 0x03:
                    varint(), varint(), varint()
            elif kind == 0x18:  # NEW_CONNECTION_ID
                varint(), varint()
                at += 1 + payload[at] + 16
            elif 0x08 <= kind <= 0x0F:  # STREAM
                varint()
                if kind & 4:
                    varint()
                if not kind & 2:
                    return False
                size = varint()
                at += size
            elif kind != 0:
                count, behind = _FRAMES[kind]
                value = 0
                for _ in range(count):
                    value = varint()
                at += value if behind < 0 else behind
    except (IndexError, KeyError):
        return False
    return False
