from __future__ import annotations

import random

import pytest
from multiaddr import Multiaddr

from carrick.addressing import parse_address
from carrick.identity import PrivateKey
from carrick.network.dial import backoff as backoff_module
from carrick.network.dial.backoff import Backoff
from carrick.network.dial.black_hole import BlackHoleDetector
from carrick.network.dial.schedule import DialSchedule

PEER = PrivateKey.generate().peer_id
OTHER = PrivateKey.generate().peer_id
A, B, C, D = (parse_address(f"/ip4/1.2.3.4/tcp/{port}") for port in range(1, 5))
QUIC = parse_address("/ip4/1.2.3.4/udp/1/quic-v1")
TCP6 = parse_address("/ip6/2600::1/tcp/1")
QUIC6 = parse_address("/ip6/2600::1/udp/1/quic-v1")
PRIVATE_QUIC = parse_address("/ip4/10.0.0.1/udp/1/quic-v1")


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return a


# --- back-off -------------------------------------------------------------------------------------


def test_backoff_grows_with_the_square_of_failures() -> None:
    """go-libp2p swarm_dial.go: 5 s, then 5 s + 1 s · n², at most 5 min."""
    backoff, now = Backoff(NoJitter()), 0.0
    lengths = []
    for _ in range(20):
        backoff.failed(PEER, A, now)
        lengths.append(backoff.remaining(PEER, A, now))
        now += lengths[-1]
    assert lengths[:4] == [5, 6, 9, 14]
    assert lengths[-1] == 300


def test_backoff_is_per_peer_and_address() -> None:
    backoff = Backoff(NoJitter())
    backoff.failed(PEER, A, 0)
    assert backoff.remaining(PEER, A, 4) == 1
    assert backoff.remaining(PEER, A, 5) == 0
    assert backoff.remaining(PEER, B, 0) == 0
    assert backoff.remaining(OTHER, A, 0) == 0
    backoff.clear(PEER)
    assert backoff.remaining(PEER, A, 4) == 0


def test_backoff_begins_anew_after_a_long_time() -> None:
    backoff = Backoff(NoJitter())
    for now in (0, 5, 11):
        backoff.failed(PEER, A, now)
    backoff.failed(PEER, A, 1000)
    assert backoff.remaining(PEER, A, 1000) == 5


def test_backoff_has_some_jitter() -> None:
    backoff = Backoff(random.Random(1))
    backoff.failed(PEER, A, 0)
    assert 5 < backoff.remaining(PEER, A, 0) <= 5.5


def test_backoff_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff_module, "_CAPACITY", 3)
    backoff = Backoff(NoJitter())
    peers = [PrivateKey.generate().peer_id for _ in range(5)]
    for peer in peers:
        backoff.failed(peer, A, 0)
    assert len(backoff) == 3
    for port in range(1, 300):
        backoff.failed(PEER, parse_address(f"/ip4/1.2.3.4/tcp/{port}"), 0)
    assert backoff.remaining(PEER, parse_address("/ip4/1.2.3.4/tcp/1"), 0) == 0
    assert backoff.remaining(PEER, parse_address("/ip4/1.2.3.4/tcp/299"), 0) > 0
    backoff.failed(OTHER, A, 10_000)  # the others are long over
    backoff.failed(OTHER, A, 10_000)
    assert len(backoff) <= 2


# --- black holes ----------------------------------------------------------------------------------


def fill(detector: BlackHoleDetector, address: Multiaddr, successes: int) -> None:
    for number in range(100):
        detector.record(address, number < successes)


def test_udp_in_a_black_hole_is_left_out_but_for_one_probe_in_a_hundred() -> None:
    detector = BlackHoleDetector()
    assert detector.filter([QUIC, A]) == ([QUIC, A], [])
    fill(detector, QUIC, successes=4)
    probes = sum(detector.filter([QUIC, A])[1] == [] for _ in range(200))
    assert probes == 2
    assert detector.filter([PRIVATE_QUIC, A])[1] == []


def test_five_successes_are_enough() -> None:
    detector = BlackHoleDetector()
    fill(detector, QUIC, successes=5)
    assert detector.filter([QUIC]) == ([QUIC], [])


def test_one_success_opens_it_again() -> None:
    detector = BlackHoleDetector()
    fill(detector, QUIC, successes=0)
    assert detector.filter([QUIC]) == ([], [QUIC])
    detector.record(QUIC, True)
    assert detector.filter([QUIC]) == ([QUIC], [])


def test_udp_and_ipv6_are_judged_apart() -> None:
    detector = BlackHoleDetector()
    fill(detector, TCP6, successes=0)
    fill(detector, QUIC, successes=50)
    assert detector.filter([QUIC, TCP6, A]) == ([QUIC, A], [TCP6])
    fill(detector, QUIC, successes=0)
    assert detector.filter([QUIC, TCP6, QUIC6, A]) == ([A], [QUIC, TCP6, QUIC6])


# --- the schedule ---------------------------------------------------------------------------------


def test_addresses_start_after_their_delays() -> None:
    schedule = DialSchedule(8)
    schedule.add([(A, 0.0), (B, 0.25), (C, 0.5)], now=10)
    assert schedule.due(10) == [A]
    assert schedule.next_at == 10.25
    assert schedule.due(10.1) == []
    assert schedule.due(10.25) == [B]
    assert schedule.due(11) == [C]
    assert schedule.next_at is None
    assert not schedule.exhausted


def test_a_failure_starts_the_next_at_once() -> None:
    schedule = DialSchedule(8)
    schedule.add([(A, 0.0), (B, 1.0), (C, 2.0), (D, 3.0)], now=0)
    assert schedule.due(0) == [A]
    schedule.failed(A, OSError("no"))
    assert schedule.next_at == float("-inf")
    assert schedule.due(0.1) == [B]
    assert schedule.next_at == 2.0
    schedule.failed(B, OSError("no"))
    assert schedule.due(0.2) == [C]
    assert schedule.due(0.3) == []


def test_the_first_goes_at_once_whatever_its_delay() -> None:
    schedule = DialSchedule(8)
    schedule.add([(A, 0.5), (B, 0.75)], now=0)
    assert schedule.due(0) == [A]
    assert schedule.due(0) == []


def test_parallel_dials_are_bounded() -> None:
    schedule = DialSchedule(2)
    schedule.add([(A, 0.0), (B, 0.0), (C, 0.0)], now=0)
    assert schedule.due(0) == [A, B]
    assert schedule.next_at is None
    schedule.failed(A, OSError("no"))
    assert schedule.due(0) == [C]


def test_addresses_may_join_and_are_tried_once() -> None:
    schedule = DialSchedule(8)
    schedule.add([(A, 0.0)], now=0)
    assert schedule.due(0) == [A]
    schedule.add([(A, 0.0), (B, 0.0)], now=1)
    assert schedule.due(1) == [B]
    schedule.refuse(A, ValueError("known"))
    schedule.refuse(C, ValueError("unknown"))
    schedule.add([(C, 0.0)], now=1)
    assert schedule.due(1) == []
    assert [address for address, _ in schedule.causes] == [C]


def test_exhausted_when_all_have_failed() -> None:
    schedule = DialSchedule(8)
    assert schedule.exhausted
    schedule.add([(A, 0.0), (B, 0.0)], now=0)
    for address in schedule.due(0):
        assert not schedule.exhausted
        schedule.failed(address, OSError(str(address)))
    assert schedule.exhausted
    assert [address for address, _ in schedule.causes] == [A, B]
