"""Content ids."""

from __future__ import annotations

import hashlib

import pytest

from carrick.addressing import Cid
from carrick.errors import InvalidCid
from carrick.identity.base58 import encode_base58

# Both name the same content, as the documentation of IPFS says.
V0 = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"
V1 = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
V1_58 = "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7"


def test_version_0_and_1_have_one_multihash() -> None:
    old, new = Cid.parse(V0), Cid.parse(V1)
    assert (old.version, old.codec) == (0, 0x70)
    assert (new.version, new.codec) == (1, 0x70)
    assert old.multihash == new.multihash
    assert len(old.multihash) == 34
    assert (str(old), str(new)) == (V0, V1)


def test_bases() -> None:
    cid = Cid.parse(V1_58)
    assert cid == Cid.parse(str(cid)) == Cid.parse("f" + cid.to_bytes().hex())


def test_other_codecs_and_hashes() -> None:
    raw = Cid.from_bytes(b"\x01\x55\x00\x05hello")  # raw, identity
    assert (raw.codec, raw.multihash) == (0x55, b"\x00\x05hello")
    assert Cid.parse(str(raw)) == raw
    sha512 = Cid(1, 0x71, b"\x13\x40" + hashlib.sha512(b"").digest())
    assert Cid.parse(str(sha512)) == sha512


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("hello", "base"),
        (V0[:-1], "base"),
        (V0[:-1] + "0", "base58"),
        (V1[:-1], "cut off"),
        (V1 + "a", "cut off"),
        ("z" + V0, "version"),
        ("f02" + "7012200102", "version"),
        ("f0170", "cut off"),
        ("f017012200102", "announces 32"),
        ("f01701203010203" + "04", "announces 3"),
        ("f0170128102" + "00" * 4, "limit"),
        (encode_base58(b"\x12\x21" + bytes(32))[:46].ljust(46, "1"), ""),
        ("b" * 2000, "limit"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(InvalidCid) as caught:
        Cid.parse(text)
    assert why in str(caught.value)
