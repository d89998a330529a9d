"""Initial packets of clients whose connection id is empty, as browsers' are.

qh3's core takes the destination id of the client's first packet for the client's own id until it
learns another one, and never learns an empty one. So it is told that the destination id was empty,
too, and between it and the client Initial packets are opened and sealed again: their keys follow
from that id (RFC 9001 section 5.2). All other packets pass as they are.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from qh3.quic.crypto import derive_key_iv_hp
from qh3.tls import CipherSuite, hkdf_expand_label

__all__ = ["InitialTranslator"]

_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")  # RFC 9001 section 5.2
_VERSION_1 = (1).to_bytes(4, "big")
_TAG = 16
_LONG = 0x80
_KIND = 0x30  # bits of a long header's packet type; 0: Initial


class _Keys:
    """What protects the Initial packets of one side."""

    def __init__(self, id: bytes, label: bytes) -> None:
        initial = hmac.digest(_SALT, id, "sha256")
        secret = hkdf_expand_label(256, initial, label, b"", 32)
        key, self._iv, self._hp = derive_key_iv_hp(
            cipher_suite=CipherSuite.AES_128_GCM_SHA256, secret=secret, version=1
        )
        self.aead = AESGCM(key)

    def nonce(self, number: int) -> bytes:
        return (int.from_bytes(self._iv, "big") ^ number).to_bytes(12, "big")

    def mask(self, sample: bytes) -> bytes:
        # One block under a key that is used for nothing else, as RFC 9001 section 5.4.3 says.
        return Cipher(algorithms.AES(self._hp), modes.ECB()).encryptor().update(sample)  # noqa: S305


@dataclass(frozen=True, slots=True)
class _Packet:
    """Where the parts of an Initial packet are."""

    source: int  # of the source id's length
    number: int
    end: int


class InitialTranslator:
    """Stands between a client without a connection id and our core.

    Args:
        original: the destination id of the client's first packet.
        local: our id.
    """

    def __init__(self, original: bytes, local: bytes) -> None:
        self._local = local
        self._client, self._server = _Keys(original, b"client in"), _Keys(original, b"server in")
        self._core_client, self._core_server = _Keys(b"", b"client in"), _Keys(b"", b"server in")

    def receive(self, datagram: bytes) -> bytes:
        """A datagram of the client's, for the core."""
        translated = self._translate(datagram, self._client, self._core_client, self._local)
        return translated.ljust(len(datagram), b"\0")  # no shorter than is demanded of it

    def send(self, datagram: bytes) -> bytes:
        """A datagram of the core's, for the client."""
        return self._translate(datagram, self._core_server, self._server, b"")

    @staticmethod
    def _translate(datagram: bytes, old: _Keys, new: _Keys, destination: bytes) -> bytes:
        packet = _parse(datagram)
        if packet is None:
            return datagram
        sample = datagram[packet.number + 4 : packet.number + 20]
        mask = old.mask(sample)
        first = datagram[0] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        start = packet.number + size
        number = bytes(
            a ^ b for a, b in zip(datagram[packet.number : start], mask[1:], strict=False)
        )
        head = datagram[1 : packet.number]
        counter = int.from_bytes(number, "big")  # no handshake has so many that it would be cut
        try:
            payload = old.aead.decrypt(
                old.nonce(counter), datagram[start : packet.end], bytes((first,)) + head + number
            )
        except InvalidTag:
            return datagram  # the core will not open it either
        middle = bytes((len(destination),)) + destination + datagram[packet.source : packet.number]
        head = _VERSION_1 + middle
        sealed = new.aead.encrypt(new.nonce(counter), payload, bytes((first,)) + head + number)
        mask = new.mask((number + sealed)[4:20])
        number = bytes(a ^ b for a, b in zip(number, mask[1:], strict=False))
        first ^= mask[0] & 0x0F
        return bytes((first,)) + head + number + sealed + datagram[packet.end :]


def _parse(datagram: bytes) -> _Packet | None:
    """The Initial packet at the start of a datagram; None if there is none, or it is malformed."""
    try:
        if datagram[0] & (_LONG | _KIND) != _LONG or datagram[1:5] != _VERSION_1:
            return None
        source = 6 + datagram[5]
        at = source + 1 + datagram[source]
        token, at = _varint(datagram, at)
        length, number = _varint(datagram, at + token)
    except IndexError:
        return None
    end = number + length
    if end > len(datagram) or length < 4 + _TAG:
        return None
    return _Packet(source, number, end)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] >> 6)
    value = int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1)
    return value, at + size
