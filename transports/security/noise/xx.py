"""`Noise_XX_25519_ChaChaPoly_SHA256`.

-> e
<- e, ee, s, es
-> s, se

Source: the Noise Protocol Framework, revision 34; section 5 has the steps and their names.
"""

from __future__ import annotations

import hashlib
import hmac
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from carrick.errors import HandshakeError

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES = 32
TAG_BYTES = 16

_PATTERN = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
# Initialize: a name of 32 bytes is its own hash. The prologue is empty.
_FIRST_HASH = hashlib.sha256(PROTOCOL_NAME).digest()

pack_nonce = Struct("<4xQ").pack  # section 12.3: ChaChaPoly


class StaticKey:
    """A new X25519 key pair. It lives in memory only."""

    __slots__ = ("private", "public")

    def __init__(self) -> None:
        self.private = X25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()


class XX:
    """One side of the pattern. `write` and `read` take turns; the initiator writes first."""

    __slots__ = (
        "_chaining_key",
        "_cipher",
        "_ephemeral",
        "_hash",
        "_initiator",
        "_messages",
        "_nonce",
        "_peer_ephemeral",
        "_static",
        "initiator_ephemeral",
        "peer_static",
    )

    initiator_ephemeral: bytes
    """The public key in the first message, once that was written or read."""
    peer_static: bytes
    """The peer's static public key, once the message that has it was read."""

    def __init__(self, static: StaticKey, *, initiator: bool) -> None:
        self._static = static
        self._initiator = initiator
        self._messages = iter(_PATTERN)
        self._chaining_key = PROTOCOL_NAME
        self._hash = _FIRST_HASH
        self._cipher: ChaCha20Poly1305 | None = None
        self._nonce = 0
        self._ephemeral: X25519PrivateKey
        self._peer_ephemeral: bytes

    def write(self, payload: bytes) -> bytes:
        """Our next message.

        Raises:
            HandshakeError: the peer's key of the message before is a point of low order.
        """
        message = b""
        for token in next(self._messages):
            if token == "e":
                self._ephemeral = X25519PrivateKey.generate()
                public = self._ephemeral.public_key().public_bytes_raw()
                self._note_ephemeral(public, ours=True)
                message += public
            elif token == "s":
                message += self._seal(self._static.public)
            else:
                self._mix_secret(token)
        return message + self._seal(payload)

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's next message. The caller has checked the message's length.

        Raises:
            HandshakeError: it does not authenticate, or a key in it is a point of low order.
        """
        for token in next(self._messages):
            if token == "e":
                self._peer_ephemeral, message = message[:KEY_BYTES], message[KEY_BYTES:]
                self._note_ephemeral(self._peer_ephemeral, ours=False)
            elif token == "s":
                end = KEY_BYTES + TAG_BYTES
                self.peer_static, message = self._open(message[:end]), message[end:]
            else:
                self._mix_secret(token)
        return self._open(message)

    def keys(self) -> tuple[bytes, bytes]:
        """The key that we seal with and the one that we open with, after the last message."""
        forth, back = _derive(self._chaining_key, b"")
        return (forth, back) if self._initiator else (back, forth)

    def _note_ephemeral(self, public: bytes, *, ours: bool) -> None:
        if ours is self._initiator:
            self.initiator_ephemeral = public
        self._mix_hash(public)

    def _mix_secret(self, token: str) -> None:
        """Diffie-Hellman: the token names the initiator's key, then the responder's."""
        ours, theirs = (0, 1) if self._initiator else (1, 0)
        private = self._ephemeral if token[ours] == "e" else self._static.private
        public = self._peer_ephemeral if token[theirs] == "e" else self.peer_static
        try:
            secret = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # the shared secret is all zeros
            raise HandshakeError(f"invalid key: {error}", protocol="/noise") from None
        self._chaining_key, key = _derive(self._chaining_key, secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _seal(self, plain: bytes) -> bytes:
        """EncryptAndHash."""
        sealed = plain
        if self._cipher is not None:
            sealed = self._cipher.encrypt(pack_nonce(self._nonce), plain, self._hash)
            self._nonce += 1
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        """DecryptAndHash."""
        plain = sealed
        if self._cipher is not None:
            try:
                plain = self._cipher.decrypt(pack_nonce(self._nonce), sealed, self._hash)
            except InvalidTag:
                raise HandshakeError("message does not authenticate", protocol="/noise") from None
            self._nonce += 1
        self._mix_hash(sealed)
        return plain


def _derive(chaining_key: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """HKDF with two outputs, section 4.3."""
    base = hmac.digest(chaining_key, secret, "sha256")
    first = hmac.digest(base, b"\1", "sha256")
    return first, hmac.digest(base, first + b"\2", "sha256")
