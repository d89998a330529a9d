"""RESET_STREAM_AT (draft-ietf-quic-reliable-stream-reset), which qh3's core does not know.

Later drafts of WebTransport want a server to know this frame: webtransport-go refuses one that does
not announce it. So it is announced to clients of `h3` that announce it themselves, and in what they
send from then on each such frame becomes a RESET_STREAM: the bytes that it promises to deliver are
of a stream that is over anyway. For that, every packet of such a client is opened once more.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from qh3.quic.crypto import derive_key_iv_hp
from qh3.tls import CipherSuite, cipher_suite_hash, hkdf_expand_label

__all__ = ["PartialResets", "answer_announcement", "without_partial_resets"]

_PARAMETERS = (0x1D, 0x17F7586D2CB571)  # the draft's, and that of earlier ones
_RESET_STREAM, _RESET_STREAM_AT = 0x04, 0x24
_TAG = 16
_LONG, _KEY_PHASE = 0x80, 0x04


def answer_announcement(parameters: bytes) -> bytes:
    """What to append to our transport parameters, as those of the client announce the frame."""
    found, at = b"", 0
    try:
        while at < len(parameters):
            start = at
            name, at = _varint(parameters, at)
            length, at = _varint(parameters, at)
            if name in _PARAMETERS and not length:
                found += parameters[start:at]
            at += length
    except IndexError:
        pass  # qh3 has judged them already
    return found


class PartialResets:
    """What a client sends under 1-RTT keys, without its RESET_STREAM_AT frames.

    Args:
        suite, secret: the first client traffic secret.
        id_length: of our connection ids.
    """

    def __init__(self, suite: CipherSuite, secret: bytes, id_length: int) -> None:
        self._suite = suite
        self._secret = secret
        self._id_length = id_length
        self._phase = 0
        self._largest = -1
        self._aead, self._iv, self._hp = _keys(suite, secret)
        self._ecb: CipherContext | None = None
        if suite is not CipherSuite.CHACHA20_POLY1305_SHA256:
            # Single blocks under a key that is used for nothing else (RFC 9001 section 5.4.3).
            self._ecb = Cipher(algorithms.AES(self._hp), modes.ECB()).encryptor()  # noqa: S305

    def translate(self, train: bytes, segment: int) -> bytes:
        """A train of datagrams, of the same sizes."""
        changed = False
        pieces: list[bytes] = []
        for at in range(0, len(train), segment):
            datagram = train[at : at + segment]
            translated = self._translate(datagram)
            changed = changed or translated is not datagram
            pieces.append(translated)
        return b"".join(pieces) if changed else train

    def _translate(self, packet: bytes) -> bytes:
        at = 1 + self._id_length
        if packet[0] & _LONG or len(packet) < at + 4 + _TAG:
            return packet
        mask = self._mask(packet[at + 4 : at + 20])
        first = packet[0] ^ (mask[0] & 0x1F)
        start = at + (first & 3) + 1
        truncated = bytes(a ^ b for a, b in zip(packet[at:start], mask[1:], strict=False))
        header = bytes((first,)) + packet[1:at] + truncated
        number = self._expand(int.from_bytes(truncated, "big"), 8 * len(truncated))
        nonce = (int.from_bytes(self._iv, "big") ^ number).to_bytes(12, "big")
        try:
            if (first & _KEY_PHASE != 0) != bool(self._phase):
                return self._next_phase(packet, header, number, start)
            payload = self._aead.decrypt(nonce, packet[start:], header)
        except InvalidTag:
            return packet  # the core will not open it either
        self._largest = max(self._largest, number)
        translated = without_partial_resets(payload)
        if translated is payload:
            return packet
        sealed = self._aead.encrypt(nonce, translated, header)
        mask = self._mask((truncated + sealed)[4:20])
        hidden = bytes(a ^ b for a, b in zip(truncated, mask[1:], strict=False))
        return bytes((first ^ (mask[0] & 0x1F),)) + packet[1:at] + hidden + sealed

    def _next_phase(self, packet: bytes, header: bytes, number: int, start: int) -> bytes:
        """The peer seems to have updated its keys (RFC 9001 section 6); so if the packet opens."""
        digest = cipher_suite_hash(self._suite)
        secret = hkdf_expand_label(digest, self._secret, b"quic ku", b"", digest // 8)
        aead, iv, _ = _keys(self._suite, secret)
        nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
        aead.decrypt(nonce, packet[start:], header)
        self._secret, self._aead, self._iv = secret, aead, iv
        self._phase ^= 1
        return self._translate(packet)

    def _expand(self, truncated: int, bits: int) -> int:
        """The whole packet number (RFC 9000 appendix A.3)."""
        expected, window = self._largest + 1, 1 << bits
        candidate = expected & ~(window - 1) | truncated
        if candidate <= expected - window // 2:
            return candidate + window
        if candidate > expected + window // 2 and candidate >= window:
            return candidate - window
        return candidate

    def _mask(self, sample: bytes) -> bytes:
        if self._ecb is not None:
            return self._ecb.update(sample)
        return Cipher(algorithms.ChaCha20(self._hp, sample), None).encryptor().update(bytes(5))


def _keys(suite: CipherSuite, secret: bytes) -> tuple[AESGCM | ChaCha20Poly1305, bytes, bytes]:
    key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=1)
    chacha = suite is CipherSuite.CHACHA20_POLY1305_SHA256
    return ChaCha20Poly1305(key) if chacha else AESGCM(key), iv, hp


# How many varints a frame has, and whether the last one says how many bytes follow.
_FRAMES: dict[int, tuple[int, bool]] = {
    0x01: (0, False),
    _RESET_STREAM: (3, False),
    0x05: (2, False),
    0x06: (2, True),
    **{0x10 + each: (count, False) for each, count in enumerate((1, 2, 1, 1, 1, 2, 1, 1))},
    0x19: (1, False),
    0x1C: (2, True),
    0x1D: (1, True),
    0x31: (1, True),
}
_FIXED = {0x1A: 8, 0x1B: 8}


def without_partial_resets(payload: bytes) -> bytes:
    """The same frames, but RESET_STREAM and padding for RESET_STREAM_AT.

    The payload itself if there is none, or from where it cannot be read: that is the core's affair.
    """
    at, end = 0, len(payload)
    changed: bytearray | None = None
    try:
        while at < end:
            start, kind = at, payload[at]
            at += 1
            if 0x08 <= kind <= 0x0F:  # STREAM
                _, at = _varint(payload, at)
                if kind & 4:
                    _, at = _varint(payload, at)
                if not kind & 2:
                    break
                length, at = _varint(payload, at)
                at += length
            elif kind in (0x02, 0x03):  # ACK
                _, at = _varint(payload, at)
                _, at = _varint(payload, at)
                count, at = _varint(payload, at)
                for _ in range(2 * count + 1 + 3 * (kind & 1)):
                    _, at = _varint(payload, at)
            elif kind == _RESET_STREAM_AT:
                for _ in range(3):
                    _, at = _varint(payload, at)
                reliable = at
                _, at = _varint(payload, at)
                if at > end:
                    break
                changed = bytearray(payload) if changed is None else changed
                changed[start] = _RESET_STREAM
                changed[reliable:at] = bytes(at - reliable)
            elif kind == 0x18:  # NEW_CONNECTION_ID
                _, at = _varint(payload, at)
                _, at = _varint(payload, at)
                at += 1 + payload[at] + 16
            elif kind in _FIXED:
                at += _FIXED[kind]
            elif kind:
                count, sized = _FRAMES[kind]
                value = 0
                for _ in range(count):
                    value, at = _varint(payload, at)
                at += value if sized else 0
    except (IndexError, KeyError):
        pass
    return payload if changed is None else bytes(changed)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < 0x40:
        return first, at + 1
    size = 1 << (first >> 6)
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size
