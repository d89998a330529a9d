"""The DHT's parsers and state machines, whatever comes in; the package kademlia as the oracle."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st
from kademlia.node import Node, NodeHeap

from carrick.errors import ProtocolError
from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.lookup import DisjointLookup, Lookup, PeerState
from carrick.protocols.kademlia.messages import (
    MAX_ADDRESS,
    MAX_ADDRESSES,
    MAX_ANSWER,
    MAX_PEERS,
    Message,
    MessageType,
    PeerInfo,
    Record,
    decode,
)
from carrick.protocols.kademlia.table import RoutingTable


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + hashlib.sha256(b"property %d" % number).digest())


PEERS = [peer(number) for number in range(200)]
peers = st.sampled_from(PEERS)
infos = st.builds(
    PeerInfo, peers, st.lists(st.binary(max_size=20), max_size=5).map(tuple), st.integers(0, 9)
)


@given(st.binary(max_size=400))
def test_garbage_raises_only_protocol_errors(data: bytes) -> None:
    try:
        message = decode(data)
    except ProtocolError:
        return
    assert len(message.closer) <= MAX_PEERS
    assert all(len(each.encoded) <= MAX_ADDRESSES for each in message.providers)
    assert all(isinstance(each.addresses, list) for each in message.closer)


described = st.builds(
    lambda peer, count, size: PeerInfo(peer, (bytes(size),) * count),
    peers,
    st.integers(0, 16),
    st.integers(0, MAX_ADDRESS),
)


@given(
    st.binary(max_size=300),
    st.none() | st.integers(0, 2 * MAX_ANSWER).map(bytes),
    st.lists(described, max_size=21).map(tuple),
    st.lists(described, max_size=21).map(tuple),
)
def test_answers_are_made_to_fit(
    key: bytes,
    value: bytes | None,
    closer: tuple[PeerInfo, ...],
    providers: tuple[PeerInfo, ...],
) -> None:
    """Into what rust reads."""
    record = None if value is None else Record(key, value)
    message = Message(MessageType.GET_VALUE, key, record, closer, providers)
    fitting = message.fitting()
    assert (fitting.key, fitting.record) == (key, record)
    alone = Message(MessageType.GET_VALUE, key, record).encode()
    if len(alone) < MAX_ANSWER - 128:
        assert len(fitting.encode()) <= MAX_ANSWER
    for made, all in ((fitting.closer, closer), (fitting.providers, providers)):
        # The first peers, with their first addresses; nobody loses all of them.
        for one, other in zip(made, all, strict=False):
            assert one.id == other.id
            assert one.encoded == other.encoded[: len(one.encoded)]
            assert bool(one.encoded) == bool(other.encoded)
    room = MAX_ANSWER // 2 - len(alone) - 128
    if len(message.encode()) < room:
        assert len(fitting.closer) == len(closer)


@given(
    st.sampled_from(MessageType),
    st.binary(max_size=60),
    st.none() | st.binary(max_size=60),
    st.lists(infos, max_size=MAX_PEERS).map(tuple),
    st.lists(infos, max_size=MAX_PEERS).map(tuple),
)
def test_messages_survive_the_wire(
    type: MessageType,
    key: bytes,
    value: bytes | None,
    closer: tuple[PeerInfo, ...],
    providers: tuple[PeerInfo, ...],
) -> None:
    record = None if value is None else Record(key, value)
    message = Message(type, key, record, closer, providers)
    assert decode(message.encode()) == message


@given(st.lists(peers, unique=True, max_size=100), st.integers(0, 2**256 - 1), st.integers(1, 25))
def test_closest_is_what_kademlias_heap_says(known: list[PeerId], target: int, count: int) -> None:
    table = RoutingTable(0, k=200)
    for each in known:
        table.answered(each, (), 0.0)
    heap = NodeHeap(Node(target.to_bytes(32, "big")), count)
    heap.push([Node(peer_key(each).to_bytes(32, "big")) for each in known])
    expected = [int.from_bytes(node.id, "big") for node in heap]
    assert [peer_key(each) for each in table.closest(target, count)] == expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["answered", "failed", "remove"]), peers, st.integers(0, 3)),
        max_size=300,
    )
)
def test_the_table_keeps_its_bounds(steps: list[tuple[str, PeerId, int]]) -> None:
    table = RoutingTable(0, k=3)
    for now, (step, who, group) in enumerate(steps):
        if step == "answered":
            table.answered(who, {group}, float(now))
        elif step == "failed":
            table.failed(who)
        else:
            table.remove(who)
        contacts = list(table)
        assert len(contacts) == len(table) == sum(table.bucket_sizes().values())
        assert all(size <= 3 for size in table.bucket_sizes().values())
        for name in range(4):
            assert sum(name in each.groups for each in contacts) <= 3


@settings(max_examples=60)
@given(st.data(), st.booleans(), st.integers(0, 2**256 - 1))
def test_a_lookup_ends_and_is_right_about_what_it_saw(
    data: st.DataObject, disjoint: bool, key: int
) -> None:
    seeds = data.draw(st.lists(peers, unique=True, max_size=20))
    lookup: Lookup | DisjointLookup
    if disjoint:
        lookup = DisjointLookup(key, seeds, paths=3, k=5, alpha=6)
    else:
        lookup = Lookup(key, seeds, k=5, alpha=3)
    now, waiting, answered = 0.0, list[PeerId](), set[PeerId]()
    for _ in range(400):
        asked = lookup.to_ask(now)
        assert not set(asked) & answered
        waiting += asked
        if lookup.done:
            break
        choice = data.draw(st.sampled_from(["answer", "fail", "wait"]))
        if choice == "wait" or not waiting:
            assert lookup.wake_at > now
            now = min(lookup.wake_at, now + 10)
            continue
        who = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        if choice == "answer":
            lookup.answered(who, data.draw(st.lists(peers, max_size=8)), now)
            answered.add(who)
        else:
            lookup.failed(who, now)
            assert lookup.state(who) is PeerState.FAILED
    assert lookup.done
    best = sorted(answered, key=lambda each: peer_key(each) ^ key)[:5]
    assert lookup.closest == best
    assert lookup.requests <= 15 * (3 if disjoint else 1)
