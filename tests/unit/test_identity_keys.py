"""Keys: each type signs and verifies; whatever is malformed, foreign or oversized is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from carrick.errors import InvalidKey, InvalidSignature
from carrick.identity import MAX_KEY_SIZE, KeyType, PrivateKey, PublicKey
from carrick.identity.algorithms import rsa as rsa_algorithm

KEYS = {type: PrivateKey.generate(type) for type in KeyType}
OTHERS = {type: PrivateKey.generate(type) for type in KeyType}
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

every_type = pytest.mark.parametrize("type", KeyType, ids=lambda type: type.name)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes((value & 0x7F | 0x80,)), value >> 7
    return out + bytes((value,))


def protobuf(type: int, data: bytes) -> bytes:
    return b"\x08" + varint(type) + b"\x12" + varint(len(data)) + data


def der(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + contents


def der_integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_public(modulus: int, exponent: int = 65537) -> bytes:
    numbers = der(0x30, der_integer(modulus) + der_integer(exponent))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return protobuf(0, der(0x30, algorithm + der(0x03, b"\0" + numbers)))


def modulus(bits: int) -> int:
    return (1 << bits - 1) + 1


# --- signatures -------------------------------------------------------------------------------


@every_type
def test_round_trip(type: KeyType) -> None:
    key = KEYS[type]
    public = PublicKey.from_protobuf(memoryview(key.public_key.to_protobuf()))
    assert public == key.public_key
    assert hash(public) == hash(key.public_key)
    assert public.peer_id == key.peer_id
    assert PrivateKey.from_protobuf(bytearray(key.to_protobuf())) == key
    public.verify(b"data", key.sign(b"data"))
    public.verify(b"", key.sign(b""))


@every_type
def test_wrong_signature_is_refused(type: KeyType) -> None:
    key = KEYS[type]
    signature = key.sign(b"data")
    flipped = bytearray(signature)
    flipped[-1] ^= 1
    wrong = {
        "flipped": bytes(flipped),
        "cut": signature[:-1],
        "longer": signature + b"\0",
        "empty": b"",
        "zeros": bytes(len(signature)),
        "ones": b"\xff" * len(signature),
        "by another key": OTHERS[type].sign(b"data"),
        "of other data": key.sign(b"date"),
    }
    for name, bad in wrong.items():
        with pytest.raises(InvalidSignature):
            key.public_key.verify(b"data", bad)
            pytest.fail(f"{name} signature accepted")


@every_type
def test_signature_of_one_type_is_nothing_for_another(type: KeyType) -> None:
    for other in KeyType:
        if other is not type:
            with pytest.raises(InvalidSignature):
                KEYS[type].public_key.verify(b"data", KEYS[other].sign(b"data"))


def test_secp256k1_signatures_have_a_low_s_and_are_deterministic() -> None:
    for number in range(32):
        signature = KEYS[KeyType.SECP256K1].sign(bytes((number,)))
        assert decode_dss_signature(signature)[1] <= SECP256K1_ORDER // 2
        assert signature == KEYS[KeyType.SECP256K1].sign(bytes((number,)))


def test_secp256k1_high_s_is_refused() -> None:
    key = KEYS[KeyType.SECP256K1]
    r, s = decode_dss_signature(key.sign(b"data"))
    with pytest.raises(InvalidSignature):
        key.public_key.verify(b"data", encode_dss_signature(r, SECP256K1_ORDER - s))


@pytest.mark.parametrize("type", [KeyType.SECP256K1, KeyType.ECDSA], ids=lambda type: type.name)
@pytest.mark.parametrize("r, s", [(0, 0), (1, 0), (0, 1), (1, 1), (1 << 256, 1)])
def test_ecdsa_numbers_out_of_range(type: KeyType, r: int, s: int) -> None:
    with pytest.raises(InvalidSignature):
        KEYS[type].public_key.verify(b"data", encode_dss_signature(r, s))


# --- the protobuf -------------------------------------------------------------------------------

PUBLIC = KEYS[KeyType.ED25519].public_key.to_protobuf()
RAW = PUBLIC[4:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\x08\x01",
        b"\x08\x01\x12",
        b"\x12\x20" + RAW,  # no Type
        b"\x12\x20" + RAW + b"\x08\x01",  # the wrong order
        b"\x08\x81\x00\x12\x20" + RAW,  # Type is not minimal
        b"\x08\x01\x12\xa0\x00" + RAW,  # the length is not minimal
        b"\x08\x01\x12\x20" + RAW[:-1],
        PUBLIC + b"\0",
        PUBLIC + b"\x1a\x00",  # a third field
        b"\x08\x01" + PUBLIC,  # Type twice
        b"\x08\x04\x12\x20" + RAW,  # unknown types
        b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x12\x20" + RAW,
        b"\x08\x01\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + RAW,
        b"\x0a\x01\x01\x12\x20" + RAW,  # Type with the wrong wire type
        protobuf(1, b""),
        protobuf(1, bytes(31)),
        protobuf(1, bytes(33)),
        protobuf(2, b""),
        protobuf(2, b"\x04" + bytes(32)),
        protobuf(2, b"\x02" + b"\xff" * 32),  # not on the curve
        protobuf(3, b""),
        protobuf(3, bytes(91)),
        protobuf(0, b""),
        protobuf(0, bytes(294)),
    ],
)
def test_malformed_public_key(data: bytes) -> None:
    with pytest.raises(InvalidKey):
        PublicKey.from_protobuf(data)


@pytest.mark.parametrize("decode", [PublicKey.from_protobuf, PrivateKey.from_protobuf])
def test_oversized_protobuf(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(InvalidKey, match="limit"):
        decode(protobuf(0, bytes(MAX_KEY_SIZE)))


@every_type
def test_cut_key(type: KeyType) -> None:
    public, private = KEYS[type].public_key.to_protobuf(), KEYS[type].to_protobuf()
    for end in range(len(public)):
        with pytest.raises(InvalidKey):
            PublicKey.from_protobuf(public[:end])
    for end in range(0, len(private), 7):
        with pytest.raises(InvalidKey):
            PrivateKey.from_protobuf(private[:end])


# --- each type ----------------------------------------------------------------------------------


def test_ed25519_legacy_private_key() -> None:
    key = KEYS[KeyType.ED25519]
    raw = key.to_protobuf()[4:]
    assert PrivateKey.from_protobuf(protobuf(1, raw + raw[32:])) == key


def test_ed25519_legacy_private_key_whose_copies_differ() -> None:
    raw = KEYS[KeyType.ED25519].to_protobuf()[4:]
    with pytest.raises(InvalidKey, match="not its own"):
        PrivateKey.from_protobuf(protobuf(1, raw + bytes(32)))


def test_ed25519_private_key_with_a_foreign_public_key() -> None:
    raw, other = (keys[KeyType.ED25519].to_protobuf()[4:] for keys in (KEYS, OTHERS))
    with pytest.raises(InvalidKey, match="not its own"):
        PrivateKey.from_protobuf(protobuf(1, raw[:32] + other[32:]))
    with pytest.raises(InvalidKey):
        PrivateKey.from_protobuf(protobuf(1, raw[:32]))


def test_secp256k1_public_key_must_be_compressed() -> None:
    public = ec.generate_private_key(ec.SECP256K1()).public_key()
    long = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    with pytest.raises(InvalidKey, match="compressed"):
        PublicKey.from_protobuf(protobuf(2, long))


@pytest.mark.parametrize("scalar", [0, SECP256K1_ORDER, (1 << 256) - 1])
def test_secp256k1_private_key_out_of_range(scalar: int) -> None:
    with pytest.raises(InvalidKey, match="range"):
        PrivateKey.from_protobuf(protobuf(2, scalar.to_bytes(32, "big")))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_other_nist_curves(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    key = PrivateKey.from_protobuf(
        protobuf(
            3,
            private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        )
    )
    signature = private.sign(b"data", ec.ECDSA(hashes.SHA256()))
    PublicKey.from_protobuf(key.public_key.to_protobuf()).verify(b"data", signature)


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1()])
def test_ecdsa_on_another_curve(curve: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(curve).public_key()
    data = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidKey):
        PublicKey.from_protobuf(protobuf(3, data))


def test_type_that_does_not_fit_the_data() -> None:
    ecdsa, rsa_key = KEYS[KeyType.ECDSA], KEYS[KeyType.RSA]
    with pytest.raises(InvalidKey):
        PublicKey.from_protobuf(b"\0".join((b"\x08", ecdsa.public_key.to_protobuf()[2:])))
    with pytest.raises(InvalidKey):
        PublicKey.from_protobuf(protobuf(3, rsa_key.public_key.to_protobuf()[5:]))
    with pytest.raises(InvalidKey):
        PrivateKey.from_protobuf(protobuf(3, rsa_key.to_protobuf()[5:]))
    with pytest.raises(InvalidKey):
        PrivateKey.from_protobuf(protobuf(0, ecdsa.to_protobuf()[4:]))


# --- RSA: sizes are looked at before any arithmetic ----------------------------------------------


@pytest.fixture
def no_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building a key from its numbers fails the test."""

    def build(*numbers: int) -> None:
        pytest.fail("the size was looked at too late")

    monkeypatch.setattr(rsa, "RSAPublicNumbers", build)
    monkeypatch.setattr(rsa_algorithm, "load_der_private_key", build)


@pytest.mark.parametrize("bits", [512, 1024, 2047, 8193, 8200, 16384, 65000, 220_000])
@pytest.mark.usefixtures("no_arithmetic")
def test_rsa_size_is_refused(bits: int) -> None:
    with pytest.raises(InvalidKey, match="2048 to 8192|at most 8192|limit"):
        PublicKey.from_protobuf(rsa_public(modulus(bits)))


@pytest.mark.parametrize("bits", [32, 33, 64, 2048, 4095])
@pytest.mark.usefixtures("no_arithmetic")
def test_rsa_huge_exponent_is_refused(bits: int) -> None:
    with pytest.raises(InvalidKey, match="exponent|at most 8192"):
        PublicKey.from_protobuf(rsa_public(modulus(4096), modulus(bits)))


@pytest.mark.parametrize("exponent", [0, 1, 2, 65536])
def test_rsa_useless_exponent_is_refused(exponent: int) -> None:
    with pytest.raises(InvalidKey, match="exponent"):
        PublicKey.from_protobuf(rsa_public(modulus(2048), exponent))


def test_rsa_even_modulus_is_refused() -> None:
    with pytest.raises(InvalidKey, match="odd"):
        PublicKey.from_protobuf(rsa_public(1 << 2047))


@pytest.mark.parametrize("bits", [2048, 8192])
def test_rsa_sizes_at_the_bounds(bits: int) -> None:
    key = PublicKey.from_protobuf(rsa_public(modulus(bits), (1 << 31) - 1))
    with pytest.raises(InvalidSignature):
        key.verify(b"data", bytes(bits // 8))


def test_rsa_der_that_is_not_canonical() -> None:
    good = KEYS[KeyType.RSA].public_key.to_protobuf()
    body = good[5:]
    numbers = body[24:]
    algorithm = bytes.fromhex("06092a864886f70d0101010500")
    bad = [
        body + b"\0",
        der(0x30, der(0x30, algorithm) + der(0x03, b"\0" + numbers) + b"\0"),
        der(0x30, der(0x30, algorithm) + der(0x03, b"\0" + numbers + b"\0")),
        der(0x30, der(0x30, algorithm) + der(0x03, b"\1" + numbers)),
        der(0x30, der(0x30, algorithm[:-2]) + der(0x03, b"\0" + numbers)),  # without NULL
        b"\x30\x84\0\0" + body[2:],
        b"\x30\x80" + body[4:] + b"\0\0",
    ]
    assert PublicKey.from_protobuf(protobuf(0, body))
    for data in bad:
        with pytest.raises(InvalidKey):
            PublicKey.from_protobuf(protobuf(0, data))


@pytest.mark.parametrize("bits", [1024, 2040])
@pytest.mark.usefixtures("no_arithmetic")
def test_small_rsa_private_key_is_refused(bits: int) -> None:
    private = rsa.generate_private_key(65537, bits).private_bytes(
        Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    with pytest.raises(InvalidKey, match=f"{bits} bits"):
        PrivateKey.from_protobuf(protobuf(0, private))


def test_rsa_private_key_whose_numbers_do_not_fit() -> None:
    data = bytearray(KEYS[KeyType.RSA].to_protobuf())
    data[-1] ^= 1
    with pytest.raises(InvalidKey):
        PrivateKey.from_protobuf(data)


@pytest.mark.parametrize("bits", [0, 1024, 2047, 8193])
def test_rsa_of_a_refused_size_is_not_made(bits: int) -> None:
    with pytest.raises(InvalidKey, match="2048 to 8192"):
        PrivateKey.generate(KeyType.RSA, bits=bits)


def test_unknown_type_is_not_made() -> None:
    with pytest.raises(InvalidKey):
        PrivateKey.generate(7)  # type: ignore[arg-type]


# --- behaviour of the objects ---------------------------------------------------------------------


def test_nothing_secret_in_repr() -> None:
    key = KEYS[KeyType.ED25519]
    assert repr(key) == f"<PrivateKey ED25519 of {key.peer_id}>"
    assert repr(key.public_key) == f"<PublicKey ED25519 of {key.peer_id}>"


def test_equality() -> None:
    assert KEYS[KeyType.ED25519] != OTHERS[KeyType.ED25519]
    assert KEYS[KeyType.ED25519].public_key != OTHERS[KeyType.ED25519].public_key
    assert KEYS[KeyType.ED25519] != KEYS[KeyType.ED25519].public_key
    assert len({*KEYS.values(), *OTHERS.values()}) == 8


def test_costly_things_are_made_once() -> None:
    key = PrivateKey.generate()
    assert key.public_key is key.public_key
    assert key.peer_id is key.peer_id
    assert str(key.peer_id) is str(key.peer_id)
    assert key.public_key.to_protobuf() is key.public_key.to_protobuf()
