"""When something is published again."""

from __future__ import annotations

import math

import pytest

from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.limiting import MAX_PEERS, RequestLimit
from carrick.protocols.kademlia.schedule import REPUBLISH, Schedule

KEYS = [b"key %d" % number for number in range(1000)]


def test_the_work_is_spread_over_the_interval() -> None:
    """All are published at once; from then on each has its moment, and no hour is a crowd."""
    schedule, hours, end = Schedule(), [0] * 22, 1.1 * REPUBLISH
    for key in KEYS:
        schedule.published(key, 0.0)
    order = []
    while schedule.next_at <= end:
        at = schedule.next_at
        due = schedule.next_key(at)
        assert due is not None and schedule.next_key(at - 1) is None
        hours[int(at // 3600) % 22] += 1
        order.append(due)
        schedule.published(due, at)
    assert len(set(order)) == len(order) == len(KEYS)
    assert max(hours) < 3 * min(hours)
    # One after the other as they lie in the keyspace: neighbours share their nearest peers.
    first = min(KEYS, key=key_of)
    at_first = order.index(first)
    assert order[at_first:] + order[:at_first] == sorted(KEYS, key=key_of)
    # And in the same order again.
    assert schedule.next_key(schedule.next_at) == order[0]


def test_a_key_is_due_once_in_an_interval_whenever_it_was_published() -> None:
    schedule = Schedule(100.0)
    for at in (0.0, 12.5, 99.0, 1e6):
        schedule.published(b"key", at)
        assert at + 10 <= schedule.next_at <= at + 110
    assert len(schedule) == 1 and b"key" in schedule


def test_who_was_published_early_skips_his_moment() -> None:
    schedule = Schedule(100.0)
    schedule.published(b"key", 0.0)
    moment = schedule.next_at
    schedule.published(b"key", moment - 9)
    assert schedule.next_at == pytest.approx(moment + 100)


def test_what_was_due_while_we_were_away_is_due_now() -> None:
    schedule = Schedule(100.0)
    schedule.published(b"key", 0.0)
    assert schedule.next_key(1e6) == b"key"


def test_keys_around_one() -> None:
    schedule = Schedule()
    for key in KEYS:
        schedule.published(key, 0.0)
    first = KEYS[0]
    place = key_of(first)
    around = schedule.near(first, 4, 2 * REPUBLISH, 2000)
    assert around[0] == first
    assert set(around) == {key for key in KEYS if key_of(key) >> 252 == place >> 252}
    assert set(schedule.near(first, 0, 2 * REPUBLISH, 2000)) == set(KEYS)
    assert len(schedule.near(first, 0, 2 * REPUBLISH, 10)) == 10
    # Those that were published a moment ago are left alone.
    now = 100 * REPUBLISH
    for key in KEYS:
        schedule.published(key, now)
    assert schedule.near(first, 0, now, 2000) == [first]
    soon = schedule.near(first, 0, now + 0.1 * REPUBLISH, 2000)
    assert 50 < len(soon) < 200


def test_failures_and_farewells() -> None:
    schedule = Schedule()
    schedule.published(b"key", 0.0)
    schedule.failed(b"key", 5.0)
    assert schedule.next_at == 5.0
    assert schedule.remove(b"key") and not schedule.remove(b"key")
    assert schedule.next_at == math.inf and schedule.next_key(1e9) is None
    schedule.failed(b"key", 5.0)
    assert not len(schedule)


def test_the_heap_does_not_grow() -> None:
    schedule = Schedule()
    for number in range(10_000):
        schedule.published(b"key", float(number))
    assert len(schedule._heap) <= 66


def test_requests_are_slowed_down_not_refused() -> None:
    limit = RequestLimit[str](rate=10, burst=5)
    assert [limit.wait("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert limit.wait("a", 0.0) == pytest.approx(0.1)
    assert limit.wait("a", 0.0) == pytest.approx(0.2)
    assert limit.wait("b", 0.0) == 0.0
    assert limit.wait("a", 10.0) == 0.0


def test_peers_that_are_limited_are_bounded() -> None:
    limit = RequestLimit[int]()
    for peer in range(MAX_PEERS + 100):
        limit.wait(peer, 0.0)
    assert len(limit) == MAX_PEERS
