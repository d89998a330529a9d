"""Signed envelopes and peer records: what is signed, by whom, for which purpose, and how much."""

from __future__ import annotations

import dataclasses

import pytest

from carrick.errors import InvalidEnvelope
from carrick.identity import (
    MAX_ADDRESSES,
    MAX_ENVELOPE_SIZE,
    MAX_RECORD_SIZE,
    Envelope,
    KeyType,
    PeerRecord,
    PrivateKey,
)

# the Ed25519 key of peer-ids.md, "Test vectors"
KEY = PrivateKey.from_protobuf(
    bytes.fromhex(
        "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d"
        "1ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
    )
)
OTHER = PrivateKey.generate()
DOMAIN = "libp2p-testing"
TYPE = b"/libp2p/testdata"
ADDRESS = bytes.fromhex("04c0000207060fa1")  # /ip4/192.0.2.7/tcp/4001


def seal(payload: bytes = b"hello world!", key: PrivateKey = KEY) -> Envelope:
    return Envelope.seal(key, domain=DOMAIN, payload_type=TYPE, payload=payload)


def field(number: int, data: bytes) -> bytes:
    assert len(data) < 1 << 14
    size = len(data)
    length = bytes((size,)) if size < 0x80 else bytes((size & 0x7F | 0x80, size >> 7))
    return bytes((number << 3 | 2,)) + length + data


# --- envelopes --------------------------------------------------------------------------------


def test_bytes_that_are_signed_and_sent() -> None:
    """By hand from RFC 0002: each signed field behind its length; fields 1, 2, 3 and 5."""
    signed = b"\x0elibp2p-testing" + b"\x10/libp2p/testdata" + b"\x0chello world!"
    envelope = seal()
    assert envelope.signature == KEY.sign(signed)
    assert envelope.to_bytes() == (
        field(1, KEY.public_key.to_protobuf())
        + field(2, TYPE)
        + field(3, b"hello world!")
        + field(5, KEY.sign(signed))
    )


def test_lengths_that_are_signed_are_varints() -> None:
    payload = bytes(300)
    signed = b"\x0elibp2p-testing" + b"\x10/libp2p/testdata" + b"\xac\x02" + payload
    assert seal(payload).signature == KEY.sign(signed)


@pytest.mark.parametrize("type", KeyType, ids=lambda type: type.name)
def test_round_trip(type: KeyType) -> None:
    envelope = seal(key=PrivateKey.generate(type))
    assert Envelope.open(memoryview(envelope.to_bytes()), domain=DOMAIN) == envelope


def test_unknown_fields_are_skipped_and_not_signed() -> None:
    data = seal().to_bytes() + field(9, b"later")
    assert Envelope.open(data, domain=DOMAIN) == seal()


def test_payload_type_may_be_empty() -> None:
    envelope = Envelope.seal(KEY, domain=DOMAIN, payload_type=b"", payload=b"x")
    assert Envelope.open(envelope.to_bytes(), domain=DOMAIN).payload_type == b""


def test_wrong_domain() -> None:
    for domain in ("libp2p-testin", "libp2p-testing ", "Libp2p-testing", DOMAIN + "/libp2p"):
        with pytest.raises(InvalidEnvelope, match="not signed"):
            Envelope.open(seal().to_bytes(), domain=domain)


def test_empty_domain() -> None:
    with pytest.raises(InvalidEnvelope, match="domain"):
        Envelope.seal(KEY, domain="", payload_type=TYPE, payload=b"")
    with pytest.raises(InvalidEnvelope, match="domain"):
        Envelope.open(seal().to_bytes(), domain="")


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b"hello world?"},
        {"payload": b""},
        {"payload_type": b"/libp2p/testdatb"},
        {"payload_type": b""},
        {"payload_type": TYPE[:-1], "payload": TYPE[-1:] + b"hello world!"},
        {"signature": b""},
        {"signature": bytes(64)},
        {"public_key": OTHER.public_key},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_envelope(change: dict[str, bytes]) -> None:
    forged = dataclasses.replace(seal(), **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidEnvelope, match="not signed"):
        Envelope.open(forged.to_bytes(), domain=DOMAIN)


def test_malformed_envelope() -> None:
    data = seal().to_bytes()
    for bad in (b"", b"\xff", data[1:], field(2, TYPE) + field(3, b"") + field(5, bytes(64))):
        with pytest.raises(InvalidEnvelope):
            Envelope.open(bad, domain=DOMAIN)
    for end in range(len(data)):
        with pytest.raises(InvalidEnvelope):
            Envelope.open(data[:end], domain=DOMAIN)


def test_key_in_an_envelope_is_decoded_strictly() -> None:
    key = KEY.public_key.to_protobuf()
    swapped = field(1, key[2:] + key[:2])
    with pytest.raises(InvalidEnvelope, match="key"):
        Envelope.open(swapped + seal().to_bytes()[len(key) + 2 :], domain=DOMAIN)


def test_oversized_envelope() -> None:
    with pytest.raises(InvalidEnvelope, match="limit"):
        seal(bytes(MAX_ENVELOPE_SIZE))
    with pytest.raises(InvalidEnvelope, match="limit"):
        Envelope.open(bytes(MAX_ENVELOPE_SIZE + 1), domain=DOMAIN)


# --- peer records -----------------------------------------------------------------------------


def record(*addresses: bytes, sequence: int = 1570215229) -> PeerRecord:
    return PeerRecord(KEY.peer_id, sequence, addresses)


def sealed_payload(payload: bytes, key: PrivateKey = KEY) -> bytes:
    return Envelope.seal(
        key, domain="libp2p-peer-record", payload_type=b"\x03\x01", payload=payload
    ).to_bytes()


PEER_FIELD = field(1, KEY.peer_id.to_bytes())


def test_bytes_of_a_record() -> None:
    """By hand from RFC 0003, with the domain and the payload type that go-libp2p uses."""
    payload = (
        PEER_FIELD
        + bytes.fromhex("10bdaadeec05")  # seq 1570215229
        + field(3, field(1, ADDRESS))
        + field(3, field(1, b"\x04\x7f\0\0\1"))
    )
    sealed = record(ADDRESS, b"\x04\x7f\0\0\1").seal(KEY)
    assert Envelope.open(sealed, domain="libp2p-peer-record") == Envelope(
        KEY.public_key,
        b"\x03\x01",
        payload,
        KEY.sign(b"\x12libp2p-peer-record\x02\x03\x01" + bytes((len(payload),)) + payload),
    )


@pytest.mark.parametrize("sequence", [0, 1, 1 << 63, (1 << 64) - 1])
def test_record_round_trip(sequence: int) -> None:
    made = record(ADDRESS, ADDRESS, sequence=sequence)
    assert PeerRecord.open(memoryview(made.seal(KEY))) == made


def test_record_signed_by_another_peer() -> None:
    with pytest.raises(InvalidEnvelope, match="another peer"):
        PeerRecord.open(sealed_payload(PEER_FIELD, OTHER))


def test_record_is_not_sealed_with_a_foreign_key() -> None:
    with pytest.raises(InvalidEnvelope, match="another peer"):
        record(ADDRESS).seal(OTHER)


def test_record_with_a_wrong_signature_is_not_decoded() -> None:
    """The payload is no protobuf; that would be another message."""
    envelope = Envelope.decode(sealed_payload(b"\xff\xff"))
    forged = dataclasses.replace(envelope, signature=bytes(64))
    with pytest.raises(InvalidEnvelope, match="not signed"):
        PeerRecord.open(forged.to_bytes())


def test_record_of_another_payload_type_or_domain() -> None:
    for domain, payload_type in (
        ("libp2p-peer-record", b"\x03\x02"),
        ("libp2p-peer-record", b""),
        ("libp2p-relay-rsvp", b"\x03\x02"),
        ("libp2p-relay-rsvp", b"\x03\x01"),
        ("libp2p-routing-state", b"\x03\x01"),
        ("libp2p-peer-record", b"/libp2p/routing-state-record"),
    ):
        envelope = Envelope.seal(KEY, domain=domain, payload_type=payload_type, payload=PEER_FIELD)
        with pytest.raises(InvalidEnvelope, match="payload type|not signed"):
            PeerRecord.open(envelope.to_bytes())


def test_record_under_the_names_of_the_rfc() -> None:
    envelope = Envelope.seal(
        KEY,
        domain="libp2p-routing-state",
        payload_type=b"/libp2p/routing-state-record",
        payload=PEER_FIELD + field(3, field(1, ADDRESS)),
    )
    assert PeerRecord.open(envelope.to_bytes()) == record(ADDRESS, sequence=0)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"\x10\x01", field(1, b""), field(1, b"\x12\x20" + bytes(31)), PEER_FIELD[:-1]],
    ids=bytes.hex,
)
def test_malformed_record(payload: bytes) -> None:
    with pytest.raises(InvalidEnvelope):
        PeerRecord.open(sealed_payload(payload))


def test_empty_addresses_are_left_out() -> None:
    payload = PEER_FIELD + field(3, b"") + field(3, field(1, ADDRESS)) + field(3, field(1, b""))
    assert PeerRecord.open(sealed_payload(payload)).addresses == (ADDRESS,)


def test_too_many_addresses() -> None:
    most = tuple(bytes((4, 10, 0, n >> 8, n & 255)) for n in range(MAX_ADDRESSES))
    assert PeerRecord.open(record(*most).seal(KEY)).addresses == most
    with pytest.raises(InvalidEnvelope, match="501 addresses"):
        record(*most, ADDRESS)
    with pytest.raises(InvalidEnvelope, match="501 addresses"):
        PeerRecord.open(sealed_payload(PEER_FIELD + 501 * field(3, b"")))


def test_oversized_record() -> None:
    with pytest.raises(InvalidEnvelope, match="limit"):
        record(bytes(MAX_RECORD_SIZE)).seal(KEY)
    with pytest.raises(InvalidEnvelope, match="limit"):
        PeerRecord.open(sealed_payload(PEER_FIELD + field(9, bytes(MAX_RECORD_SIZE))))


@pytest.mark.parametrize("sequence", [-1, 1 << 64])
def test_sequence_out_of_range(sequence: int) -> None:
    with pytest.raises(InvalidEnvelope, match="sequence"):
        record(sequence=sequence)
