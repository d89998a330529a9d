"""AutoNAT and observed addresses, whatever strangers say."""

from __future__ import annotations

import contextlib
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.addressing import host_ip, parse_address
from carrick.errors import CarrickError, ProtocolError
from carrick.host import ObservedAddresses, Reachability
from carrick.host.observed import MAX_OBSERVATIONS, MAX_PER_LISTENER
from carrick.protocols.autonat import ServerRates
from carrick.protocols.autonat.addresses import can_be_probed
from carrick.protocols.autonat.rates import Rates
from carrick.protocols.autonat.state import KEPT, MAX_UNDER_WAY, Tracker
from carrick.protocols.autonat.v1 import messages as v1
from carrick.protocols.autonat.v2 import messages as v2
from carrick.protocols.autonat.v2.state import (
    MAX_DATA_SIZE,
    Dial,
    Probe,
    Refuse,
    Request,
    SendData,
)
from carrick.wire import FrameReader, encode_frame

ADDRESSES = [
    parse_address(text)
    for text in (
        "/ip4/1.2.3.4/tcp/4001",
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/ip4/5.6.7.8/tcp/80",
        "/ip4/10.0.0.1/tcp/80",
        "/ip6/2a00::1/tcp/80",
        "/dns4/example.com/tcp/443",
    )
]
SOME = st.lists(st.sampled_from(ADDRESSES), max_size=60).map(tuple)
V2 = st.one_of(
    st.builds(v2.DialRequest, SOME, st.integers(0, 2**64 - 1)),
    st.builds(v2.DialDataRequest, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)),
    st.builds(v2.DialDataResponse, st.binary(max_size=v2.MAX_DATA)),
    st.builds(
        v2.DialResponse,
        st.sampled_from(v2.ResponseStatus),
        st.integers(0, 2**32 - 1),
        st.sampled_from(v2.DialStatus),
    ),
)


@settings(max_examples=40)
@given(st.binary(max_size=300))
def test_garbage_raises_only_the_typed_error(data: bytes) -> None:
    for decode in (v1.decode, v2.decode, v2.decode_dial_back):
        with contextlib.suppress(ProtocolError):
            decode(data)


@settings(max_examples=40)
@given(V2, st.data())
def test_v2_messages_survive_and_changed_ones_are_harmless(
    message: v2.Incoming, data: st.DataObject
) -> None:
    payload = v2.encode(message)
    decoded = v2.decode(payload)
    if isinstance(message, v2.DialRequest):
        assert decoded == v2.DialRequest(message.addresses[:50], message.nonce)
    else:
        assert decoded == message
    if payload:
        at = data.draw(st.integers(0, len(payload) - 1))
        changed = payload[:at] + bytes((data.draw(st.integers(0, 255)),)) + payload[at + 1 :]
        with contextlib.suppress(ProtocolError):
            v2.decode(changed)


@settings(max_examples=40)
@given(SOME, st.binary(max_size=50), st.sampled_from(v1.Status), st.text(max_size=20))
def test_v1_messages_survive(
    addresses: tuple[object, ...], peer: bytes, status: v1.Status, text: str
) -> None:
    dial = v1.Dial(peer, addresses)
    assert v1.decode(v1.encode(dial)) == v1.Dial(peer, dial.addresses[:16])
    answer = v1.decode(v1.encode(v1.DialResponse(status, text, ADDRESSES[0])))
    assert isinstance(answer, v1.DialResponse) and answer.status is status
    assert answer.text.isprintable() and len(answer.text) == len(text)


@settings(max_examples=40)
@given(
    SOME,
    st.sampled_from(ADDRESSES[:3]),
    st.booleans(),
    st.lists(st.integers(0, 4096), max_size=60),
    st.lists(st.integers(1, 500), max_size=20),
)
def test_nobody_else_is_dialled_without_the_data(
    addresses: tuple[object, ...], observed: object, allow: bool, sizes: list[int], cuts: list[int]
) -> None:
    """However the stream is cut: a dial of a foreign IP comes after all the data."""
    request = Request(
        observed=host_ip(observed),
        can_dial=can_be_probed,
        allow=lambda _address, _paid: allow,
        data_size=30_000,
    )
    messages: list[v2.Incoming] = [
        v2.DialRequest(addresses, 7),
        *(v2.DialDataResponse(bytes(n)) for n in sizes),
    ]
    wire = b"".join(encode_frame(v2.encode(message)) for message in messages)
    reader, paid = FrameReader(v2.MAX_MESSAGE), 0
    dials: list[Dial] = []
    while wire and not dials:
        cut = cuts.pop() if cuts else len(wire)
        reader.feed(wire[:cut])
        wire = wire[cut:]
        while not dials and (frame := reader.next()) is not None:
            message = v2.decode(frame)
            paid += len(message.data) if isinstance(message, v2.DialDataResponse) else 0
            try:
                step = request.receive(message)
            except ProtocolError:
                return
            if isinstance(step, Refuse):
                return
            if isinstance(step, Dial):
                dials.append(step)
    for dial in dials:
        assert allow and can_be_probed(dial.address)
        assert dial.address == next(a for a in addresses if can_be_probed(a))
        assert dial.paid == (host_ip(dial.address) != host_ip(observed))
        assert not dial.paid or paid >= 30_000


@settings(max_examples=40)
@given(st.lists(V2, max_size=6), st.sampled_from([None, *ADDRESSES]))
def test_a_client_believes_only_what_arrived(answers: list[v2.Incoming], came: object) -> None:
    probe = Probe(ADDRESSES[:2], 7)
    sent = 0
    for message in answers:
        try:
            step = probe.receive(message)
        except CarrickError:
            return
        if isinstance(step, SendData):
            assert not sent
            sent = sum(len(payload) for payload in step.payloads)
            assert sent <= MAX_DATA_SIZE * 1.01
        else:
            break
    if probe.response is None:
        return
    probe.dialled_back = came
    try:
        finding = probe.finding()
    except ProtocolError:
        return
    if finding.reachable:
        assert came is not None


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans(), st.floats(0, 10)),
        max_size=200,
    )
)
def test_rates_hold_in_any_minute(calls: list[tuple[int, int, bool, float]]) -> None:
    rates = Rates(ServerRates(overall=10, per_peer=4, with_data=3, per_target=5))
    now, served, dialled = 0.0, [], []
    for peer, target, paid, wait in calls:
        now += wait
        if rates.allow_request(peer, now):
            served.append((now, peer))
            if rates.allow_dial(target, paid=paid, now=now):
                dialled.append((now, target, paid))
        assert len(rates) <= 4 * 10
    for start, *_ in served:
        minute = [each for each in served if start <= each[0] < start + 60]
        assert len(minute) <= 10
        assert all(sum(1 for each in minute if each[1] == p) <= 4 for p in range(6))
        dials = [each for each in dialled if start <= each[0] < start + 60]
        assert sum(1 for each in dials if each[2]) <= 3
        assert all(sum(1 for each in dials if each[1] == t) <= 5 for t in range(4))


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["next", "heard", "refused", "failed", "things", "recheck"]),
            st.integers(0, 9),
            st.integers(0, 5),
            st.booleans(),
            st.floats(0, 3000),
        ),
        max_size=150,
    )
)
def test_the_tracker_never_spins_and_stays_bounded(
    calls: list[tuple[str, int, int, bool, float]],
) -> None:
    tracker: Tracker[int] = Tracker(confidence=2, refresh=3600)
    servers = list(range(10))
    now, under_way = 0.0, set()
    for kind, server, thing, reachable, wait in calls:
        now += wait
        if kind == "next":
            asking = tracker.next(servers, now)
            if asking is None:
                later = tracker.next_time(servers)
                assert later > now
                assert not math.isnan(later)
            else:
                assert asking.server not in under_way
                assert len(set(asking.things)) == len(asking.things) <= 10
                under_way.add(asking.server)
                assert len(under_way) <= MAX_UNDER_WAY
        elif kind == "things":
            tracker.set_things(range(thing), now)
        elif kind == "recheck":
            tracker.recheck(now)
        else:
            under_way.discard(server)
            if kind == "heard":
                tracker.heard(server, thing, reachable, now)
            else:
                tracker.failed(server, now, refused=kind == "refused")
    tracker.next([], now + KEPT)
    assert {each.reachability for each in tracker.verdicts.values()} <= {Reachability.UNKNOWN}


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from([1, 1, 1, 2, 3, 4, 5]),
            st.sampled_from(ADDRESSES),
            st.sampled_from(ADDRESSES),
            st.booleans(),
            st.floats(0, 600),
        ),
        max_size=120,
    )
)
def test_fewer_than_four_networks_move_nothing(
    calls: list[tuple[int, int, object, object, bool, float]],
) -> None:
    observed, now = ObservedAddresses(), 0.0
    listening = [parse_address("/ip4/0.0.0.0/tcp/4001")]
    networks = set()
    for connection, network, local, seen, ends, wait in calls:
        now += wait
        if ends:
            observed.ended(connection, now)
        elif observed.record(
            connection,
            local=local,
            remote=parse_address(f"/ip4/8.8.8.{network}/tcp/{connection + 1}"),
            seen=seen,
            now=now,
        ):
            networks.add(network)
        active = observed.active(listening, now)
        assert len(observed) <= MAX_OBSERVATIONS
        assert len(active) <= MAX_PER_LISTENER
        assert not active or len(networks) >= 4
