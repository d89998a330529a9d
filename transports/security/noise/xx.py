"""`Noise_XX_25519_ChaChaPoly_SHA256`: the handshake pattern XX.

-> e
<- e, ee, s, es
-> s, se

Source: the Noise Protocol Framework, revision 34, sections 5 and 7.5.
"""

from __future__ import annotations

from hashlib import sha256
from hmac import digest as hmac_digest
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from carrick.errors import HandshakeError

PROTOCOL_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"  # 32 bytes, and so its own first hash
KEY_BYTES = 32
TAG_BYTES = 16

# The tokens of each message. Those of two letters are a Diffie-Hellman exchange between a key of
# the initiator (first letter) and one of the responder.
_MESSAGES = (("e",), ("e", "ee", "s", "es"), ("s", "se"))

_pack_nonce = Struct("<4xQ").pack  # section 12.3


class StaticKey:
    """A new X25519 key pair. It lives in memory only."""

    __slots__ = ("private", "public")

    def __init__(self) -> None:
        self.private = X25519PrivateKey.generate()
        self.public = self.private.public_key().public_bytes_raw()


class XX:
    """One side of the pattern. `write` and `read` take turns; the initiator writes first."""

    __slots__ = ("_chain", "_cipher", "_hash", "_initiator", "_nonce", "_ours", "_theirs", "_turn")

    def __init__(self, static: StaticKey, *, initiator: bool) -> None:
        self._initiator = initiator
        self._ours = {"s": static}
        self._theirs: dict[str, bytes] = {}
        self._turn = 0
        self._chain = PROTOCOL_NAME
        self._hash = sha256(PROTOCOL_NAME).digest()  # with the prologue, which is empty
        self._cipher: ChaCha20Poly1305 | None = None
        self._nonce = 0

    def write(self, payload: bytes) -> bytes:
        """Our next message.

        Raises:
            HandshakeError: the peer's key of the message before is a point of low order.
        """
        message = bytearray()
        for token in self._tokens():
            if token == "e":
                self._ours["e"] = ephemeral = StaticKey()
                self._mix_hash(ephemeral.public)
                message += ephemeral.public
            elif token == "s":
                message += self._seal(self._ours["s"].public)
            else:
                self._exchange(token)
        return bytes(message + self._seal(payload))

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's next message. The caller has checked the message's length.

        Raises:
            HandshakeError: it does not authenticate, or a key in it is a point of low order.
        """
        at = 0
        for token in self._tokens():
            if token == "e":
                self._theirs["e"] = key = message[at : at + KEY_BYTES]
                at += KEY_BYTES
                self._mix_hash(key)
            elif token == "s":
                end = at + KEY_BYTES + TAG_BYTES
                self._theirs["s"] = self._open(message[at:end])
                at = end
            else:
                self._exchange(token)
        return self._open(message[at:])

    @property
    def peer_static(self) -> bytes:
        """The peer's static public key, once the message that has it was read."""
        return self._theirs["s"]

    @property
    def initiator_ephemeral(self) -> bytes:
        """The public key in the first message, once that was written or read."""
        return self._ours["e"].public if self._initiator else self._theirs["e"]

    def keys(self) -> tuple[bytes, bytes]:
        """The key that we seal with and the one that we open with, after the last message."""
        first, second = _derive(self._chain, b"")
        return (first, second) if self._initiator else (second, first)

    def _tokens(self) -> tuple[str, ...]:
        self._turn += 1
        return _MESSAGES[self._turn - 1]

    def _exchange(self, token: str) -> None:
        ours, theirs = tuple(token if self._initiator else reversed(token))
        peer = X25519PublicKey.from_public_bytes(self._theirs[theirs])
        try:
            secret = self._ours[ours].private.exchange(peer)
        except ValueError as error:  # the shared secret is all zeros
            raise HandshakeError(f"invalid key: {error}", protocol="/noise") from None
        self._chain, key = _derive(self._chain, secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def _mix_hash(self, data: bytes) -> None:
        self._hash = sha256(self._hash + data).digest()

    def _seal(self, plain: bytes) -> bytes:
        sealed = plain
        if self._cipher is not None:
            sealed = self._cipher.encrypt(_pack_nonce(self._nonce), plain, self._hash)
            self._nonce += 1
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = sealed
        if self._cipher is not None:
            try:
                plain = self._cipher.decrypt(_pack_nonce(self._nonce), sealed, self._hash)
            except InvalidTag:
                raise HandshakeError("message does not authenticate", protocol="/noise") from None
            self._nonce += 1
        self._mix_hash(sealed)
        return plain


def _derive(chain: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """HKDF of section 4.3, with two outputs."""
    key = hmac_digest(chain, secret, "sha256")
    first = hmac_digest(key, b"\x01", "sha256")
    return first, hmac_digest(key, first + b"\x02", "sha256")
