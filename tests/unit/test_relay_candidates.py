"""AutoRelay's choice: whom to ask next, and whom to leave alone."""

from __future__ import annotations

import math

import pytest

from carrick.addressing import parse_address
from carrick.identity import PeerId, PrivateKey
from carrick.protocols.relay.candidates import MAX_GIVEN_BACKOFF, Candidates, Failure

PEERS = [PrivateKey.generate().peer_id for _ in range(120)]
ALICE, BOB, CAROL, *_ = PEERS
HINT = parse_address("/ip4/8.8.8.8/tcp/4001")


def best(known: Candidates, now: float = 0.0, **connected: float) -> PeerId | None:
    names = {"alice": ALICE, "bob": BOB, "carol": CAROL}
    found = known.best(now, {names[name]: rtt for name, rtt in connected.items()})
    return None if found is None else found.peer


def three() -> Candidates:
    known = Candidates()
    for number, peer in enumerate((ALICE, BOB, CAROL)):
        assert known.offer(peer, 0.0, lot=number / 10)
    return known


def test_who_is_connected_and_near_comes_first() -> None:
    known = three()
    assert best(known) == ALICE  # nothing but the lot speaks for anyone
    assert best(known, carol=math.inf) == CAROL
    assert best(known, carol=0.2, bob=0.1) == BOB


def test_whom_a_person_named_comes_before_all() -> None:
    known = three()
    known.offer(PEERS[3], 0.0, lot=0.9, given=True, hints=[HINT])
    found = known.best(0.0, {BOB: 0.001})
    assert found is not None
    assert (found.peer, found.hints) == (PEERS[3], (HINT,))


def test_not_those_that_are_taken() -> None:
    known = three()
    assert known.best(0.0, {}, {ALICE, BOB, CAROL}) is None
    found = known.best(0.0, {}, {ALICE})
    assert found is not None
    assert found.peer == BOB


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        (Failure.LOST, [5, 10, 20]),
        (Failure.UNREACHABLE, [30, 60, 120]),
        (Failure.BUSY, [300, 600, 1200]),
        (Failure.UNSUITABLE, [3600, 3600, 3600]),
    ],
)
def test_who_failed_is_left_alone(failure: Failure, waits: list[float]) -> None:
    known, now = Candidates(), 0.0
    known.offer(ALICE, now, lot=0.0)
    for wait in waits:
        known.failed(ALICE, failure, now, 0.0)
        known.offer(ALICE, now, lot=0.0)  # hearing of it again does not help
        assert known.next_time(now) == now + wait
        assert best(known, now + wait - 0.1) is None
        now += wait
        assert best(known, now) == ALICE
    known.succeeded(ALICE)
    known.failed(ALICE, failure, now, 0.0)
    assert known.next_time(now) == now + waits[0]


def test_many_clients_do_not_come_back_together() -> None:
    times = []
    for chance in (0.0, 0.5, 1.0):
        known = Candidates()
        known.offer(ALICE, 0.0, lot=0.0)
        known.failed(ALICE, Failure.UNREACHABLE, 0.0, chance)
        times.append(known.next_time(0.0))
    assert times == [30.0, 26.25, 22.5]


def test_a_backoff_is_an_hour_at_most() -> None:
    known = Candidates()
    known.offer(ALICE, 0.0, lot=0.0)
    known.offer(BOB, 0.0, lot=0.0, given=True)
    for _ in range(50):
        known.failed(ALICE, Failure.BUSY, 0.0, 0.0)
        known.failed(BOB, Failure.UNSUITABLE, 0.0, 0.0)
    assert known.next_time(0.0, [BOB]) == 3600
    assert known.next_time(0.0) == MAX_GIVEN_BACKOFF


def test_who_is_not_heard_of_is_forgotten() -> None:
    known = three()
    known.offer(PEERS[3], 0.0, lot=0.9, given=True)
    known.failed(BOB, Failure.UNSUITABLE, 0.0, 0.0)
    known.best(1000.0, {ALICE: 0.1})  # who is connected, is there
    assert {each.peer for each in known.ready(1800.0)} == {ALICE, PEERS[3]}
    assert CAROL not in known
    assert BOB in known  # so that it is not asked again when it comes back
    assert {each.peer for each in known.ready(3600.0)} == {BOB, PEERS[3]}
    assert {each.peer for each in known.ready(5400.0)} == {PEERS[3]}
    assert len(known) == 1


def test_what_is_kept_is_bounded() -> None:
    known = Candidates(most=20)
    kept = [peer for peer in PEERS if known.offer(peer, 0.0, lot=0.5)]
    assert len(kept) == 20
    for given in PEERS[100:]:
        assert known.offer(given, 0.0, lot=0.5, given=True)  # a person's word is not refused
    for peer in PEERS[:100]:
        known.offer(peer, 0.0, lot=0.5)
        known.failed(peer, Failure.UNSUITABLE, 0.0, 0.0)
    assert len(known) <= 20 + 20 + 80


def test_failures_of_unknown_relays_mean_nothing() -> None:
    known = Candidates()
    known.failed(ALICE, Failure.BUSY, 0.0, 0.0)
    known.succeeded(ALICE)
    assert len(known) == 0
    assert known.next_time(0.0) == math.inf
