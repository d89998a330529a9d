"""Peers that keep the rules of `/tls/1.0.0`, and peers that break them one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from carrick.errors import HandshakeError
from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Role
from carrick.transports.security.tls import HostCertificate, Tls, TlsHandshake
from carrick.transports.security.tls.certificate import EXTENSION, SIGNATURE_PREFIX
from carrick.transports.security.tls.frames import APPLICATION_DATA, HANDSHAKE
from carrick.transports.security.tls.keys import TrafficSecret
from carrick.transports.security.tls.messages import KEY_UPDATE
from carrick.transports.security.tls.signed_key import encode_signed_key

YAMUX = "/yamux/1.0.0"
MPLEX = "/mplex/6.7.0"


def now() -> datetime:
    return datetime.now(UTC)


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def extension_for(key: PrivateKey, certificate_key: Any) -> bytes:
    signature = key.sign(SIGNATURE_PREFIX + spki(certificate_key))
    return encode_signed_key(key.public_key.to_protobuf(), signature)


def craft(
    *,
    certificate_key: Any,
    extension: bytes | None,
    signer: Any = None,
    critical: bool = False,
    before: timedelta = timedelta(hours=-1),
    after: timedelta = timedelta(hours=1),
    algorithm: hashes.HashAlgorithm | None = hashes.SHA256(),  # noqa: B008
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    **sign_options: Any,
) -> HostCertificate:
    """A certificate with any defect that a builder can make."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "libp2p.io")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(certificate_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + before)
        .not_valid_after(now() + after)
    )
    if extension is not None:
        unrecognized = x509.UnrecognizedExtension(EXTENSION, extension)
        builder = builder.add_extension(unrecognized, critical=critical)
    for value, is_critical in more:
        builder = builder.add_extension(value, critical=is_critical)
    certificate = builder.sign(signer or certificate_key, algorithm, **sign_options)
    return HostCertificate(certificate, certificate_key)


def with_certificate(key: PrivateKey, certificate: HostCertificate) -> Tls:
    tls = Tls(key)
    tls.certificate = certificate
    return tls


def client(tls: Tls, peer: PeerId | None = None, muxers: Sequence[str] = (YAMUX,)) -> TlsHandshake:
    return tls.handshake(Role.CLIENT, expected_peer=peer, muxers=muxers)


def server(tls: Tls, peer: PeerId | None = None, muxers: Sequence[str] = (YAMUX,)) -> TlsHandshake:
    return tls.handshake(Role.SERVER, expected_peer=peer, muxers=muxers)


def exchange(
    one: TlsHandshake, other: TlsHandshake
) -> tuple[HandshakeError | None, HandshakeError | None, bytes]:
    """Carry bytes until nothing moves.

    Returns the errors of both sides, and what arrived at `one` after its session was there.
    """
    errors: list[HandshakeError | None] = [None, None]
    late = b""
    for _ in range(8):
        for at, (sender, receiver) in enumerate(((other, one), (one, other))):
            output = sender.take_output()
            if not output or errors[at] is not None:
                continue
            if receiver.session is not None:
                late += output
                continue
            try:
                receiver.receive(output)
            except HandshakeError as error:
                errors[at] = error.with_traceback(None)
    return errors[0], errors[1], late


class RawPeer:
    """pyOpenSSL without any of our rules, over memory buffers."""

    def __init__(self, context: SSL.Context, role: Role) -> None:
        self.tls = SSL.Connection(context)
        if role is Role.CLIENT:
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()
        self.error: SSL.Error | None = None

    def step(self, received: bytes = b"") -> bytes:
        """Take bytes, give bytes. An error is kept in `error`."""
        if received:
            self.tls.bio_write(received)
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error
        return self.output()

    def output(self) -> bytes:
        try:
            return self.tls.bio_read(1 << 17)
        except SSL.WantReadError:
            return b""


def raw_context(certificate: HostCertificate | None = None) -> SSL.Context:
    """A context that accepts everybody."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.private_key)
    return context


def new_certificate_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Sealer:
    """Writes any record, as a peer could that has the keys."""

    def __init__(self, secret: TrafficSecret) -> None:
        self.use(secret)

    def use(self, secret: TrafficSecret) -> None:
        self.secret = secret
        self._cipher, self._iv, self.sequence = secret.cipher(), secret.iv(), 0

    def inner(self, inner: bytes, *, header: bytes = b"\x17\x03\x03") -> bytes:
        header += (len(inner) + 16).to_bytes(2, "big")
        nonce = (self._iv ^ self.sequence).to_bytes(12, "big")
        self.sequence += 1
        return header + self._cipher.encrypt(nonce, inner, header)

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        return self.inner(content + bytes((kind,)))

    def update(self, message: bytes = KEY_UPDATE) -> bytes:
        sealed = self.record(message, HANDSHAKE)
        self.use(self.secret.updated())
        return sealed
