"""The certificates of a server, and how a client judges one by its hash.

A certificate is valid for 14 days. Which one is used depends on the host key and the time alone, so
a restarted host uses the same ones: those that it has told the network before.

Sources: libp2p/specs, `webtransport/README.md`, "Certificates"; W3C WebTransport, "custom
certificate requirements"; the schedule is that of go-libp2p, p2p/transport/webtransport.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from carrick.errors import HandshakeError
from carrick.identity import PrivateKey
from carrick.transports.quic.tls import Credentials, load_credentials

__all__ = ["CLOCK_SKEW", "VALIDITY", "Certificates", "ServerCertificate", "check_certificate"]

VALIDITY = timedelta(days=14)
CLOCK_SKEW = timedelta(hours=1)
MAX_CERTIFICATE = 16 * 1024  # bytes, as for libp2p's TLS
_PERIOD = VALIDITY - 2 * CLOCK_SKEW  # from the use of one certificate to that of the next
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHA2_256 = b"\x12\x20"  # a multihash's code and length
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KEPT = 4


def _now() -> datetime:
    return datetime.now(UTC)


def certhash(der: bytes) -> bytes:
    """The SHA-256 of a certificate, as a multihash."""
    return _SHA2_256 + sha256(der).digest()


@dataclass(frozen=True)
class ServerCertificate:
    """A self-signed certificate."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @cached_property
    def hash(self) -> bytes:
        """The multihash that addresses carry."""
        return certhash(self.der)

    @cached_property
    def credentials(self) -> Credentials:
        return load_credentials(self.der, self.private_key)


class Certificates:
    """The certificates of one host, past and future.

    Args:
        key: the host key.
        clock: the time of day, with a time zone.
    """

    def __init__(self, key: PrivateKey, *, clock: Callable[[], datetime] = _now) -> None:
        self._secret = key.to_protobuf()
        self._clock = clock
        self._made: OrderedDict[int, ServerCertificate] = OrderedDict()
        # Not all hosts of a network shall change at the same moment.
        digest = sha256(key.public_key.to_protobuf()).digest()
        self._offset = timedelta(
            seconds=int.from_bytes(digest[:8], "big") % _PERIOD.total_seconds()
        )

    @property
    def current(self) -> ServerCertificate:
        """The one to show now: valid for an hour already, and for one more at least."""
        return self._get(self._index)

    @property
    def published(self) -> tuple[bytes, bytes]:
        """The hashes for our addresses: of the current certificate and of the next."""
        index = self._index
        return self._get(index).hash, self._get(index + 1).hash

    @property
    def confirmed(self) -> tuple[bytes, ...]:
        """The hashes that a handshake confirms: of the one before, too."""
        return self._get(self._index - 1).hash, *self.published

    @property
    def _index(self) -> int:
        return (self._clock() - CLOCK_SKEW - _EPOCH - self._offset) // _PERIOD

    def _get(self, index: int) -> ServerCertificate:
        made = self._made.get(index)
        if made is None:
            made = self._made[index] = self._make(_EPOCH + self._offset + index * _PERIOD)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made

    def _make(self, start: datetime) -> ServerCertificate:
        salt = int(start.timestamp()).to_bytes(8, "big", signed=True)
        info = b"carrick webtransport certificate"
        seed = HKDF(hashes.SHA256(), length=56, salt=salt, info=info).derive(self._secret)
        scalar = int.from_bytes(seed[:48], "big") % (_P256_ORDER - 1) + 1
        private_key = ec.derive_private_key(scalar, ec.SECP256R1())
        serial = int.from_bytes(seed[48:], "big") >> 1 | 1 << 62
        # RFC 5280 4.1.2.4 wants an issuer that is not empty; this one says nothing about the host.
        name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, str(serial))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(serial)
            .not_valid_before(start)
            .not_valid_after(start + VALIDITY)
            # Chromium refuses a certificate without any extension.
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(private_key, hashes.SHA256(), ecdsa_deterministic=True)
        )
        return ServerCertificate(certificate, private_key)


def check_certificate(chain: Sequence[bytes], *, accepted: Sequence[bytes], now: datetime) -> None:
    """Judge a server's certificate as a browser does that was given its hash.

    Args:
        chain: the certificates that the server sent (DER), its own first.
        accepted: multihashes.
        now: the time, with a time zone.

    Raises:
        HandshakeError: it is none of the accepted ones, is not valid now, is valid for more than
            14 days, or its key is not an ECDSA one on P-256.
    """
    if not chain or len(chain[0]) > MAX_CERTIFICATE:
        raise HandshakeError("the server showed no certificate, or an enormous one", protocol="h3")
    if certhash(chain[0]) not in accepted:
        raise HandshakeError(
            "the server's certificate is none of those in its address", protocol="h3"
        )
    try:
        certificate = x509.load_der_x509_certificate(chain[0])
        key = certificate.public_key()
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:  # a foreign parser reads a stranger's bytes
        raise HandshakeError(f"the server's certificate: {error}", protocol="h3") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise HandshakeError("the server's certificate has no P-256 key", protocol="h3")
    if end - start > VALIDITY:
        raise HandshakeError(
            f"the server's certificate is valid for {end - start}, more than 14 days",
            protocol="h3",
        )
    if not start <= now <= end:
        raise HandshakeError(
            f"the server's certificate is valid from {start} to {end}, not now", protocol="h3"
        )
