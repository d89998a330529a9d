"""The libp2p certificate: vectors, and every defect is refused."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from carrick.errors import HandshakeError, PeerIdMismatch
from carrick.identity import KeyType, PeerId, PrivateKey
from carrick.identity.der import DerReader
from carrick.transports.security.tls import (
    HostCertificate,
    make_certificate,
    verify_certificate,
    verify_chain,
)
from carrick.transports.security.tls.certificate import EXTENSION, SIGNATURE_PREFIX
from carrick.transports.security.tls.signed_key import (
    decode_signed_key,
    encode_signed_key,
)
from tests.support.tls_defects import DEFECTS, GOOD, HOST, KEY
from tests.support.tls_peers import craft, extension_for, now, spki

# libp2p/specs, tls/tls.md, "Test vectors": (certificate, peer id)
VALID = {
    "ed25519": (
        "308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309"
        "6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936"
        "303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301"
        "313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132"
        "721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
        "e381569ea37c307a3078060a2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c"
        "4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195dbb08e706b6651e024fda6cf"
        "b8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0bf909300a"
        "06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc60"
        "71ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77",
        "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv",
    ),
    "ecdsa": (
        "308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309"
        "6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936"
        "303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301"
        "313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132"
        "721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
        "e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a"
        "8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c97315"
        "5de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045"
        "0220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a022100aa59d704a931b5"
        "f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220"
        "799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c77"
        "9be86581d3e31c01871ad5d1f3435bcf375cb0e5088a",
        "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE",
    ),
    "secp256k1": (
        "308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309"
        "6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936"
        "303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301"
        "313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132"
        "721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37"
        "e381569ea38184308181307f060a2b0601040183a25a01010471306f0425080212210206dc6968726765b820"
        "f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15a991961f0d08cd15425bb95e"
        "c93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa337cfb6282f188de0666"
        "d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b3f774a08b7084964"
        "6b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6"
        "b5d46899cef0",
        "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs",
    ),
}
INVALID = (
    "308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a13096c69"
    "627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f3430393630313031"
    "3133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301313059301306"
    "072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132721bb9d7a84c4f03"
    "80b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37e381569ea381c23081bf"
    "3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a8648ce3d020106082a8648ce"
    "3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c973155de0bb5a96fedf6cb5d52da7563e"
    "794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045022100bb6e03577b7cc7a3cd1558df0d"
    "a2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6202adba24ee0362e490641ac45c240db71fe"
    "955f2c5cf8df6e300a06082a8648ce3d0403020348003045022100e847f267f43717358f850355bdcabbefb2cfbf"
    "8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57a7e8b3989e470325de4406e52e084e34a3fd56eef0d0"
    "df"
)


def der(certificate: HostCertificate) -> bytes:
    return certificate.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize("name", VALID)
def test_vector_valid(name: str) -> None:
    certificate, peer = VALID[name]
    expected = PeerId.parse(peer)
    key = verify_certificate(bytes.fromhex(certificate), now=now(), expected_peer=expected)
    assert key.peer_id == expected


def test_vector_invalid() -> None:
    with pytest.raises(HandshakeError):
        verify_certificate(bytes.fromhex(INVALID), now=now())


@pytest.mark.parametrize("name", VALID)
def test_vector_of_another_peer(name: str) -> None:
    with pytest.raises(PeerIdMismatch) as caught:
        verify_certificate(
            bytes.fromhex(VALID[name][0]), now=now(), expected_peer=HOST.public_key.peer_id
        )
    assert VALID[name][1] in str(caught.value)


@pytest.mark.parametrize("type", list(KeyType))
def test_round_trip(type: KeyType) -> None:
    host = PrivateKey.generate(type)
    made = make_certificate(host, now=now())
    key = verify_certificate(made.der, now=now(), expected_peer=host.peer_id)
    assert key == host.public_key


def test_made_certificate_follows_the_specification() -> None:
    made = make_certificate(HOST, now=now())
    certificate = made.certificate
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    assert certificate.version is x509.Version.v3
    assert certificate.subject == certificate.issuer and len(certificate.subject) == 1
    assert [each.oid for each in certificate.extensions] == [EXTENSION]
    assert not certificate.extensions[0].critical
    # RFC 5280 4.1: [1] issuerUniqueID and [2] subjectUniqueID would stand before [3] extensions
    assert _tags(certificate.tbs_certificate_bytes)[-2:] == [0x30, 0xA3]
    assert certificate.not_valid_after_utc > now() + timedelta(days=365 * 50)
    other = make_certificate(HOST, now=now())
    assert other.certificate.serial_number != certificate.serial_number
    assert spki(other.private_key) != spki(made.private_key)


def _tags(sequence: bytes) -> list[int]:
    reader = DerReader(DerReader(sequence).element(0x30))
    tags = []
    for tag in (0xA0, 0x02, 0x30, 0x30, 0x30, 0x30, 0x30, 0x81, 0x82, 0xA3):
        with contextlib.suppress(ValueError):
            reader.element(tag)
            tags.append(tag)
    reader.end()
    return tags


def test_validity_at_its_edges() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = make_certificate(HOST, now=start)
    before = made.certificate.not_valid_before_utc
    after = made.certificate.not_valid_after_utc
    for good in (before, start, after):
        verify_certificate(made.der, now=good)
    for bad in (before - timedelta(seconds=1), after + timedelta(seconds=1)):
        with pytest.raises(HandshakeError, match="not valid before|expired"):
            verify_certificate(made.der, now=bad)


@pytest.mark.parametrize("critical", [False, True])
def test_extension_may_be_critical(critical: bool) -> None:
    certificate = craft(certificate_key=KEY, extension=extension_for(HOST, KEY), critical=critical)
    assert verify_certificate(der(certificate), now=now()) == HOST.public_key


def test_unknown_extension_that_is_not_critical_is_ignored() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    usage = x509.BasicConstraints(ca=True, path_length=None)
    certificate = craft(
        certificate_key=KEY,
        extension=extension_for(HOST, KEY),
        more=[(unknown, False), (usage, True)],
    )
    assert verify_certificate(der(certificate), now=now()) == HOST.public_key


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (ec.generate_private_key(ec.SECP384R1()), {"algorithm": hashes.SHA384()}),
        (ec.generate_private_key(ec.SECP521R1()), {"algorithm": hashes.SHA512()}),
        (ed25519.Ed25519PrivateKey.generate(), {"algorithm": None}),
        (rsa.generate_private_key(65537, 2048), {}),
        (
            rsa.generate_private_key(65537, 2048),
            {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)},
        ),
    ],
    ids=["p384", "p521", "ed25519", "rsa-pkcs1", "rsa-pss"],
)
def test_other_certificate_keys(key: Any, options: dict[str, Any]) -> None:
    certificate = craft(certificate_key=key, extension=extension_for(HOST, key), **options)
    assert verify_certificate(der(certificate), now=now()) == HOST.public_key


def _two_key_extensions() -> bytes:
    """The libp2p extension twice: built by renaming an extension of the same length."""
    twin = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.2"), GOOD)
    certificate = craft(certificate_key=KEY, extension=GOOD, more=[(twin, False)])
    last = bytes.fromhex("0a2b0601040183a25a0102")
    return der(certificate).replace(last, last[:-1] + b"\x01")


@pytest.mark.parametrize("name", DEFECTS)
def test_defect(name: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        verify_certificate(der(DEFECTS[name]()), now=now())
    assert caught.value.message
    assert not isinstance(caught.value, PeerIdMismatch)


def test_extension_twice() -> None:
    with pytest.raises(HandshakeError):
        verify_certificate(_two_key_extensions(), now=now())


@pytest.mark.parametrize(
    ("key", "strong", "weak", "name"),
    [
        (rsa.generate_private_key(65537, 2048), "2a864886f70d01010b", "2a864886f70d010104", "md5"),
        (rsa.generate_private_key(65537, 2048), "2a864886f70d01010b", "2a864886f70d010105", "sha1"),
        (KEY, "2a8648ce3d040302", "2a8648ce3d040301", "sha224"),
    ],
)
def test_weak_hash(key: Any, strong: str, weak: str, name: str) -> None:
    """cryptography does not sign with these any more: the algorithm is renamed in a good one."""
    made = der(craft(certificate_key=key, extension=extension_for(HOST, key)))
    renamed = made.replace(bytes.fromhex(strong), bytes.fromhex(weak))
    assert renamed != made
    with pytest.raises(HandshakeError, match=f"signed with {name}"):
        verify_certificate(renamed, now=now())


@pytest.mark.parametrize(
    ("key", "options"),
    [
        (ec.generate_private_key(ec.SECP256K1()), {}),
        (ed448.Ed448PrivateKey.generate(), {"algorithm": None}),
        (rsa.generate_private_key(65537, 1024), {}),
    ],
    ids=["secp256k1", "ed448", "rsa1024"],
)
def test_refused_certificate_keys(key: Any, options: dict[str, Any]) -> None:
    certificate = craft(certificate_key=key, extension=extension_for(HOST, key), **options)
    with pytest.raises(HandshakeError):
        verify_certificate(der(certificate), now=now())


def test_certificate_of_version_1() -> None:
    made = der(craft(certificate_key=KEY, extension=GOOD))
    # the version [0] { INTEGER 2 } becomes 0: the same bytes, but extensions need version 3
    with pytest.raises(HandshakeError):
        verify_certificate(
            made.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00"), now=now()
        )


def test_cut_at_each_byte() -> None:
    made = make_certificate(HOST, now=now()).der
    for cut in range(len(made)):
        with pytest.raises(HandshakeError):
            verify_certificate(made[:cut], now=now())
    with pytest.raises(HandshakeError):
        verify_certificate(made + b"\0", now=now())


def test_each_byte_changed() -> None:
    """Signatures cover every byte, but for the count of unused bits in front of the last one."""
    made = make_certificate(HOST, now=now()).der
    passed = 0
    for at in range(len(made)):
        changed = made[:at] + bytes((made[at] ^ 0x01,)) + made[at + 1 :]
        try:
            assert verify_certificate(changed, now=now()) == HOST.public_key
            passed += 1
        except HandshakeError:
            pass
    assert passed <= 1


def test_too_long() -> None:
    with pytest.raises(HandshakeError, match="allowed"):
        verify_certificate(bytes(64 << 10), now=now())


@pytest.mark.parametrize("count", [0, 2, 3])
def test_chain_of_other_than_one(count: int) -> None:
    made = make_certificate(HOST, now=now()).der
    assert verify_chain([made], now=now()) == HOST.public_key
    with pytest.raises(HandshakeError, match="exactly one"):
        verify_chain([made] * count, now=now())


def test_signature_prefix() -> None:
    assert SIGNATURE_PREFIX == b"libp2p-tls-handshake:"
    assert EXTENSION.dotted_string == "1.3.6.1.4.1.53594.1.1"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 2000])
def test_signed_key_round_trip(size: int) -> None:
    assert decode_signed_key(encode_signed_key(bytes(size), b"\1" * size)) == (
        bytes(size),
        b"\1" * size,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "30",
        "3000",
        "30030401aa",  # one member
        "300604010104010200",  # a byte behind
        "3009040101040102040103",  # three members
        "3106040101040102",  # a SET
        "3006030101040102",  # a BIT STRING
        "3080040101040102" + "0000",  # indefinite length
        "308106040101040102",  # length not minimal
        "30820006040101040102",
        "3083000006040101040102",
        "3084ffffffff040101040102",
        "3006048101010401",  # inner length not minimal
        "3007040101040102",  # longer than what is there
        "3005040101040102",  # shorter than its members
    ],
)
def test_signed_key_strict(wrong: str) -> None:
    assert decode_signed_key(bytes.fromhex("3006040101040102")) == (b"\1", b"\2")
    with pytest.raises(HandshakeError):
        decode_signed_key(bytes.fromhex(wrong))
