"""The certificate that carries a libp2p identity: made for a host, judged when a peer shows one.

Source: libp2p/specs, `tls/tls.md`. TLS itself proves that the peer holds the certificate's key;
the extension proves that the owner of the host key vouches for that key. Whoever verifies a
certificate here must also have seen TLS's proof. Used by `/tls/1.0.0` and by QUIC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature as ForeignInvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from carrick.errors import HandshakeError, IdentityError, PeerIdMismatch
from carrick.identity import PeerId, PrivateKey, PublicKey
from carrick.transports.security.tls.signed_key import decode_signed_key, encode_signed_key

__all__ = ["HostCertificate", "make_certificate", "verify_certificate", "verify_chain"]

EXTENSION = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
SIGNATURE_PREFIX = b"libp2p-tls-handshake:"
MAX_CERTIFICATE = 16 * 1024
"""Bytes. A certificate with an RSA host key and an RSA key of 8192 bits each has about 5000."""

# Peers' clocks differ, and nothing is gained by an early end: the key lives as long as the
# process. go-libp2p: one hour and 100 years (p2p/security/tls/crypto.go).
_VALID_BEFORE = timedelta(days=1)
_VALID_AFTER = timedelta(days=365 * 100)

_RSA_BITS = range(2048, 8192 + 1)  # as for host keys: CVE-2023-39533
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_HASHES = ("sha256", "sha384", "sha512")
_UNDERSTOOD = {  # extensions that may be critical
    EXTENSION,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """A self-signed certificate and its key, which is not the host key."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make_certificate(key: PrivateKey, *, now: datetime) -> HostCertificate:
    """A fresh P-256 key and a certificate for it that the host key `key` vouches for.

    Args:
        key: the host key.
        now: the time, with a time zone; the certificate is valid from one day before.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    public_key = private_key.public_key()
    signature = key.sign(SIGNATURE_PREFIX + _spki(public_key))
    extension = encode_signed_key(key.public_key.to_protobuf(), signature)
    serial = x509.random_serial_number()
    # RFC 5280 4.1.2.4 wants an issuer that is not empty; this one says nothing about the host
    name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, str(serial))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - _VALID_BEFORE)
        .not_valid_after(now + _VALID_AFTER)
        .add_extension(x509.UnrecognizedExtension(EXTENSION, extension), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    return HostCertificate(certificate, private_key)


def verify_chain(
    chain: Sequence[bytes], *, now: datetime, expected_peer: PeerId | None = None
) -> PublicKey:
    """As `verify_certificate`, for all certificates that a peer sent: there must be exactly one."""
    if len(chain) != 1:
        raise HandshakeError(f"the peer sent {len(chain)} certificates, exactly one is allowed")
    return verify_certificate(chain[0], now=now, expected_peer=expected_peer)


def verify_certificate(
    der: bytes, *, now: datetime, expected_peer: PeerId | None = None
) -> PublicKey:
    """The host key that vouches for a certificate.

    Args:
        der: the certificate as the peer sent it.
        now: the time, with a time zone.
        expected_peer: refuse any other identity.

    Raises:
        PeerIdMismatch: the certificate is good, but of another peer than `expected_peer`.
        HandshakeError: anything else is wrong with it; the message says what.
    """
    if len(der) > MAX_CERTIFICATE:
        raise HandshakeError(
            f"the peer's certificate has {len(der)} bytes, {MAX_CERTIFICATE} allowed"
        )
    try:
        key = _verify(x509.load_der_x509_certificate(der), now)
    except HandshakeError:
        raise
    except IdentityError as error:
        raise HandshakeError(f"the certificate's libp2p extension: {error}") from error
    except ForeignInvalidSignature:
        raise HandshakeError("the certificate's self-signature is wrong") from None
    except Exception as error:
        # A foreign parser reads a stranger's bytes here: whatever it raises ends this handshake
        # and nothing else (libp2p-tls and quic-go fell over exactly this).
        raise HandshakeError(f"the peer's certificate is malformed: {error}") from error
    if expected_peer is not None and key.peer_id != expected_peer:
        raise PeerIdMismatch(
            f"expected {expected_peer}, but {key.peer_id} answered", peer=expected_peer
        )
    return key


def _verify(certificate: x509.Certificate, now: datetime) -> PublicKey:
    if certificate.version is not x509.Version.v3:
        raise HandshakeError("the peer's certificate is not of version 3")
    if now < certificate.not_valid_before_utc:
        raise HandshakeError(
            f"the peer's certificate is not valid before {certificate.not_valid_before_utc}: "
            "compare the clocks"
        )
    if now > certificate.not_valid_after_utc:
        raise HandshakeError(f"the peer's certificate expired at {certificate.not_valid_after_utc}")
    public_key, signature = decode_signed_key(_read_extensions(certificate))
    host_key = PublicKey.from_protobuf(public_key)
    _verify_self_signature(certificate)
    host_key.verify(SIGNATURE_PREFIX + _spki(certificate.public_key()), signature)
    return host_key


def _read_extensions(certificate: x509.Certificate) -> bytes:
    """The value of the libp2p extension. Duplicates are refused by the parser."""
    found: bytes | None = None
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise HandshakeError(
                f"the peer's certificate has an unknown critical extension "
                f"{extension.oid.dotted_string}"
            )
        value = extension.value
        if extension.oid == EXTENSION and isinstance(value, x509.UnrecognizedExtension):
            found = value.value
        # RFC 8446 4.4.2.2
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise HandshakeError("the key of the peer's certificate is not for signing")
    if found is None:
        raise HandshakeError("the peer's certificate has no libp2p extension")
    return found


def _verify_self_signature(certificate: x509.Certificate) -> None:
    """Raises: HandshakeError for a refused algorithm, cryptography's InvalidSignature."""
    hash_algorithm = certificate.signature_hash_algorithm
    if hash_algorithm is not None and hash_algorithm.name not in _HASHES:
        raise HandshakeError(f"the peer's certificate is signed with {hash_algorithm.name}")
    key = certificate.public_key()
    scheme = certificate.signature_algorithm_parameters
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(scheme, ec.ECDSA):
        if key.curve.name not in _CURVES:
            raise HandshakeError(f"the peer's certificate has a key on {key.curve.name}")
        key.verify(signature, signed, scheme)
    elif isinstance(key, rsa.RSAPublicKey) and isinstance(scheme, padding.PKCS1v15 | padding.PSS):
        if key.key_size not in _RSA_BITS:
            raise HandshakeError(f"the peer's certificate has an RSA key of {key.key_size} bits")
        assert hash_algorithm is not None
        key.verify(signature, signed, scheme, hash_algorithm)
    elif (
        isinstance(key, ed25519.Ed25519PublicKey)
        and certificate.signature_algorithm_oid == SignatureAlgorithmOID.ED25519
    ):
        key.verify(signature, signed)
    else:
        raise HandshakeError(
            "the peer's certificate has an unsupported key or signature algorithm "
            f"{certificate.signature_algorithm_oid.dotted_string}"
        )


def _spki(key: object) -> bytes:
    """SubjectPublicKeyInfo in DER, which the host key signs."""
    encode = key.public_bytes  # type: ignore[attr-defined]
    return bytes(encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
