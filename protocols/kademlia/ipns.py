"""IPNS records: what the holder of a key says that his name points at. No I/O.

A record stands in the DHT under `/ipns/<peer id bytes>`. It is a protobuf whose field `data` is a
DAG-CBOR map, signed; the older fields beside it are copies for old readers.

Source: ipfs/specs, src/ipns/ipns-record.md, revision 8721f87.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from carrick.errors import IdentityError, ProtocolError
from carrick.identity import PeerId, PrivateKey, PublicKey
from carrick.interfaces import Buffer
from carrick.protocols.kademlia.dag_cbor import decode_map, encode_map
from carrick.protocols.kademlia.errors import InvalidRecord
from carrick.protocols.kademlia.pb import ipns_pb2 as pb
from carrick.wire import parse_message

__all__ = ["IpnsRecord", "IpnsValidator", "ipns_key"]

MAX_RECORD = 10 * 1024  # bytes ("Record Size Limit")
LIFETIME = 48 * 3600.0  # s: DHT servers keep it no longer ("Validity")
TTL = 300.0  # s ("TTL")
_PREFIX = b"/ipns/"
_SIGNED = b"ipns-signature:"
_EOL = 0  # the one type of validity: until a moment
_NS = 10**9
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1)


def ipns_key(peer: PeerId) -> bytes:
    """Under which key the record of a name stands in the DHT."""
    return _PREFIX + peer.to_bytes()


@dataclass(frozen=True, slots=True)
class IpnsRecord:
    """What a record says, and its bytes. Made by `create` or `parse`.

    Attributes:
        value: a content path, as `/ipfs/…` or `/ipns/…`.
        sequence: its version; the highest counts.
        expires: nanoseconds since 1970.
        ttl: for how many nanoseconds it may be believed without asking again.
        encoded: the record as it stands in the DHT.
    """

    value: bytes
    sequence: int
    expires: int
    ttl: int
    encoded: bytes

    @classmethod
    def create(
        cls,
        key: PrivateKey,
        value: str | bytes,
        *,
        now: float,
        sequence: int = 0,
        lifetime: float = LIFETIME,
        ttl: float = TTL,
        legacy: bool = True,
    ) -> IpnsRecord:
        """A new record, signed.

        Args:
            now: UNIX time in seconds.
            sequence: one more than the record's before.
            lifetime, ttl: seconds.
            legacy: with the fields and the signature that readers before 2021 look at.

        Raises:
            ValueError: a number is out of range, or the record too large.
        """
        value = value.encode() if isinstance(value, str) else value
        validity = _to_rfc3339(int(now * _NS) + int(lifetime * _NS))
        fields: dict[str, int | bytes] = {
            "Value": value,
            "Validity": validity,
            "ValidityType": _EOL,
            "Sequence": sequence,
            "TTL": int(ttl * _NS),
        }
        data = encode_map(fields)
        entry = pb.IpnsEntry(data=data, signatureV2=key.sign(_SIGNED + data))
        if key.peer_id.public_key() is None:
            entry.pubKey = key.public_key.to_protobuf()
        if legacy:
            entry.value, entry.validity, entry.validityType = value, validity, _EOL
            entry.sequence, entry.ttl = sequence, int(ttl * _NS)
            entry.signatureV1 = key.sign(value + validity + b"EOL")
        try:
            return cls.parse(entry.SerializeToString())
        except InvalidRecord as error:
            raise ValueError(str(error)) from error

    @classmethod
    def parse(cls, encoded: Buffer) -> IpnsRecord:
        """What it says, whoever says it.

        Raises:
            InvalidRecord: it is no record, or its copies contradict what is signed.
        """
        entry = _entry(encoded)
        try:
            signed = decode_map(entry.data)
        except ProtocolError as error:
            raise InvalidRecord(f"an IPNS record whose data is malformed: {error}") from error
        value, validity = signed.get("Value"), signed.get("Validity")
        sequence, ttl = _number(signed, "Sequence"), _number(signed, "TTL")
        if not isinstance(value, bytes) or not isinstance(validity, bytes):
            raise InvalidRecord("an IPNS record without a value or a validity")
        if _number(signed, "ValidityType") != _EOL:
            raise InvalidRecord("an IPNS record with another validity than a time")
        copies = entry.value, entry.validity, entry.validityType, entry.sequence, entry.ttl
        if (entry.value or entry.signatureV1) and copies != (value, validity, _EOL, sequence, ttl):
            raise InvalidRecord("an IPNS record whose fields differ from what is signed")
        return cls(value, sequence, _from_rfc3339(validity), ttl, bytes(encoded))

    def verify(self, peer: PeerId, now: float) -> None:
        """See that the holder of `peer`'s key made it, and that it is still valid.

        Args:
            now: UNIX time in seconds.

        Raises:
            InvalidRecord: it is not.
        """
        entry = _entry(self.encoded)
        try:
            key = PublicKey.from_protobuf(entry.pubKey) if entry.pubKey else peer.public_key()
            if key is None:
                raise InvalidRecord("an IPNS record without a public key", peer=peer)
            if key.peer_id != peer:
                raise InvalidRecord(f"an IPNS record by {key.peer_id}, not {peer}", peer=peer)
            key.verify(_SIGNED + entry.data, entry.signatureV2)
        except IdentityError as error:
            raise InvalidRecord(f"an IPNS record that {peer} did not sign: {error}") from error
        if self.expires <= now * _NS:
            raise InvalidRecord("an IPNS record that has expired", peer=peer)


class IpnsValidator:
    """The values of `/ipns/`. See `carrick.protocols.kademlia.interfaces.Validator`."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        try:
            peer = PeerId(key.removeprefix(_PREFIX))
        except IdentityError as error:
            raise InvalidRecord(f"no IPNS name: {error}") from error
        IpnsRecord.parse(value).verify(peer, now)

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """The highest sequence number, then the latest to expire, then the larger bytes (boxo,
        ipns/validation.go)."""
        records = [IpnsRecord.parse(value) for value in values]
        ranks = [(each.sequence, each.expires, each.encoded) for each in records]
        return ranks.index(max(ranks))


def _entry(encoded: Buffer) -> pb.IpnsEntry:
    if len(encoded) > MAX_RECORD:
        raise InvalidRecord(f"an IPNS record of {len(encoded)} bytes; the limit is {MAX_RECORD}")
    try:
        entry = parse_message(pb.IpnsEntry, encoded)
    except ProtocolError as error:
        raise InvalidRecord(f"no IPNS record: {error}") from error
    if not entry.data or not entry.signatureV2:
        raise InvalidRecord("an IPNS record without signed data")
    return entry


def _number(signed: dict[str, object], name: str) -> int:
    number = signed.get(name)
    if type(number) is not int or number < 0:
        raise InvalidRecord(f"an IPNS record without a valid {name}")
    return number


def _to_rfc3339(moment: int) -> bytes:
    seconds, rest = divmod(moment, _NS)
    day = datetime.fromtimestamp(seconds, UTC)
    return b"%s.%09dZ" % (day.strftime("%Y-%m-%dT%H:%M:%S").encode(), rest)


def _from_rfc3339(text: bytes) -> int:
    """Nanoseconds since 1970."""
    found = _RFC3339.fullmatch(text.decode("ascii", "replace"))
    try:
        moment = datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        moment = None
    if found is None or moment is None:
        raise InvalidRecord("an IPNS record whose validity is no time")
    _, fraction, sign, hours, minutes = found.groups()
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if sign is not None:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds * _NS + int((fraction or "").ljust(9, "0"))
