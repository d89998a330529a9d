"""Identity: decoders raise only their typed errors, and encodings are one to one."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from carrick.errors import IdentityError, InvalidSignature
from carrick.identity import (
    Envelope,
    KeyType,
    PeerId,
    PeerRecord,
    PrivateKey,
    PublicKey,
)
from carrick.identity.base58 import ALPHABET, decode_base58, encode_base58
from carrick.identity.der import BIT_STRING, INTEGER, SEQUENCE, DerReader
from carrick.identity.multibase import decode_multibase, encode_base32
from carrick.identity.varint import read_varint
from carrick.wire import encode_varint

KEYS = [PrivateKey.generate(type) for type in KeyType]
ENVELOPES = [
    Envelope.seal(key, domain="d", payload_type=b"t", payload=b"payload").to_bytes() for key in KEYS
]
RECORDS = [PeerRecord(key.peer_id, 7, (b"\x04\x7f\0\0\1",)).seal(key) for key in KEYS]

keys = st.sampled_from(KEYS)
multihashes = st.one_of(
    st.binary(min_size=1, max_size=42).map(lambda key: bytes((0, len(key))) + key),
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
)


@st.composite
def damaged(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of `originals` with a piece cut out and other bytes put in its place."""
    data = draw(st.sampled_from(originals))
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 8)))
    return data[:start] + draw(st.binary(max_size=8)) + data[end:]


PUBLIC_KEYS = [key.public_key.to_protobuf() for key in KEYS]
PRIVATE_KEYS = [key.to_protobuf() for key in KEYS if key.type is not KeyType.RSA]


@given(st.one_of(st.binary(max_size=300), damaged(PUBLIC_KEYS)))
@settings(max_examples=300)
def test_public_key_has_one_encoding(data: bytes) -> None:
    try:
        key = PublicKey.from_protobuf(data)
    except IdentityError:
        return
    assert key.to_protobuf() == data
    with pytest.raises(InvalidSignature):
        key.verify(b"data", bytes(64))


@given(st.sampled_from(KeyType), st.binary(max_size=300))
@settings(max_examples=300)
def test_any_data_of_any_type(type: KeyType, body: bytes) -> None:
    data = b"\x08" + bytes((type,)) + b"\x12" + encode_varint(len(body)) + body
    for decode in (PublicKey.from_protobuf, PrivateKey.from_protobuf):
        try:
            decode(data)
        except IdentityError:
            continue


@given(damaged(PRIVATE_KEYS))
def test_damaged_private_key(data: bytes) -> None:
    try:
        key = PrivateKey.from_protobuf(data)
    except IdentityError:
        return
    key.public_key.verify(b"data", key.sign(b"data"))


@given(keys, st.binary(max_size=64))
@settings(max_examples=50)
def test_signatures_verify(key: PrivateKey, data: bytes) -> None:
    key.public_key.verify(data, key.sign(data))


@given(keys, st.binary(max_size=300))
def test_random_bytes_are_no_signature(key: PrivateKey, signature: bytes) -> None:
    with pytest.raises(InvalidSignature):
        key.public_key.verify(b"data", signature)


@given(multihashes)
def test_peer_id_texts_round_trip(multihash: bytes) -> None:
    peer_id = PeerId(multihash)
    assert PeerId.parse(str(peer_id)) == peer_id
    assert PeerId.parse(peer_id.to_cid()) == peer_id


@given(multihashes, multihashes)
def test_peer_ids_are_ordered_by_their_bytes(a: bytes, b: bytes) -> None:
    assert (PeerId(a) < PeerId(b)) is (a < b)
    assert (PeerId(a) == PeerId(b)) is (a == b)


@given(
    st.one_of(
        st.text(max_size=140),
        st.text(alphabet=string.ascii_letters + string.digits, max_size=140),
        st.sampled_from(["1", "Qm", "12D3KooW", "b", "z", "k", "f"]).flatmap(
            lambda prefix: st.text(alphabet=ALPHABET, max_size=60).map(prefix.__add__)
        ),
    )
)
@settings(max_examples=300)
def test_any_text(text: str) -> None:
    try:
        peer_id = PeerId.parse(text)
    except IdentityError as error:
        assert str(error)
        return
    assert PeerId.parse(str(peer_id)) == peer_id


@given(st.binary(max_size=50))
def test_any_bytes_as_multihash(data: bytes) -> None:
    try:
        peer_id = PeerId(data)
    except IdentityError:
        return
    assert peer_id.to_bytes() == data
    assert len(data) <= 44


@given(st.binary(max_size=80))
def test_base58_round_trip(data: bytes) -> None:
    assert decode_base58(encode_base58(data)) == data


@given(st.binary(max_size=80))
def test_base32_is_that_of_the_standard_library(data: bytes) -> None:
    text = encode_base32(data)
    assert text == "b" + base64.b32encode(data).decode().rstrip("=").lower()
    assert decode_multibase(text) == data
    assert decode_multibase(text.upper()) == data
    assert decode_multibase("f" + data.hex()) == data


@given(st.integers(0, 2**63 - 1), st.binary(max_size=4))
def test_varint_round_trip(value: int, rest: bytes) -> None:
    data = encode_varint(value)
    assert read_varint(data + rest) == (value, len(data))
    for end in range(len(data)):
        with pytest.raises(ValueError):
            read_varint(data[:end])


@given(st.binary(max_size=12))
def test_varint_is_minimal_and_bounded(data: bytes) -> None:
    try:
        value, end = read_varint(data)
    except ValueError:
        return
    assert data[:end] == encode_varint(value)
    assert value < 2**63


@given(st.binary(max_size=40), st.sampled_from([INTEGER, BIT_STRING, SEQUENCE]))
def test_der_reader_raises_only_value_error(data: bytes, tag: int) -> None:
    reader = DerReader(data)
    try:
        while True:
            if tag == INTEGER:
                number = reader.unsigned()
                assert number[:1] != b"\0"
            else:
                assert len(reader.element(tag)) <= len(data)
    except ValueError:
        return


@given(st.one_of(st.binary(max_size=300), damaged(ENVELOPES)))
def test_damaged_envelope(data: bytes) -> None:
    try:
        envelope = Envelope.open(data, domain="d")
    except IdentityError:
        return
    assert envelope.payload == b"payload"  # an unknown field may have come in, nothing else
    assert envelope.payload_type == b"t"


@given(damaged(RECORDS))
def test_damaged_record(data: bytes) -> None:
    try:
        record = PeerRecord.open(data)
    except IdentityError:
        return
    assert record.addresses == (b"\x04\x7f\0\0\1",)
    assert record.sequence == 7


@given(st.sampled_from(KEYS[1:3]), st.binary(max_size=100))
def test_any_payload_of_a_record(key: PrivateKey, payload: bytes) -> None:
    """Signed correctly, but whatever inside: a peer can do that."""
    sealed = Envelope.seal(
        key, domain="libp2p-peer-record", payload_type=b"\x03\x01", payload=payload
    )
    try:
        record = PeerRecord.open(sealed.to_bytes())
    except IdentityError:
        return
    assert record.peer_id == key.peer_id


@given(
    st.sampled_from(KEYS[1:3]),
    st.integers(0, 2**64 - 1),
    st.lists(st.binary(min_size=1, max_size=40), max_size=20),
)
def test_record_round_trip(key: PrivateKey, sequence: int, addresses: list[bytes]) -> None:
    record = PeerRecord(key.peer_id, sequence, tuple(addresses))
    assert PeerRecord.open(record.seal(key)) == record


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_domains_are_separate(sealed: str, opened: str) -> None:
    assume(sealed != opened)
    envelope = Envelope.seal(KEYS[1], domain=sealed, payload_type=b"t", payload=b"p")
    with pytest.raises(IdentityError):
        Envelope.open(envelope.to_bytes(), domain=opened)
