"""Relay messages from strangers, and the relay's bookkeeping against a model."""

from __future__ import annotations

import ipaddress
from collections import Counter
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carrick.errors import InvalidEnvelope, ProtocolError
from carrick.identity import PrivateKey
from carrick.protocols.relay import Capacity, Limit, Status, Voucher
from carrick.protocols.relay.messages import (
    MAX_MESSAGE,
    Connect,
    Grant,
    HopStatus,
    Reserve,
    StopConnect,
    StopStatus,
    decode_hop,
    decode_stop,
)
from carrick.protocols.relay.state import Allowance, RefreshSchedule, Refused, Slots
from carrick.wire import FrameReader, encode_frame

KEYS = [PrivateKey.generate() for _ in range(6)]
PEERS = st.sampled_from([key.peer_id for key in KEYS])
LIMITS = st.builds(Limit, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
GRANTS = st.builds(
    Grant, st.integers(0, 2**64 - 1), st.just(()), st.none() | st.binary(max_size=100)
)
HOP_MESSAGES = st.one_of(
    st.builds(Reserve),
    st.builds(Connect, PEERS),
    st.builds(HopStatus, st.integers(0, 2**32 - 1), st.none() | GRANTS, LIMITS),
)
STOP_MESSAGES = st.one_of(
    st.builds(StopConnect, PEERS, LIMITS), st.builds(StopStatus, st.sampled_from(Status))
)


@given(HOP_MESSAGES, STOP_MESSAGES)
@settings(max_examples=100)
def test_messages_there_and_back(hop: Reserve, stop: StopStatus) -> None:
    assert decode_hop(hop.encode()) == hop
    assert decode_stop(stop.encode()) == stop


@given(st.lists(HOP_MESSAGES, max_size=5), st.lists(st.integers(1, 40), min_size=1))
@settings(max_examples=100)
def test_any_cut_gives_the_same_messages(messages: list[Reserve], cuts: list[int]) -> None:
    wire = b"".join(encode_frame(message.encode()) for message in messages)
    reader, found, at, turn = FrameReader(MAX_MESSAGE), [], 0, 0
    while at < len(wire):
        reader.feed(wire[at : at + cuts[turn % len(cuts)]])
        at += cuts[turn % len(cuts)]
        turn += 1
        while (frame := reader.next()) is not None:
            found.append(decode_hop(frame))
    assert found == messages


@given(st.binary(max_size=300) | HOP_MESSAGES.map(lambda message: message.encode()[:-1]))
@settings(max_examples=300)
def test_garbage_raises_only_protocol_errors(data: bytes) -> None:
    for decode in (decode_hop, decode_stop):
        with suppress(ProtocolError):
            decode(data)


@given(st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=100)
def test_a_changed_voucher_is_refused(at: int, value: int) -> None:
    sealed = bytearray(Voucher(KEYS[0].peer_id, KEYS[1].peer_id, 5).seal(KEYS[0]))
    at %= len(sealed)
    changed = sealed[at] != value
    sealed[at] = value
    try:
        voucher = Voucher.open(bytes(sealed))
    except InvalidEnvelope:
        assert changed
    else:
        # Protobuf has bytes that mean nothing; what is believed is what was signed.
        assert voucher == Voucher(KEYS[0].peer_id, KEYS[1].peer_id, 5)


@given(st.integers(1, 5000), st.lists(st.integers(1, 400), max_size=40))
def test_no_cut_lets_more_bytes_pass(limit: int, sizes: list[int]) -> None:
    allowance, passed = Allowance(limit), 0
    for size in sizes:
        size = min(size, allowance.readable(400))
        passed += allowance.take(size)
        if allowance.exceeded:
            break
    sent = sum(sizes)
    assert passed == allowance.passed <= limit
    assert allowance.exceeded == (passed == limit and sent > limit) or sent <= limit


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["granted", "failed", "lost"]), st.floats(0, 1), st.floats(1, 1e5)
        )
    )
)
def test_what_is_due_is_never_long_in_coming(events: list[tuple[str, float, float]]) -> None:
    schedule, now = RefreshSchedule(), 0.0
    for event, chance, seconds in events:
        if event == "granted":
            schedule.granted(now, seconds, chance)
            assert now < schedule.due < schedule.expires
        else:
            getattr(schedule, event)(now, chance)
            assert now <= schedule.due <= now + 750
        now = schedule.due


class SlotsModel(RuleBasedStateMachine):
    """Whatever comes in whatever order: the bounds hold, and nobody loses what is theirs."""

    capacity = Capacity(
        reservations=4, reservations_per_ip=2, reservations_per_asn=3, circuits_per_peer=3, ttl=100
    )

    def __init__(self) -> None:
        super().__init__()
        self.slots = Slots(self.capacity)
        self.now = 0.0
        self.given: dict[object, tuple[float, int, int | None]] = {}
        self.circuits: list[tuple[object, object]] = []

    @rule(peer=PEERS, place=st.integers(0, 3), asn=st.none() | st.integers(0, 1))
    def reserve(self, peer: object, place: int, asn: int | None) -> None:
        ip = ipaddress.IPv4Address(place + 1)
        self.given = {p: slot for p, slot in self.given.items() if slot[0] > self.now}
        try:
            expires = self.slots.reserve(peer, ip, self.now, asn=asn)  # type: ignore[arg-type]
        except Refused:
            return
        assert expires == self.now + 100
        self.given[peer] = (expires, place, asn)

    @rule(peer=PEERS)
    def drop(self, peer: object) -> None:
        self.slots.drop(peer)  # type: ignore[arg-type]
        self.given.pop(peer, None)

    @rule(source=PEERS, to=PEERS)
    def open_circuit(self, source: object, to: object) -> None:
        if source == to:
            return
        try:
            self.slots.open_circuit(source, to, self.now)  # type: ignore[arg-type]
        except Refused as refused:
            known = to in self.given and self.given[to][0] > self.now
            assert known == (refused.status is not Status.NO_RESERVATION)
            return
        self.circuits.append((source, to))

    @rule(index=st.integers(0, 10))
    def close_circuit(self, index: int) -> None:
        if self.circuits:
            self.slots.close_circuit(*self.circuits.pop(index % len(self.circuits)))  # type: ignore[arg-type]

    @rule(seconds=st.floats(0, 60))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounds(self) -> None:
        live = {peer: slot for peer, slot in self.given.items() if slot[0] > self.now}
        for key in KEYS:
            assert self.slots.has(key.peer_id, self.now) == (key.peer_id in live)
        assert len(live) <= 4
        assert all(n <= 2 for n in Counter(place for _, place, _ in live.values()).values())
        assert Counter(asn for *_, asn in live.values() if asn is not None).total() <= 6
        used = Counter(peer for circuit in self.circuits for peer in circuit)
        assert all(n <= 3 for n in used.values())
        assert self.slots.circuits == len(self.circuits)


TestSlots = SlotsModel.TestCase
TestSlots.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
