"""Records of the DHT, whatever comes in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import ProtocolError
from carrick.identity import PrivateKey
from carrick.protocols.kademlia import InvalidRecord, IpnsRecord, IpnsValidator, ipns_key
from carrick.protocols.kademlia.dag_cbor import decode_map, encode_map
from carrick.protocols.kademlia.limiting import MAX_PEERS, RequestLimit
from carrick.protocols.kademlia.pb.ipns_pb2 import IpnsEntry
from carrick.protocols.kademlia.schedule import Schedule

KEY = PrivateKey.generate()
NOW = 1_800_000_000.0
GOOD = IpnsRecord.create(KEY, "/ipfs/x", now=NOW).encoded
names = st.text(max_size=12)
fields = st.dictionaries(names, st.integers(0, 2**64 - 1) | st.binary(max_size=300), max_size=8)


@given(fields)
def test_maps_come_back(items: dict[str, int | bytes]) -> None:
    assert decode_map(encode_map(items)) == items


@given(st.binary(max_size=200) | fields.map(encode_map))
def test_dag_cbor_raises_only_its_error(data: bytes) -> None:
    try:
        decode_map(data)
    except ProtocolError:
        return


@given(st.binary(max_size=300) | fields.map(lambda items: wrapped(encode_map(items))))
def test_garbage_is_no_ipns_record(data: bytes) -> None:
    try:
        IpnsValidator().validate(ipns_key(KEY.peer_id), data, NOW)
    except InvalidRecord:
        return
    raise AssertionError("that was not signed")


def wrapped(data: bytes) -> bytes:
    return IpnsEntry(data=data, signatureV2=b"x" * 64, value=b"v").SerializeToString()


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_byte_that_counts_can_be_changed(at: int, change: int) -> None:
    """The copy's signature counts nothing, so what is read must be the same or be refused."""
    forged = bytearray(GOOD)
    forged[at] ^= change
    try:
        IpnsValidator().validate(ipns_key(KEY.peer_id), bytes(forged), NOW)
    except InvalidRecord:
        return
    good, read = IpnsRecord.parse(GOOD), IpnsRecord.parse(forged)
    assert (read.value, read.sequence, read.expires, read.ttl) == (
        good.value,
        good.sequence,
        good.expires,
        good.ttl,
    )


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5e5), st.booleans()), max_size=60))
def test_the_schedule_forgets_nothing(steps: list[tuple[int, float, bool]]) -> None:
    """Every key that was not removed is due within little more than an interval."""
    schedule, last = Schedule(1000.0), dict[bytes, float]()
    for number, at, remove in steps:
        key = b"%d" % number
        if remove:
            assert schedule.remove(key) == (last.pop(key, None) is not None)
        else:
            schedule.published(key, at)
            last[key] = at
    assert len(schedule) == len(last)
    while (key_due := schedule.next_key(1e9)) is not None:
        assert last[key_due] + 99 < schedule.next_at < last[key_due] + 1101
        assert schedule.near(key_due, 0, 1e9, 100)[0] == key_due
        schedule.remove(key_due)
        del last[key_due]
    assert not last


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), max_size=200))
def test_no_peer_has_more_requests_than_its_rate(steps: list[tuple[int, float]]) -> None:
    limit, now = RequestLimit[int](rate=10, burst=5), 0.0
    answered: dict[int, list[float]] = {}
    for peer, pause in steps:
        now += pause / 50
        answered.setdefault(peer, []).append(now + limit.wait(peer, now))
    for moments in answered.values():
        for first, start in enumerate(moments):
            within = [each for each in moments[first:] if each <= start + 1]
            assert len(within) <= 10 + 5 + 1
    assert len(limit) <= MAX_PEERS
