"""`Noise_XX_25519_ChaChaPoly_SHA256` by the package noiseprotocol, behind a typed, safe face.

-> e
<- e, ee, s, es
-> s, se
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from copy import copy
from typing import Any

from cryptography.exceptions import InvalidTag
from noise.backends.default.backend import DefaultNoiseBackend
from noise.backends.default.diffie_hellmans import ED25519 as X25519  # its name for X25519
from noise.backends.default.hashes import SHA256Hash
from noise.noise_protocol import NoiseProtocol

from carrick.errors import HandshakeError

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32


class _SHA256(SHA256Hash):  # type: ignore[misc]  # noiseprotocol has no types
    """By the standard library, which takes a third of the time for what handshakes hash."""

    def hash(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()


def _hmac(key: bytes, data: bytes, algorithm: object) -> bytes:
    return hmac.digest(key, data, "sha256")


def _protocol() -> Any:
    backend = DefaultNoiseBackend()
    backend.hashes["SHA256"] = _SHA256
    backend.hmac = _hmac
    return NoiseProtocol(PROTOCOL_NAME, backend)


class StaticKey:
    """A new X25519 key pair. It lives in memory only."""

    __slots__ = ("protocol", "public")

    def __init__(self) -> None:
        pair: Any = X25519().generate_keypair()
        self.public: bytes = pair.public_bytes
        self.protocol = _protocol()
        """What the handshakes with this key begin with, each with a copy."""
        self.protocol.keypairs["s"] = pair


class XX:
    """One side of the pattern. `write` and `read` take turns; the initiator writes first."""

    __slots__ = ("_initiator", "_protocol", "_state")

    def __init__(self, static: StaticKey, *, initiator: bool) -> None:
        protocol = copy(static.protocol)
        protocol.initiator = initiator
        protocol.initialise_handshake_state()
        self._initiator = initiator
        self._protocol = protocol
        self._state = protocol.handshake_state  # the protocol drops it with the last message

    def write(self, payload: bytes) -> bytes:
        """Our next message.

        Raises:
            HandshakeError: the peer's key of the message before is a point of low order.
        """
        return self._turn(self._state.write_message, payload)

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's next message. The caller has checked the message's length.

        Raises:
            HandshakeError: it does not authenticate, or a key in it is a point of low order.
        """
        return self._turn(self._state.read_message, message)

    @property
    def peer_static(self) -> bytes:
        """The peer's static public key, once the message that has it was read."""
        return bytes(self._state.rs.public_bytes)

    @property
    def initiator_ephemeral(self) -> bytes:
        """The public key in the first message, once that was written or read."""
        return bytes((self._state.e if self._initiator else self._state.re).public_bytes)

    def keys(self) -> tuple[bytes, bytes]:
        """The key that we seal with and the one that we open with, after the last message."""
        protocol = self._protocol
        return bytes(protocol.cipher_state_encrypt.k), bytes(protocol.cipher_state_decrypt.k)

    def _turn(self, step: Callable[[bytes, bytearray], object], data: bytes) -> bytes:
        result = bytearray()
        try:
            step(data, result)
        except InvalidTag:
            raise HandshakeError("message does not authenticate", protocol="/noise") from None
        except ValueError as error:  # cryptography: the shared secret is all zeros
            raise HandshakeError(f"invalid key: {error}", protocol="/noise") from None
        return bytes(result)
