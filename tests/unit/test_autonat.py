"""AutoNAT's messages, state machines and rates, without I/O."""

from __future__ import annotations

import pytest
from multiaddr import Multiaddr

from carrick.addressing import host_ip, parse_address
from carrick.errors import ProtocolError
from carrick.host import Reachability
from carrick.identity import PeerId, PrivateKey
from carrick.protocols.autonat import ProbeRejected, ServerRates
from carrick.protocols.autonat.addresses import can_be_probed, voter
from carrick.protocols.autonat.rates import Rates
from carrick.protocols.autonat.state import MAX_SERVERS, Tracker, Verdict, overall
from carrick.protocols.autonat.v1 import messages as v1
from carrick.protocols.autonat.v1.state import DialBack, answer, judge
from carrick.protocols.autonat.v2.messages import (
    MAX_ADDRESSES,
    MAX_DATA,
    DialDataRequest,
    DialDataResponse,
    DialRequest,
    DialResponse,
    DialStatus,
    ResponseStatus,
    decode,
    decode_dial_back,
    encode,
    encode_dial_back,
    encode_dial_back_response,
)
from carrick.protocols.autonat.v2.state import (
    AskForData,
    Dial,
    Finding,
    MoreData,
    Probe,
    Refuse,
    Request,
    SendData,
)

PUBLIC, PRIVATE, UNKNOWN = Reachability.PUBLIC, Reachability.PRIVATE, Reachability.UNKNOWN
HERE = parse_address("/ip4/1.2.3.4/tcp/4001")
THERE = parse_address("/ip4/5.6.7.8/udp/4001/quic-v1")
OK = ResponseStatus.OK


# --- v2 messages --------------------------------------------------------------------------------


def test_v2_wire_format() -> None:
    """The field numbers and types of the specification, byte for byte."""
    address = HERE.to_bytes()
    request = b"\x0a\x08" + address + b"\x11" + bytes(range(1, 9))
    assert encode(DialRequest((HERE,), 0x0807060504030201)) == b"\x0a\x13" + request
    assert encode(DialDataRequest(1, 300)) == b"\x1a\x05\x08\x01\x10\xac\x02"
    assert encode(DialDataResponse(b"abc")) == b"\x22\x05\x0a\x03abc"
    response = DialResponse(OK, 2, DialStatus.DIAL_ERROR)
    assert encode(response) == b"\x12\x07\x08\xc8\x01\x10\x02\x18\x64"
    assert encode_dial_back(1) == b"\x09\x01" + bytes(7)
    assert encode_dial_back_response() == b""
    assert decode_dial_back(encode_dial_back(2**64 - 1)) == 2**64 - 1
    for message in (
        DialRequest((HERE, THERE), 7),
        DialDataRequest(1, 300),
        DialDataResponse(b"abc"),
        response,
    ):
        assert decode(encode(message)) == message


@pytest.mark.parametrize(
    ("name", "code"),
    [("INTERNAL_ERROR", 0), ("REQUEST_REJECTED", 100), ("DIAL_REFUSED", 101), ("OK", 200)],
)
def test_response_statuses(name: str, code: int) -> None:
    assert ResponseStatus[name] == code
    assert decode(encode(DialResponse(ResponseStatus[name]))) == DialResponse(ResponseStatus(code))


def test_unknown_statuses_are_discarded() -> None:
    for payload in (b"\x12\x02\x08\x63", b"\x12\x05\x08\xc8\x01\x18\x05"):
        with pytest.raises(ProtocolError, match="unknown status"):
            decode(payload)


def test_addresses_keep_their_places_and_are_bounded() -> None:
    message = decode(b"\x0a\x0e" + b"\x0a\x02\xff\xff" + b"\x0a\x08" + HERE.to_bytes())
    assert message == DialRequest((None, HERE), 0)
    many = decode(encode(DialRequest((HERE,) * 500, 0)))
    assert isinstance(many, DialRequest) and len(many.addresses) == MAX_ADDRESSES


def test_dial_data_comes_in_pieces_of_4096_bytes_at_most() -> None:
    assert decode(encode(DialDataResponse(bytes(MAX_DATA))))
    with pytest.raises(ProtocolError):
        decode(encode(DialDataResponse(bytes(MAX_DATA + 1))))


# --- the v2 server ------------------------------------------------------------------------------


def request(*, observed: str = "1.2.3.4", allow: bool = True, size: int = 30_000) -> Request:
    return Request(
        observed=host_ip(parse_address(f"/ip4/{observed}/tcp/1")),
        can_dial=can_be_probed,
        allow=lambda _address, _paid: allow,
        data_size=size,
    )


def test_the_first_address_that_can_be_dialled_is_chosen() -> None:
    private = parse_address("/ip4/10.0.0.1/tcp/1")
    step = request().receive(DialRequest((None, private, HERE, THERE), 7))
    assert step == Dial(HERE, 2, 7, paid=False)
    assert decode(step.response(DialStatus.OK)) == DialResponse(OK, 2, DialStatus.OK)


def test_nothing_to_dial() -> None:
    step = request().receive(DialRequest((None, parse_address("/ip4/127.0.0.1/tcp/1")), 7))
    assert isinstance(step, Refuse)
    assert decode(step.payload) == DialResponse(ResponseStatus.DIAL_REFUSED)


def test_beyond_the_rates() -> None:
    step = request(allow=False).receive(DialRequest((HERE,), 7))
    assert isinstance(step, Refuse)
    assert decode(step.payload) == DialResponse(ResponseStatus.REQUEST_REJECTED)


def test_a_foreign_ip_costs_data() -> None:
    asked = request(size=30_000)
    step = asked.receive(DialRequest((THERE, HERE), 7))
    assert isinstance(step, AskForData)
    assert decode(step.payload) == DialDataRequest(0, 30_000)
    for _ in range(7):
        assert asked.receive(DialDataResponse(bytes(4000))) == MoreData()
    # The last piece may be longer than what is missing.
    assert asked.receive(DialDataResponse(bytes(4000))) == Dial(THERE, 0, 7, paid=True)


def test_dial_data_must_be_worth_the_reading() -> None:
    asked = request()
    asked.receive(DialRequest((THERE,), 7))
    with pytest.raises(ProtocolError, match="pieces"):
        asked.receive(DialDataResponse(bytes(99)))


def test_a_mapped_address_is_not_foreign() -> None:
    mapped = parse_address("/ip6/::ffff:1.2.3.4/tcp/1")
    assert request().receive(DialRequest((mapped,), 7)) == Dial(mapped, 0, 7, paid=False)


def test_a_request_goes_as_it_must() -> None:
    with pytest.raises(ProtocolError):
        request().receive(DialDataResponse(b""))
    asked = request()
    asked.receive(DialRequest((THERE,), 7))
    with pytest.raises(ProtocolError):
        asked.receive(DialRequest((THERE,), 7))


# --- the v2 client ------------------------------------------------------------------------------


def test_a_server_that_reached_us() -> None:
    probe = Probe([HERE, THERE], 7)
    assert decode(probe.request()) == DialRequest((HERE, THERE), 7)
    probe.receive(DialResponse(OK, 0, DialStatus.OK))
    assert probe.awaits_dial_back
    probe.dialled_back = parse_address("/ip4/192.168.1.2/tcp/4001")
    assert probe.finding() == Finding(HERE, True)


def test_a_server_that_did_not() -> None:
    probe = Probe([HERE, THERE], 7)
    probe.receive(DialResponse(OK, 1, DialStatus.DIAL_ERROR))
    assert not probe.awaits_dial_back
    assert probe.finding() == Finding(THERE, False)


@pytest.mark.parametrize("status", [DialStatus.OK, DialStatus.DIAL_BACK_ERROR])
@pytest.mark.parametrize("came", [None, "/ip4/192.168.1.2/udp/4001/quic-v1", "/ip6/2a00::1/tcp/1"])
def test_a_dial_that_did_not_arrive_is_not_believed(status: DialStatus, came: str | None) -> None:
    probe = Probe([HERE], 7)
    probe.receive(DialResponse(OK, 0, status))
    probe.dialled_back = came and parse_address(came)
    with pytest.raises(ProtocolError, match="did not arrive"):
        probe.finding()


def test_the_nonce_came_though_the_server_saw_an_error() -> None:
    probe = Probe([HERE], 7)
    probe.receive(DialResponse(OK, 0, DialStatus.DIAL_BACK_ERROR))
    probe.dialled_back = HERE
    assert probe.finding() == Finding(HERE, True)


def test_dial_data_is_sent_in_small_messages() -> None:
    step = Probe([HERE], 7).receive(DialDataRequest(0, 100_000))
    assert isinstance(step, SendData)
    pieces = [decode(payload) for payload in step.payloads]
    sizes = [len(piece.data) for piece in pieces if isinstance(piece, DialDataResponse)]
    assert len(sizes) == len(pieces) and max(sizes) <= 4096 and sum(sizes) == 100_000


def test_too_much_data_is_not_sent() -> None:
    for wrong in (DialDataRequest(0, 100_001), DialDataRequest(1, 30_000)):
        with pytest.raises(ProtocolError):
            Probe([HERE], 7).receive(wrong)
    probe = Probe([HERE], 7)
    probe.receive(DialDataRequest(0, 30_000))
    with pytest.raises(ProtocolError):
        probe.receive(DialDataRequest(0, 30_000))


def test_answers_that_make_no_sense() -> None:
    for wrong in (
        DialResponse(OK, 1, DialStatus.OK),
        DialResponse(OK, 0, DialStatus.UNUSED),
        DialRequest((), 0),
    ):
        with pytest.raises(ProtocolError):
            Probe([HERE], 7).receive(wrong)
    with pytest.raises(ProbeRejected) as refusal:
        Probe([HERE], 7).receive(DialResponse(ResponseStatus.DIAL_REFUSED))
    assert refusal.value.status is ResponseStatus.DIAL_REFUSED


# --- v1 -----------------------------------------------------------------------------------------


def test_v1_wire_format() -> None:
    address = HERE.to_bytes()
    dial = v1.encode(v1.Dial(b"id", (HERE,)))
    assert dial == b"\x08\x00\x12\x10\x0a\x0e\x0a\x02id\x12\x08" + address
    response = v1.DialResponse(v1.Status.DIAL_REFUSED, "no", HERE)
    assert v1.encode(response) == b"\x08\x01\x1a\x10\x08\x65\x12\x02no\x1a\x08" + address
    for message in (v1.Dial(b"id", (HERE, THERE)), response):
        assert v1.decode(v1.encode(message)) == message
    assert [int(each) for each in v1.Status] == [0, 100, 101, 200, 300]


def test_v1_reads_sixteen_addresses() -> None:
    many = tuple(parse_address(f"/ip4/1.2.3.4/tcp/{i}") for i in range(1, 1001))
    message = v1.decode(v1.encode(v1.Dial(b"id", many)))
    assert isinstance(message, v1.Dial) and message.addresses == many[:16]
    assert len(v1.encode(v1.Dial(b"id", many))) <= v1.MAX_MESSAGE


def ask_v1(
    peer: PeerId, *texts: str, observed: str | None = "1.2.3.4", allow: bool = True
) -> object:
    return answer(
        v1.Dial(peer.to_bytes(), tuple(map(parse_address, texts))),
        peer,
        observed=None if observed is None else parse_address(f"/ip4/{observed}/tcp/1"),
        can_dial=lambda _: True,
        allow=lambda _: allow,
    )


VICTIMS = (
    "/ip4/5.6.7.8/tcp/80",
    "/ip4/10.0.0.1/tcp/80",
    "/ip4/127.0.0.1/tcp/80",
    "/ip6/::1/tcp/80",
    "/dnsaddr/victim.example",
    "/dns4/victim.example/tcp/80",
    "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit",
)


def test_v1_dials_the_observed_ip_only() -> None:
    """ATTACKS row 68."""
    peer = PrivateKey.generate().peer_id
    seen, own = parse_address("/ip4/1.2.3.4/tcp/1"), parse_address("/ip4/1.2.3.4/tcp/80")
    assert ask_v1(peer, *VICTIMS) == DialBack((own, seen))
    assert ask_v1(peer, *VICTIMS[3:]) == DialBack((seen,))
    assert ask_v1(peer, f"{own}/p2p/{peer}") == DialBack((own, seen))


def test_v1_tries_inner_ports_at_the_outer_address() -> None:
    """What a peer behind a NAT knows of itself, as go and rust send it."""
    peer = PrivateKey.generate().peer_id
    step = ask_v1(peer, "/ip4/192.168.1.2/udp/4001/quic-v1", "/ip4/192.168.1.2/tcp/4001")
    assert isinstance(step, DialBack)
    assert [str(each) for each in step.addresses] == [
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/ip4/1.2.3.4/tcp/4001",
        "/ip4/1.2.3.4/tcp/1",
    ]


def test_v1_refuses_what_it_cannot_check() -> None:
    peer, other = PrivateKey.generate().peer_id, PrivateKey.generate().peer_id
    for step in (
        ask_v1(peer, str(HERE), observed=None),  # over a relay
        ask_v1(peer, str(HERE), observed="10.0.0.1"),
        ask_v1(peer, str(HERE), allow=False),
    ):
        assert isinstance(step, v1.DialResponse) and step.status is v1.Status.DIAL_REFUSED
    named = v1.Dial(other.to_bytes(), (HERE,))
    step = answer(named, peer, observed=HERE, can_dial=lambda _: True, allow=lambda _: True)
    assert isinstance(step, v1.DialResponse) and step.status is v1.Status.BAD_REQUEST


def test_v1_answers() -> None:
    assert judge(v1.DialResponse(v1.Status.OK)) is True
    assert judge(v1.DialResponse(v1.Status.DIAL_ERROR)) is False
    assert judge(v1.DialResponse(v1.Status.DIAL_REFUSED)) is None
    with pytest.raises(ProtocolError):
        judge(v1.Dial(b"", ()))


# --- rates --------------------------------------------------------------------------------------


def test_rates_are_those_of_any_minute() -> None:
    rates = Rates(ServerRates())
    assert [rates.allow_request("peer", i) for i in range(14)] == [True] * 12 + [False] * 2
    assert sum(rates.allow_request(f"peer {i}", 20.0) for i in range(100)) == 48
    assert not rates.allow_request("another", 59.0)
    assert rates.allow_request("peer", 60.0)
    assert len(rates) <= 2 * 60


def test_dials_of_one_address_are_rare_whoever_asks() -> None:
    rates = Rates(ServerRates())
    assert sum(rates.allow_dial("victim", paid=False, now=1.0) for _ in range(50)) == 12
    assert sum(rates.allow_dial(f"victim {i}", paid=True, now=1.0) for i in range(50)) == 12


# --- verdicts -----------------------------------------------------------------------------------


def test_a_verdict_needs_several_voters() -> None:
    verdict = Verdict(2)
    for now in range(10):
        verdict.record("the same", True, now)
    assert verdict.reachability is UNKNOWN
    verdict.record("another", True, 10)
    assert verdict.reachability is PUBLIC and verdict.settled


def test_one_liar_does_not_turn_it() -> None:
    verdict = Verdict(2)
    for voter_name in ("a", "b"):
        verdict.record(voter_name, True, 0)
    verdict.record("liar", False, 1)
    assert verdict.reachability is PUBLIC and not verdict.settled  # more are asked
    for voter_name in ("a", "b"):
        verdict.record(voter_name, False, 2)
    assert verdict.reachability is PRIVATE


def test_words_grow_old() -> None:
    verdict = Verdict(2)
    verdict.record("a", True, 0)
    verdict.record("b", True, 0)
    verdict.expire(3 * 3600)
    assert verdict.reachability is UNKNOWN and verdict.score == 0


def test_the_tracker_asks_several_and_then_rests() -> None:
    tracker: Tracker[str] = Tracker(confidence=2, refresh=3600)
    tracker.set_things(["x", "y"], start=3)
    servers = ["a", "b", "c"]
    assert tracker.next(servers, 0) is None and tracker.next_time(servers) == 3
    now = 3.0
    while now < 300:
        while (asking := tracker.next(servers, now)) is not None:
            tracker.heard(asking.server, asking.things[0], True, now)
        now = max(tracker.next_time(servers), now + 0.01)
    assert {each: v.reachability for each, v in tracker.verdicts.items()} == dict.fromkeys(
        "xy", PUBLIC
    )
    assert now > 3600  # settled: the next one is the refresh


def test_the_tracker_leaves_failing_servers_alone() -> None:
    tracker: Tracker[str] = Tracker(confidence=2, refresh=3600)
    tracker.set_things(["x"], start=0)
    waits, now = [], 0.0
    for _ in range(8):
        assert tracker.next(["a"], now) is not None
        tracker.failed("a", now)
        waits.append(tracker.next_time(["a"]) - now)
        now += waits[-1]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_a_refusal_is_remembered() -> None:
    tracker: Tracker[str] = Tracker(confidence=2, refresh=3600)
    tracker.set_things(["x", "y"], start=0)
    assert tracker.next(["a"], 0) is not None
    tracker.heard("a", "y", True, 0)  # it cannot dial x
    assert tracker.next(["a"], 60) is None
    assert tracker.next(["b"], 60) is not None
    tracker.failed("b", 60, refused=True)
    assert tracker.next(["b"], 600) is None


def test_the_tracker_is_bounded() -> None:
    tracker: Tracker[str] = Tracker(confidence=2, refresh=3600)
    tracker.set_things((f"thing {i}" for i in range(1000)), start=0)
    assert len(tracker.verdicts) == 50
    for i in range(MAX_SERVERS * 2):
        tracker.heard(f"server {i}", "thing 0", False, 0)
    assert len(tracker._servers) == MAX_SERVERS


def test_a_hint_has_settled_things_asked_again() -> None:
    tracker: Tracker[str] = Tracker(confidence=1, refresh=3600)
    tracker.set_things(["x"], start=0)
    tracker.next(["a"], 0)
    tracker.heard("a", "x", False, 0)
    assert tracker.next(["a"], 200) is None
    tracker.recheck(200)
    assert tracker.next(["a"], 200) is not None


def test_the_verdict_on_the_host() -> None:
    def by(*words: bool) -> Verdict:
        verdict = Verdict(2)
        for number, word in enumerate(words):
            verdict.record(number, word, 0)
        return verdict

    node = by(False, False)
    assert overall({}, node) is PRIVATE
    assert overall({HERE: by(True, True), THERE: by(False, False)}, node) is PUBLIC
    assert overall({HERE: by(True), THERE: by(False, False)}, by()) is UNKNOWN
    assert overall({HERE: by(), THERE: by(False, False)}, by()) is PRIVATE
    assert overall({HERE: by(False)}, by(True, True)) is PUBLIC


def test_who_counts_as_one() -> None:
    one, two = PrivateKey.generate().peer_id, PrivateKey.generate().peer_id

    def at(text: str, peer: PeerId = one) -> object:
        return voter(parse_address(text), peer)

    assert at("/ip4/1.2.3.4/tcp/1") == at("/ip4/1.2.3.4/udp/2/quic-v1", two)
    assert at("/ip4/1.2.3.4/tcp/1") != at("/ip4/1.2.3.5/tcp/1")
    assert at("/ip6/2a00:1:2:300::1/tcp/1") == at("/ip6/2a00:1:2:3ff::1/tcp/1", two)
    assert at("/ip6/2a00:1:2:300::1/tcp/1") != at("/ip6/2a00:1:2:400::1/tcp/1")
    assert at("/ip4/127.0.0.1/tcp/1") != at("/ip4/127.0.0.1/tcp/1", two)


@pytest.mark.parametrize(
    ("text", "can"),
    [
        ("/ip4/1.2.3.4/tcp/1", True),
        ("/ip6/2a00::1/udp/1/quic-v1", True),
        ("/ip4/100.64.0.1/tcp/1", False),
        ("/ip4/203.0.113.1/tcp/1", False),
        ("/ip4/224.0.0.1/udp/1/quic-v1", False),
        ("/ip6/::ffff:10.0.0.1/tcp/1", False),
        ("/ip6/64:ff9b::a00:1/tcp/1", False),
        ("/ip6/2002:a00:1::1/tcp/1", False),
        ("/dns4/example.com/tcp/1", False),
    ],
)
def test_what_can_be_probed(text: str, can: bool) -> None:
    address: Multiaddr = parse_address(text)
    assert can_be_probed(address) is can
