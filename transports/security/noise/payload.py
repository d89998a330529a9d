"""What handshake messages 2 and 3 carry: the sender's identity, and extensions.

Source: libp2p/specs, noise/README.md, "The libp2p Handshake Payload" and "Static Key
Authentication".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from carrick.errors import HandshakeError, IdentityError, ProtocolError
from carrick.identity import PrivateKey, PublicKey
from carrick.wire import GeneratedModule, parse_message

if TYPE_CHECKING:
    from carrick.transports.security.noise.pb import noise_pb2 as pb
else:
    pb = GeneratedModule("carrick.transports.security.noise.pb.noise_pb2")

MAX_PAYLOAD = 16 * 1024  # bytes; the largest honest one has an RSA-8192 key: about 2.1 KiB
MAX_EXTENSION_ITEMS = 100  # go-libp2p p2p/security/noise/transport.go, maxProtoNum

_SIGNATURE_PREFIX = b"noise-libp2p-static-key:"


@dataclass(frozen=True, slots=True)
class PeerPayload:
    """A payload whose signature holds."""

    public_key: PublicKey
    muxers: tuple[str, ...]
    certhashes: tuple[bytes, ...]


def signed_payload(key: PrivateKey, static_public: bytes) -> bytes:
    """The payload that says that `static_public` is a Noise key of `key`'s owner."""
    return pb.NoiseHandshakePayload(
        identity_key=key.public_key.to_protobuf(),
        identity_sig=key.sign(_SIGNATURE_PREFIX + static_public),
    ).SerializeToString()


@lru_cache(64)
def with_extensions(
    payload: bytes, muxers: tuple[str, ...], certhashes: tuple[bytes, ...] = ()
) -> bytes:
    """`payload` with our muxers, best first, and the hashes of our WebTransport certificates.

    Joined protobuf messages are merged by the reader.
    """
    if not muxers and not certhashes:
        return payload
    extensions = pb.NoiseExtensions(stream_muxers=muxers, webtransport_certhashes=certhashes)
    return payload + pb.NoiseHandshakePayload(extensions=extensions).SerializeToString()


def open_payload(data: bytes, peer_static: bytes) -> PeerPayload:
    """Decode and verify the payload of a peer whose Noise static key is `peer_static`.

    A list of more than `MAX_EXTENSION_ITEMS` items counts as not sent.

    Raises:
        HandshakeError: malformed, a field is missing, the key is refused, or the signature is not
            the key's over `peer_static`.
    """
    try:
        payload = parse_message(pb.NoiseHandshakePayload, data)
        key = PublicKey.from_protobuf(payload.identity_key)
        key.verify(_SIGNATURE_PREFIX + peer_static, payload.identity_sig)
    except (IdentityError, ProtocolError) as error:
        raise HandshakeError(f"the peer's identity: {error}", protocol="/noise") from error
    muxers = payload.extensions.stream_muxers
    certhashes = payload.extensions.webtransport_certhashes
    return PeerPayload(
        public_key=key,
        muxers=tuple(muxers) if len(muxers) <= MAX_EXTENSION_ITEMS else (),
        certhashes=tuple(certhashes) if len(certhashes) <= MAX_EXTENSION_ITEMS else (),
    )
