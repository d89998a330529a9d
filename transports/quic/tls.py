"""TLS 1.3 as libp2p wants it, on qh3: both sides show a certificate, and each is checked inside the
handshake.

qh3 (pinned to 2.1) lacks the server's half of client authentication; `MutualContext` adds it, and
`self_test` proves at start-up that it does what it should. What it leans on inside qh3 is named at
each place. No session tickets are issued and none are taken, so there is no 0-RTT, and no
handshake without certificates where one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from qh3 import tls
from qh3._hazmat import Buffer
from qh3._hazmat import Certificate as Qh3Certificate
from qh3.quic.packet import (
    QuicTransportParameters,
    pull_quic_transport_parameters,
    push_quic_transport_parameters,
)
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError
from qh3.tls import Direction, Epoch, HandshakeType, SignatureAlgorithm, State

from carrick.errors import HandshakeError
from carrick.identity import PublicKey
from carrick.transports.quic import errors
from carrick.transports.quic.partial_resets import answer_announcement

__all__ = ["Bridge", "CertificateKey", "CheckPeer", "Credentials", "Profile", "load_credentials"]

CheckPeer = Callable[[Sequence[bytes]], PublicKey | None]
"""Judges the certificates that the peer sent (DER, its own first), whose key is proven.

Returns the libp2p identity behind them, if they carry one. Raises: HandshakeError.
"""

CertificateKey = ec.EllipticCurvePrivateKey

MAX_MESSAGE = 32 * 1024  # bytes of an incomplete handshake message; certificates have up to 16 KiB

_ECDSA: dict[int, tuple[str, hashes.HashAlgorithm]] = {
    SignatureAlgorithm.ECDSA_SECP256R1_SHA256: ("secp256r1", hashes.SHA256()),
    SignatureAlgorithm.ECDSA_SECP384R1_SHA384: ("secp384r1", hashes.SHA384()),
    SignatureAlgorithm.ECDSA_SECP521R1_SHA512: ("secp521r1", hashes.SHA512()),
}
_RSA_PSS: dict[int, hashes.HashAlgorithm] = {
    SignatureAlgorithm.RSA_PSS_RSAE_SHA256: hashes.SHA256(),
    SignatureAlgorithm.RSA_PSS_RSAE_SHA384: hashes.SHA384(),
    SignatureAlgorithm.RSA_PSS_RSAE_SHA512: hashes.SHA512(),
}
_RSA_BITS = range(2048, 8192 + 1)  # as for host keys: CVE-2023-39533
SIGNATURE_ALGORITHMS = [
    int(SignatureAlgorithm.ECDSA_SECP256R1_SHA256),
    int(SignatureAlgorithm.ED25519),
    int(SignatureAlgorithm.ECDSA_SECP384R1_SHA384),
    int(SignatureAlgorithm.ECDSA_SECP521R1_SHA512),
    *map(int, _RSA_PSS),
]
"""What `verify_signature` implements: what is asked of the peer, and nothing else is taken."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and its key, in the form that qh3 takes."""

    certificate: Any
    private_key: Any


@dataclass(frozen=True, slots=True)
class Profile:
    """How we handshake for one application protocol (ALPN).

    Args:
        alpn: `libp2p` or `h3`.
        credentials: what we show; a client may have none.
        check_peer: judges the peer's certificate. A server with None asks for no certificate; a
            client must have it.
    """

    alpn: str
    credentials: Credentials | None
    check_peer: CheckPeer | None = field(default=None, repr=False)


def load_credentials(certificate_der: bytes, private_key: CertificateKey) -> Credentials:
    """A certificate and its key, for use in a `Profile`."""
    pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(Qh3Certificate(certificate_der), tls.load_pem_private_key(pem))


def verify_signature(certificate_der: bytes, algorithm: int, data: bytes, signature: bytes) -> None:
    """TLS's proof that the peer holds the key of its certificate.

    Raises:
        tls.Alert: it does not, or in a way that we did not ask for.
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
    except Exception as error:  # a foreign parser reads a stranger's bytes
        raise tls.AlertBadCertificate(f"the certificate is malformed: {error}") from error
    try:
        if algorithm in _ECDSA:
            curve, digest = _ECDSA[algorithm]
            if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == curve:
                return key.verify(signature, data, ec.ECDSA(digest))
        elif algorithm == SignatureAlgorithm.ED25519:
            if isinstance(key, ed25519.Ed25519PublicKey):
                return key.verify(signature, data)
        elif (
            algorithm in _RSA_PSS
            and isinstance(key, rsa.RSAPublicKey)
            and key.key_size in _RSA_BITS
        ):
            digest = _RSA_PSS[algorithm]
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
            return key.verify(signature, data, scheme, digest)
    except InvalidSignature:
        raise tls.AlertDecryptError("CertificateVerify: the signature is wrong") from None
    raise tls.AlertIllegalParameter(f"CertificateVerify: algorithm {algorithm:#x} does not fit")


class _CertificateRequired(tls.Alert):
    description = errors.CERTIFICATE_REQUIRED  # type: ignore[assignment]


class _AskFirst:
    """Stands for our certificate chain, and sends a CertificateRequest when it is put together.

    qh3's server writes `[certificate] + chain` just after EncryptedExtensions, inside the span that
    it adds to the transcript: exactly where the request belongs (RFC 8446 section 4.3.2).
    """

    def __init__(self, context: MutualContext) -> None:
        self._context = context

    def __radd__(self, certificates: list[Any]) -> list[Any]:
        self._context.push_request()
        return certificates


class MutualContext(tls.Context):
    """qh3's TLS state with certificates on both sides. Made by changing the class of a `Context`.

    After the handshake, `peer_chain` holds the peer's certificates (DER), and `peer_key` what
    `check_peer` returned.
    """

    check_peer: CheckPeer | None
    peer_chain: list[bytes]
    peer_key: PublicKey | None
    _request_buffer: Buffer | None
    _flight: list[HandshakeType]
    _last_epoch: int

    @classmethod
    def adopt(cls, context: tls.Context) -> MutualContext:
        context.__class__ = cls
        assert isinstance(context, cls)
        context.check_peer = None
        context.peer_chain = []
        context.peer_key = None
        context._request_buffer = None
        context._flight = []
        context._last_epoch = -1
        context._signature_algorithms = SIGNATURE_ALGORITHMS
        context._compress_certificate_algorithms = None  # nothing to inflate
        return context

    def use(self, profile: Profile) -> None:
        """Handshake as `profile` says. A server calls it once ALPN has chosen."""
        self.check_peer = profile.check_peer
        if profile.credentials is not None:
            self.certificate = profile.credentials.certificate
            self.certificate_private_key = profile.credentials.private_key
        if self.state is State.SERVER_EXPECT_CLIENT_HELLO and profile.check_peer is not None:
            self.certificate_chain = _AskFirst(self)  # type: ignore[assignment]

    def handle_message(
        self, input_data: bytes, output_buf: dict[Epoch, Buffer], epoch: int = -1
    ) -> None:
        if len(self._receive_buffer) + len(input_data) > MAX_MESSAGE:
            raise tls.AlertDecodeError("a handshake message is too long")
        if self._receive_buffer and epoch != self._last_epoch:
            raise tls.AlertUnexpectedMessage("a handshake message spans encryption levels")
        self._last_epoch = epoch
        if self.state is State.SERVER_EXPECT_CLIENT_HELLO:
            self._request_buffer = output_buf[Epoch.HANDSHAKE]
        if self._flight:
            self._receive_buffer += input_data
            self._handle_client_flight(output_buf, epoch)
        else:
            super().handle_message(input_data, output_buf, epoch)

    # --- as a server ------------------------------------------------------------------------------

    def push_request(self) -> None:
        """Write a CertificateRequest with an empty context (RFC 8446 section 4.3.2)."""
        assert self._request_buffer is not None
        buffer = self._request_buffer
        algorithms = b"".join(number.to_bytes(2, "big") for number in SIGNATURE_ALGORITHMS)
        buffer.push_uint8(HandshakeType.CERTIFICATE_REQUEST)
        with tls.push_block(buffer, 3):
            tls.push_opaque(buffer, 1, b"")
            with (
                tls.push_block(buffer, 2),
                tls.push_extension(buffer, tls.ExtensionType.SIGNATURE_ALGORITHMS),
            ):
                tls.push_opaque(buffer, 2, algorithms)
        self._flight = [
            HandshakeType.CERTIFICATE,
            HandshakeType.CERTIFICATE_VERIFY,
            HandshakeType.FINISHED,
        ]

    def _setup_traffic_protection(self, direction: Direction, epoch: Epoch, label: bytes) -> None:
        # qh3 computes the client's Finished in advance, unless ALPS says that there is more to come
        # before it: as there is.
        if self._flight and epoch is Epoch.ONE_RTT:
            self._alps_negotiated = True
        super()._setup_traffic_protection(direction, epoch, label)

    def _handle_client_flight(self, output: dict[Epoch, Buffer], epoch: int) -> None:
        """Certificate, CertificateVerify and Finished, in this order and nothing else."""
        while self._flight and len(self._receive_buffer) >= 4:
            end = 4 + int.from_bytes(self._receive_buffer[1:4], "big")
            if end > MAX_MESSAGE:
                raise tls.AlertDecodeError("a handshake message is too long")
            if len(self._receive_buffer) < end:
                return
            message = self._receive_buffer[:end]
            self._receive_buffer = self._receive_buffer[end:]
            # The base class checks the level too, but is not asked here (RFC 9001 section 4.1.3).
            if epoch != Epoch.HANDSHAKE or message[0] != self._flight[0]:
                raise tls.AlertUnexpectedMessage("the client's flight is out of order")
            buffer = Buffer(data=message)
            match self._flight.pop(0):
                case HandshakeType.CERTIFICATE:
                    certificate = tls.pull_certificate(buffer)
                    if certificate.request_context:
                        raise tls.AlertIllegalParameter("a context that was not given")
                    self._process_certificate(certificate)
                    self._schedule.update_hash(message)
                case HandshakeType.CERTIFICATE_VERIFY:
                    self._verify(buffer, b"TLS 1.3, client CertificateVerify")
                case _:
                    self._server_handle_finished(buffer, output[Epoch.ONE_RTT])
            if not buffer.eof():
                raise tls.AlertDecodeError("bytes behind a handshake message")
        if not self._flight and self._receive_buffer:
            raise tls.AlertUnexpectedMessage("bytes behind Finished")

    # --- on both sides ----------------------------------------------------------------------------

    @property
    def _schedule(self) -> tls.KeySchedule:
        assert self.key_schedule is not None  # since the hellos
        return self.key_schedule

    def _process_certificate(self, certificate: tls.Certificate) -> None:
        self.peer_chain = [der for der, _ in certificate.certificates]
        if not self.peer_chain:
            raise _CertificateRequired("the peer sent no certificate")

    def _verify(self, buffer: Buffer, context: bytes) -> None:
        verify = tls.pull_certificate_verify(buffer)
        signed = self._schedule.certificate_verify_data(context)
        verify_signature(self.peer_chain[0], verify.algorithm, signed, verify.signature)
        if self.check_peer is None:
            raise tls.AlertInternalError("nobody judges the peer's certificate")
        self.peer_key = self.check_peer(self.peer_chain)
        self._schedule.update_hash(buffer.data)

    # --- as a client ------------------------------------------------------------------------------

    def _client_handle_certificate_verify(self, input_buf: Buffer) -> None:
        # Before our own certificate leaves, so a stranger does not learn who we are.
        self._verify(input_buf, b"TLS 1.3, server CertificateVerify")
        self._set_state(State.CLIENT_EXPECT_FINISHED)

    def _client_handle_compressed_certificate(self, input_buf: Buffer) -> None:
        raise tls.AlertUnexpectedMessage("certificate compression was not offered")


class Bridge(QuicTlsBridge):
    """qh3's TLS bridge with a `MutualContext`, and with our transport parameters.

    Args:
        profiles: by ALPN; a client has one.
        max_streams: streams that the peer may have open, bidirectional and unidirectional.
    """

    def __init__(
        self,
        *args: Any,
        profiles: Mapping[str, Profile],
        max_streams: tuple[int, int],
        **keywords: Any,
    ) -> None:
        self._profiles = profiles
        self._max_streams = max_streams
        self.failure: HandshakeError | None = None
        """What `check_peer` said, if that ended the handshake."""
        self.send_secret: tuple[tls.CipherSuite, bytes] | None = None
        """What protects the 1-RTT packets that we send."""
        self.receive_secret: tuple[tls.CipherSuite, bytes] | None = None
        """What protects those of the peer."""
        self.partial_resets = False
        """Whether the peer may send RESET_STREAM_AT."""
        super().__init__(*args, **keywords)
        self.context = MutualContext.adopt(self.tls)
        if self.configuration.is_client:
            (profile,) = profiles.values()
            self.context.use(profile)

    @property
    def peer_chain(self) -> Sequence[bytes]:
        return self.context.peer_chain

    def serialize_transport_parameters(self) -> bytes:
        parameters: QuicTransportParameters = pull_quic_transport_parameters(
            Buffer(data=super().serialize_transport_parameters())
        )
        parameters.initial_max_streams_bidi, parameters.initial_max_streams_uni = self._max_streams
        parameters.google_connection_options = None  # qh3 greets Google's servers
        parameters.initial_rtt = None
        buffer = Buffer(capacity=1024)
        push_quic_transport_parameters(buffer, parameters)
        return bytes(buffer.data)

    def _on_alpn(self, alpn_protocol: str | None) -> None:
        if alpn_protocol is None or alpn_protocol not in self._profiles:
            raise QuicTlsBridgeError(errors.CRYPTO_ERROR + 120, "no common application protocol")
        if not self.configuration.is_client:
            self.context.use(self._profiles[alpn_protocol])
        super()._on_alpn(alpn_protocol)
        if not self.configuration.is_client and alpn_protocol == "h3":
            self._announce_partial_resets()

    def _announce_partial_resets(self) -> None:
        kind = tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS
        theirs = next(data for each, data in self.tls.received_extensions or () if each == kind)
        if answer := answer_announcement(theirs):
            self.partial_resets = True
            ours = self.serialize_transport_parameters() + answer
            self.tls.handshake_extensions = [(kind, ours)]

    def _on_traffic_secret(
        self, direction: Direction, epoch: Epoch, cipher_suite: tls.CipherSuite, secret: bytes
    ) -> None:
        if epoch is Epoch.ONE_RTT:
            if direction is Direction.ENCRYPT:
                self.send_secret = cipher_suite, secret
            else:
                self.receive_secret = cipher_suite, secret
        super()._on_traffic_secret(direction, epoch, cipher_suite, secret)

    def _handle_tls(self, data: bytes, epoch: Epoch) -> None:
        try:
            super()._handle_tls(data, epoch)
        except QuicTlsBridgeError:
            raise
        except HandshakeError as error:
            self.failure = error
            code = errors.CRYPTO_ERROR + errors.BAD_CERTIFICATE
            raise QuicTlsBridgeError(code, "the certificate was refused") from error
        except Exception as error:  # qh3 leaves some malformed messages to its buffer
            code = errors.CRYPTO_ERROR + errors.DECODE_ERROR
            raise QuicTlsBridgeError(code, f"malformed handshake: {error}") from error
