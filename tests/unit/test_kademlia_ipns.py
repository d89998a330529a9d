"""IPNS records: those of another implementation, our own, and every way to be wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrick.errors import ProtocolError
from carrick.identity import KeyType, PeerId, PrivateKey
from carrick.protocols.kademlia import InvalidRecord, IpnsRecord, IpnsValidator, ipns_key
from carrick.protocols.kademlia.dag_cbor import decode_map, encode_map
from carrick.protocols.kademlia.pb.ipns_pb2 import IpnsEntry
from tests.support.ipns_vectors import VECTORS, Vector

NOW = 1_800_000_000.0
KEY = PrivateKey.generate()
NAME = ipns_key(KEY.peer_id)
VALIDATOR = IpnsValidator()


def record(sequence: int = 0, lifetime: float = 3600.0, value: str = "/ipfs/x") -> bytes:
    made = IpnsRecord.create(KEY, value, now=NOW, sequence=sequence, lifetime=lifetime)
    return made.encoded


def signed(key: PrivateKey = KEY, **fields: object) -> bytes:
    """A record of version 2 with these fields in its signed part."""
    whole = {
        "Value": b"/ipfs/x",
        "Validity": b"2126-01-02T03:04:05Z",
        "ValidityType": 0,
        "Sequence": 7,
        "TTL": 1,
    }
    kept = {name: value for name, value in (whole | fields).items() if value is not None}
    data = encode_map(kept)  # type: ignore[arg-type]
    return resigned(IpnsEntry(data=data), key)


def resigned(entry: IpnsEntry, key: PrivateKey = KEY) -> bytes:
    entry.signatureV2 = key.sign(b"ipns-signature:" + entry.data)
    return entry.SerializeToString()


def entry(encoded: bytes, change: Callable[[IpnsEntry], object]) -> bytes:
    """The record with one thing changed, not signed anew."""
    parsed = IpnsEntry.FromString(encoded)
    change(parsed)
    return parsed.SerializeToString()


def refused(encoded: bytes, why: str, key: bytes = NAME, now: float = NOW) -> None:
    with pytest.raises(InvalidRecord, match=why):
        VALIDATOR.validate(key, encoded, now)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: f"{each.type}-{each.legacy}")
def test_records_of_boxo(vector: Vector) -> None:
    peer = PeerId(vector.peer)
    VALIDATOR.validate(ipns_key(peer), vector.record, NOW)
    read = IpnsRecord.parse(vector.record)
    assert read.value == b"/ipfs/bafkqaddwgevxmmraojswg33smq"
    assert (read.sequence, read.ttl) == (vector.sequence, 300 * 10**9)
    assert read.expires == 4922996645_678901234
    refused(vector.record, "expired", ipns_key(peer), 4922996646.0)
    refused(vector.record, "by|sign|public key")  # under another name


def test_fields_are_encoded_as_boxo_does() -> None:
    """The DAG-CBOR map is deterministic: from the same fields come the same bytes."""
    for vector in VECTORS:
        data = IpnsEntry.FromString(vector.record).data
        assert encode_map(decode_map(data)) == data  # type: ignore[arg-type]


@pytest.mark.parametrize("type", KeyType)
def test_our_own_records(type: KeyType) -> None:
    key = PrivateKey.generate(type)
    for legacy in (True, False):
        made = IpnsRecord.create(key, "/ipfs/x", now=NOW, sequence=3, lifetime=60, legacy=legacy)
        VALIDATOR.validate(ipns_key(key.peer_id), made.encoded, NOW)
        assert (made.value, made.sequence, made.ttl) == (b"/ipfs/x", 3, 300 * 10**9)
        assert made.expires == int(NOW + 60) * 10**9
        parsed = IpnsEntry.FromString(made.encoded)
        # Only keys that a peer id does not hold are in the record.
        assert parsed.HasField("pubKey") == (key.peer_id.public_key() is None)
        assert parsed.HasField("signatureV1") == parsed.HasField("value") == legacy


def test_data_that_was_changed() -> None:
    forged = encode_map({"Value": b"/ipfs/evil", "Validity": b"2126-01-01T00:00:00Z"})
    plain = signed()
    refused(entry(plain, lambda each: setattr(each, "signatureV2", b"x" * 64)), "sign")
    refused(entry(plain, lambda each: setattr(each, "data", forged)), "without a valid")
    changed = encode_map(decode_map(IpnsEntry.FromString(plain).data) | {"Sequence": 8})  # type: ignore[arg-type]
    refused(entry(plain, lambda each: setattr(each, "data", changed)), "sign")


def test_a_signature_of_version_1_does_not_count() -> None:
    refused(entry(record(), lambda each: each.ClearField("signatureV2")), "without signed data")
    refused(entry(record(), lambda each: each.ClearField("data")), "without signed data")
    wrong = entry(record(), lambda each: setattr(each, "signatureV1", b"x"))
    VALIDATOR.validate(NAME, wrong, NOW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", b"/ipfs/evil"),
        ("validity", b"2126-01-01T00:00:00Z"),
        ("validityType", 1),
        ("sequence", 99),
        ("ttl", 99),
    ],
)
def test_copies_that_contradict_what_is_signed(field: str, value: object) -> None:
    refused(entry(record(), lambda each: setattr(each, field, value)), "differ")


def test_copies_are_not_looked_at_without_a_value() -> None:
    """As the specification has it: fields of version 1 count if its signature or value is there."""
    VALIDATOR.validate(NAME, entry(signed(), lambda each: setattr(each, "sequence", 99)), NOW)


def test_the_key() -> None:
    other = PrivateKey.generate()
    refused(signed(other), "did not sign")
    given = entry(
        signed(other), lambda each: setattr(each, "pubKey", other.public_key.to_protobuf())
    )
    refused(given, f"by {other.peer_id}")
    refused(entry(signed(), lambda each: setattr(each, "pubKey", b"\x08\x01junk")), "sign")
    rsa = PrivateKey.generate(KeyType.RSA)
    refused(signed(rsa), "without a public key", ipns_key(rsa.peer_id))
    refused(signed(), "no IPNS name", b"/ipns/nobody")


def test_validity() -> None:
    for text, valid in {
        b"2126-01-02T03:04:05Z": True,
        b"2027-01-15T09:00:00+01:00": False,  # that is NOW
        b"2027-01-15T09:00:00.000000001+01:00": True,
        b"2027-01-15T07:00:00.5-01:00": True,
        b"2027-01-15T08:00:00Z": False,
        b"1970-01-01T00:00:00Z": False,
    }.items():
        if valid:
            VALIDATOR.validate(NAME, signed(Validity=text), NOW)
        else:
            refused(signed(Validity=text), "expired")
    for text in (b"", b"tomorrow", b"2126-13-01T00:00:00Z", b"2126-01-02", b"2126-01-02T03:04:05"):
        refused(signed(Validity=text), "no time")
    refused(signed(ValidityType=1), "another validity")


@pytest.mark.parametrize("name", ["Value", "Validity", "ValidityType", "Sequence", "TTL"])
def test_a_field_is_missing_or_of_another_type(name: str) -> None:
    refused(signed(KEY, **{name: None}), "without a")
    refused(
        signed(KEY, **{name: 1 if name.startswith("Val") else b"1"}), "without a|another validity"
    )


def test_fields_that_we_do_not_know_are_ignored() -> None:
    VALIDATOR.validate(NAME, signed(_mine=b"anything"), NOW)


def test_size() -> None:
    refused(bytes(10 * 1024 + 1), "10241 bytes")
    with pytest.raises(ValueError, match="limit is 10240"):
        IpnsRecord.create(KEY, bytes(10 * 1024), now=NOW)
    refused(b"\xff\xff", "no IPNS record")


def test_the_best_is_the_newest() -> None:
    old, new = record(1), record(2)
    later = record(2, lifetime=7200)
    assert VALIDATOR.select(NAME, [old, new, later]) == 2
    assert VALIDATOR.select(NAME, [new, old]) == 0
    other = record(2, lifetime=7200, value="/ipfs/y")
    larger = max(later, other)
    assert VALIDATOR.select(NAME, [later, other]) == [later, other].index(larger)
    assert VALIDATOR.select(NAME, [other, later]) == [other, later].index(larger)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",  # no map
        b"\xa0\x00",  # something behind it
        b"\xa1\x61a",  # too short
        b"\xa2\x61a\x01\x61a\x02",  # a key twice
        b"\xa1\x01\x01",  # a key that is no text
        b"\xa1\x61a\x18\x01",  # not the shortest form
        b"\xa1\x61a\x1b" + bytes(8),
        b"\xbf\x61a\x01\xff",  # indefinite length
        b"\xa1\x61a\x5f\x41a\xff",
        b"\xa1\x61a\xf7",  # undefined
        b"\xa1\x61a\xf9\x3c\x00",  # a float of 16 bits
        b"\xa1\x61a\xfb\x7f\xf0" + bytes(6),  # infinity
        b"\xa1\x61a\xc1\x01",  # another tag than a link's
        b"\xa1\x61a\xd8\x2a\x41\x01",  # a link without its prefix
        b"\xa1\x61\xff\x01",  # no UTF-8
        b"\xba\xff\xff\xff\xff",  # more than there is
        b"\xa1\x61a" + b"\x81" * 40 + b"\x01",  # too deep
    ],
)
def test_what_is_no_dag_cbor_map(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_map(data)


def test_dag_cbor_values() -> None:
    data = bytes.fromhex("a861610061622061636166616480616581f66166f5616718186168d82a420001")
    assert decode_map(data) == {
        "a": 0,
        "b": -1,
        "c": "f",
        "d": [],
        "e": [None],
        "f": True,
        "g": 24,
        "h": b"\x01",
    }
    assert decode_map(b"\xa1\x61a\xfb\x3f\xf8" + bytes(6)) == {"a": 1.5}
    # RFC 8949, appendix A
    assert decode_map(bytes.fromhex("a16161" + "1bffffffffffffffff")) == {"a": 2**64 - 1}
    assert decode_map(bytes.fromhex("a16161" + "1903e8")) == {"a": 1000}
