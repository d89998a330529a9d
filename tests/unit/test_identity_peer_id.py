"""Peer ids and their text forms, with a reason for each wrong text."""

from __future__ import annotations

import base64

import pytest

from carrick.errors import IdentityError, InvalidKey, InvalidPeerId
from carrick.identity import KeyType, PeerId, PrivateKey
from carrick.identity.base58 import decode_base58, encode_base58
from carrick.identity.multibase import decode_multibase, encode_base32

TEXT = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
PEER = PeerId.parse(TEXT)
SHA256 = bytes((0x12, 0x20)) + bytes(range(32))


def cid(multihash: bytes, *, version: bytes = b"\x01", codec: bytes = b"\x72") -> str:
    return encode_base32(version + codec + multihash)


def in_base36(data: bytes) -> str:
    digits, number = "", int.from_bytes(data, "big")
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return "0" * (len(data) - len(data.lstrip(b"\0"))) + digits


@pytest.mark.parametrize(
    "type, prefix, size",
    [
        (KeyType.ED25519, "12D3KooW", 38),
        (KeyType.SECP256K1, "16Uiu2", 39),
        (KeyType.ECDSA, "Qm", 34),
        (KeyType.RSA, "Qm", 34),
    ],
)
def test_peer_id_of_each_key_type(type: KeyType, prefix: str, size: int) -> None:
    key = PrivateKey.generate(type)
    peer_id = PeerId.from_public_key(key.public_key)
    assert peer_id == key.peer_id
    assert len(peer_id.to_bytes()) == size
    assert str(peer_id).startswith(prefix)
    assert peer_id.public_key() == (key.public_key if size > 34 else None)
    assert PeerId.parse(str(peer_id)) == PeerId.parse(peer_id.to_cid()) == peer_id


def test_cid_in_each_base() -> None:
    raw = b"\x01\x72" + PEER.to_bytes()
    base32 = base64.b32encode(raw).decode().rstrip("=")
    assert PEER.to_cid() == "b" + base32.lower()
    for text in (
        "b" + base32.lower(),
        "B" + base32,
        "z" + encode_base58(raw),
        "f" + raw.hex(),
        "F" + raw.hex().upper(),
        "k" + in_base36(raw),
        "K" + in_base36(raw).upper(),
    ):
        assert PeerId.parse(text) == PEER


def test_base36_as_kubo_writes_it() -> None:
    assert ("k" + in_base36(b"\x01\x72" + PEER.to_bytes())).startswith("k51")
    assert decode_multibase("k002") == b"\0\0\x02"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "empty"),
        (" " + TEXT, "not the prefix"),
        (TEXT + " ", "character ' ' at position 53 is not base58"),
        (TEXT.replace("K", "0"), "character '0' at position 5 is not base58"),
        (TEXT[:-1], "wrong"),
        (TEXT + "A", "wrong"),
        ("1", "two bytes"),
        ("11", "wrong length"),
        ("1" * 128, "wrong length"),
        ("1" * 129, "too long"),
        ("a" * 10_000, "too long"),
        ("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5", "wrong"),
        ("hello", "not the prefix"),
        ("Ωmega", "not the prefix"),
        ("/ip4/127.0.0.1/tcp/4001", "multiaddr"),
        ("/p2p/" + TEXT, "multiaddr"),
        ("b", "cut off"),
        ("bafzbei1", "character '1' at position 8 is not base32"),
        ("BAfzbei", "character 'f' at position 3 is not base32"),
        ("f0172e", "cut off"),
        ("fxx", "not base16"),
        ("kXY", "not base36"),
        ("z0", "not base58"),
        # a CID of raw bytes (go-libp2p's own test has it)
        ("bafkreifoybygix7fh3r3g5rqle3wcnhqldgdg4shzf4k3ulyw3gn7mabt4", "wrong codec: 0x55"),
        (cid(SHA256, codec=b"\x70"), "wrong codec: 0x70"),
        (cid(SHA256, codec=b"\xf2\x00"), "shortest form"),
        (cid(SHA256, version=b"\x00"), "wrong CID version: 0"),
        (cid(SHA256, version=b"\x02"), "wrong CID version: 2"),
        (cid(b"\x13\x40" + bytes(64)), "wrong multihash: code 0x13"),
        (cid(SHA256[:-1]), "wrong length"),
        (cid(SHA256 + b"\0"), "wrong length"),
        (cid(b"\x12\x14" + bytes(20)), "SHA-256 has 32 bytes, not 20"),
        (cid(b"\0\x2b" + bytes(43)), "1 to 42 bytes are inlined, not 43"),
        (cid(b""), "two bytes"),
        (encode_base58(b"\x12\x14" + bytes(20)), "not the prefix"),
        (cid(SHA256)[:-1], "cut off|wrong length"),
    ],
)
def test_wrong_text_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidPeerId, match=reason):
        PeerId.parse(text)


@pytest.mark.parametrize(
    "multihash",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x12\x20",
        SHA256[:-1],
        SHA256 + b"\0",
        b"\x12\x00",
        b"\x11\x14" + bytes(20),
        b"\x00\x2b" + bytes(43),
        b"\x92\x00\x20" + bytes(32),  # the code is not minimal
        b"\x12\xa0\x00" + bytes(32),  # the length is not minimal
    ],
)
def test_wrong_multihash(multihash: bytes) -> None:
    with pytest.raises(InvalidPeerId):
        PeerId(multihash)


def test_inlined_bytes_that_are_no_key() -> None:
    with pytest.raises(InvalidKey):
        PeerId(b"\x00\x04test").public_key()
    assert issubclass(InvalidKey, IdentityError)


def test_identity_is_used_up_to_42_bytes() -> None:
    class Key:
        def __init__(self, size: int) -> None:
            self.size = size

        def to_protobuf(self) -> bytes:
            return bytes(self.size)

    assert PeerId.from_public_key(Key(42)).to_bytes() == b"\0\x2a" + bytes(42)  # type: ignore[arg-type]
    assert PeerId.from_public_key(Key(43)).to_bytes()[:2] == b"\x12\x20"  # type: ignore[arg-type]


def test_value_semantics() -> None:
    same = PeerId(bytearray(PEER.to_bytes()))
    other = PeerId(SHA256)
    assert same == PEER and hash(same) == hash(PEER) and same is not PEER
    assert PEER != TEXT and PEER.to_bytes() != PEER
    assert sorted([other, PEER]) == [PEER, other]
    assert other > PEER and other >= PEER
    assert PEER.short() == TEXT[-6:]
    assert repr(PEER) == f"<PeerId {TEXT}>"
    with pytest.raises(TypeError):
        PEER < TEXT  # noqa: B015


@pytest.mark.parametrize(
    "data, text",
    [
        # draft-msporny-base58, "Test Vectors"
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (
            b"The quick brown fox jumps over the lazy dog.",
            "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
        ),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
        (b"", ""),
        (b"\0\0", "11"),
    ],
)
def test_base58(data: bytes, text: str) -> None:
    assert encode_base58(data) == text
    assert decode_base58(text) == data


def test_base58_input_is_bounded() -> None:
    assert decode_base58("1" * 1024) == bytes(1024)
    with pytest.raises(ValueError, match="limit"):
        decode_base58("1" * 1025)
    with pytest.raises(ValueError, match="limit"):
        decode_multibase("b" * 1025)
