"""The QUIC handshake, between two engines in memory: both sides prove who they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from qh3 import tls
from qh3._hazmat import Certificate as Qh3Certificate

from carrick.errors import HandshakeError, PeerIdMismatch
from carrick.identity import PrivateKey, PublicKey
from carrick.transports.quic import errors, selftest
from carrick.transports.quic.backend import Established, Negotiated, StreamData
from carrick.transports.quic.identity import HostIdentity
from carrick.transports.quic.tls import (
    SIGNATURE_ALGORITHMS,
    Credentials,
    Profile,
    load_credentials,
)
from carrick.transports.security.tls.certificate import EXTENSION, SIGNATURE_PREFIX
from carrick.transports.security.tls.signed_key import encode_signed_key
from tests.support.quic import EnginePair, accept_any
from tests.support.tls_defects import DEFECTS as CRAFTED_DEFECTS

NOW = datetime.now(UTC)


def certificate(
    host: PrivateKey | None,
    key: object | None = None,
    *,
    expired: bool = False,
    vouched_by: PrivateKey | None = None,
) -> Credentials:
    """A certificate for `key`, with the identity `host` in it, perhaps defective."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()  # type: ignore[attr-defined]
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=3))
        .not_valid_after(NOW + timedelta(days=-1 if expired else 1))
    )
    if host is not None:
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        signature = (vouched_by or host).sign(SIGNATURE_PREFIX + spki)
        value = encode_signed_key(host.public_key.to_protobuf(), signature)
        builder = builder.add_extension(x509.UnrecognizedExtension(EXTENSION, value), False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.sign(key, digest)  # type: ignore[arg-type]
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return Credentials(
        Qh3Certificate(made.public_bytes(Encoding.DER)), tls.load_pem_private_key(pem)
    )


def showing(credentials: Credentials | None) -> Profile:
    """A peer that shows this, and takes whoever is there."""
    return Profile("libp2p", credentials, accept_any)


def connect(client: Profile | None = None, server: Profile | None = None) -> EnginePair:
    pair = EnginePair(client, server)
    pair.exchange()
    pair.sleep(0.2)
    return pair


def test_both_sides_learn_who_the_other_is() -> None:
    ours, theirs = PrivateKey.generate(), PrivateKey.generate()
    pair = connect(HostIdentity(ours).profile(theirs.peer_id), HostIdentity(theirs).profile())
    assert pair.established("client") and pair.established("server")
    assert pair.server is not None
    assert pair.client.peer_key == theirs.public_key
    assert pair.server.peer_key == ours.public_key
    assert len(pair.client.peer_chain) == len(pair.server.peer_chain) == 1


def test_alpn_is_known_before_the_identity() -> None:
    pair = connect()
    kinds = [type(event) for event in pair.events["server"]]
    assert kinds.index(Negotiated) < kinds.index(Established)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa"],
)
@pytest.mark.parametrize("side", ["client", "server"])
def test_certificate_keys_of_other_implementations(key: object, side: str) -> None:
    host = PrivateKey.generate()
    theirs = showing(certificate(host, key))
    ours = HostIdentity(PrivateKey.generate()).profile()
    pair = connect(theirs, ours) if side == "client" else connect(ours, theirs)
    assert pair.established("client") and pair.established("server")
    judge = pair.server if side == "client" else pair.client
    assert judge is not None and judge.peer_key == host.public_key


DEFECTS = {
    "no libp2p extension": lambda: certificate(None),
    "expired": lambda: certificate(PrivateKey.generate(), expired=True),
    "vouched for by another": lambda: certificate(
        PrivateKey.generate(), vouched_by=PrivateKey.generate()
    ),
    "of another's key": lambda: Credentials(
        certificate(PrivateKey.generate()).certificate,
        certificate(PrivateKey.generate()).private_key,
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_client_with_a_bad_certificate_is_refused(name: str) -> None:
    pair = connect(showing(DEFECTS[name]()))
    assert not pair.established("server")
    closed = pair.closed("client")
    assert closed is not None and closed.remote and closed.code >= errors.CRYPTO_ERROR
    assert not any(isinstance(event, StreamData) for event in pair.events["server"])


@pytest.mark.parametrize("name", DEFECTS)
def test_a_server_with_a_bad_certificate_is_refused(name: str) -> None:
    """And it does not learn who we are."""
    pair = connect(server=showing(DEFECTS[name]()))
    assert not pair.established("client")
    assert pair.server is not None and not pair.server.peer_chain
    closed = pair.closed("server")
    assert closed is not None and closed.remote and closed.code >= errors.CRYPTO_ERROR


# What does not fit into qh3's own buffers cannot be sent with it.
CRAFTED = [name for name in CRAFTED_DEFECTS if name != "extension of 60 KiB"]


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_certificates_are_refused_on_both_sides(name: str) -> None:
    made = CRAFTED_DEFECTS[name]()
    shown = showing(load_credentials(made.der, made.private_key))
    assert not connect(shown).established("server")
    assert not connect(server=shown).established("client")


def test_a_client_without_a_certificate_is_refused() -> None:
    pair = connect(showing(None))
    assert not pair.established("server")
    closed = pair.closed("client")
    assert closed is not None and closed.code == errors.CRYPTO_ERROR + errors.CERTIFICATE_REQUIRED


def test_the_wrong_peer_is_refused() -> None:
    theirs = PrivateKey.generate()
    ours = HostIdentity(PrivateKey.generate())
    pair = connect(ours.profile(PrivateKey.generate().peer_id), HostIdentity(theirs).profile())
    assert isinstance(pair.client.failure, PeerIdMismatch)
    assert not pair.established("client") and not pair.established("server")


def test_a_chain_of_two_is_refused() -> None:
    host = PrivateKey.generate()
    shown = certificate(host)

    pair = EnginePair(showing(shown))
    assert pair.client._bridge is not None
    pair.client._bridge.context.certificate_chain = [shown.certificate]
    pair.exchange()
    assert not pair.established("server")


def test_h3_asks_for_no_certificate() -> None:
    seen: list[Sequence[bytes]] = []

    def check(chain: Sequence[bytes]) -> PublicKey | None:
        seen.append(chain)
        return None

    server = Profile("h3", certificate(None), check_peer=None)
    pair = connect(Profile("h3", None, check), server)
    assert pair.established("client") and pair.established("server")
    assert len(seen) == 1
    assert pair.server is not None and pair.server.peer_key is None and not pair.server.peer_chain


def test_a_client_that_judges_nothing_is_a_mistake() -> None:
    pair = connect(Profile("libp2p", None, check_peer=None))
    assert not pair.established("client")


def test_no_common_protocol() -> None:
    pair = connect(Profile("h3", None, accept_any))
    assert not pair.established("client") and not pair.established("server")


def test_a_judge_that_fails_ends_only_the_handshake() -> None:
    def fail(chain: Sequence[bytes]) -> PublicKey | None:
        raise HandshakeError("no")

    pair = connect(Profile("libp2p", certificate(None), fail))
    assert isinstance(pair.client.failure, HandshakeError)
    assert pair.closed("client") is not None


def test_only_what_the_verifier_knows_is_asked_for() -> None:
    context = connect().client._bridge
    assert context is not None
    assert context.context._signature_algorithms == SIGNATURE_ALGORITHMS
    assert 0x0201 not in SIGNATURE_ALGORITHMS and 0x0203 not in SIGNATURE_ALGORITHMS  # SHA-1


def test_no_tickets() -> None:
    pair = connect()
    assert pair.server is not None
    assert pair.server._bridge is not None
    assert pair.server._bridge.tls.new_session_ticket_cb is None
    assert pair.server._bridge.tls.get_session_ticket_cb is None


def test_the_self_test_passes_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    selftest.require_client_authentication.cache_clear()
    selftest.require_client_authentication()
    selftest.require_client_authentication.cache_clear()
    monkeypatch.setattr(
        "carrick.transports.quic.tls.MutualContext.push_request", lambda context: None
    )
    with pytest.raises(Exception, match="self-test"):
        selftest.require_client_authentication()
    selftest.require_client_authentication.cache_clear()


def test_0_rtt_is_not_offered() -> None:
    pair = connect()
    assert pair.client._bridge is not None and not pair.client._bridge.tls.early_data_accepted
    assert pair.client.configuration.session_ticket is None
