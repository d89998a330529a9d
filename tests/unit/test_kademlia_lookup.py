"""Lookups against a network of tables, without any I/O."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from carrick.protocols.kademlia.lookup import DisjointLookup, Lookup, PeerState
from carrick.protocols.kademlia.table import RoutingTable


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + hashlib.sha256(b"node %d" % number).digest())


class Net:
    """Peers that know each other as after many lookups, and answer at once."""

    def __init__(self, count: int, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.peers = [peer(number) for number in range(count)]
        self.tables: dict[PeerId, RoutingTable] = {}
        for each in self.peers:
            table = RoutingTable(peer_key(each))
            for other in rng.sample(self.peers, len(self.peers)):
                table.answered(other, (), 0.0)
            self.tables[each] = table

    def nearest(self, key: int, count: int = 20) -> list[PeerId]:
        return sorted(self.peers, key=lambda each: peer_key(each) ^ key)[:count]


def walk(
    lookup: Lookup | DisjointLookup,
    answer: Callable[[PeerId], list[PeerId] | None],
    now: float = 0.0,
) -> None:
    """Drive it; an answer of None is a failure."""
    asked = lookup.to_ask(now)
    while asked:
        each = asked.pop(0)
        closer = answer(each)
        if closer is None:
            lookup.failed(each, now)
        else:
            lookup.answered(each, closer, now)
        asked += lookup.to_ask(now)


NET = Net(500)


def test_finds_the_twenty_nearest_in_a_few_hops() -> None:
    rng = random.Random(2)
    for _ in range(50):
        key = rng.getrandbits(256)
        start = rng.choice(NET.peers)
        lookup = Lookup(key, NET.tables[start].closest(key), exclude=[start])
        walk(lookup, lambda each, key=key: NET.tables[each].closest(key))  # type: ignore[misc]
        expected = [each for each in NET.nearest(key, 21) if each != start][:20]
        assert lookup.done
        assert lookup.closest == expected
        assert lookup.hops <= 4
        assert lookup.requests <= 60


def test_dead_peers_are_left_out() -> None:
    key = key_of(b"key")
    dead = set(NET.nearest(key, 5))
    lookup = Lookup(key, NET.peers[:10])
    walk(lookup, lambda each: None if each in dead else NET.tables[each].closest(key))
    # An answer names 20 peers, five of them dead, so what lies beyond is seen in part only.
    alive = [each for each in NET.nearest(key, 20) if each not in dead]
    assert lookup.closest[:15] == alive
    assert dead.isdisjoint(lookup.closest)
    assert all(lookup.state(each) is PeerState.FAILED for each in dead)


def test_no_more_than_alpha_are_asked_at_once() -> None:
    lookup = Lookup(0, NET.peers[:40], alpha=3)
    assert len(lookup.to_ask(0.0)) == 3
    assert lookup.to_ask(0.5) == []


def test_a_slow_peer_is_passed_by_and_its_answer_still_counts() -> None:
    lookup = Lookup(0, NET.peers[:40], alpha=1)
    [slow] = lookup.to_ask(0.0)
    assert lookup.to_ask(1.9) == []
    assert lookup.wake_at == 2.0
    [other] = lookup.to_ask(2.0)
    lookup.answered(other, [], 2.1)
    fresh = lookup.answered(slow, [peer(9999)], 2.2)
    assert fresh == [peer(9999)]
    assert lookup.state(slow) is PeerState.ANSWERED


def test_a_silent_peer_is_not_waited_for_for_ever() -> None:
    lookup = Lookup(0, NET.peers[:3])
    silent, *others = lookup.to_ask(0.0)
    for each in others:
        lookup.answered(each, [], 1.0)
    assert not lookup.done
    assert lookup.wake_at == 2.0
    lookup.to_ask(2.0)
    assert not lookup.done
    assert lookup.wake_at == 6.0
    lookup.to_ask(6.0)
    assert lookup.done
    assert silent not in lookup.closest


def test_it_ends_when_told() -> None:
    lookup = Lookup(0, NET.peers[:40])
    lookup.to_ask(0.0)
    lookup.stop()
    assert lookup.done
    assert lookup.to_ask(1.0) == []


def test_nobody_to_ask() -> None:
    lookup = Lookup(0, [])
    assert lookup.to_ask(0.0) == []
    assert lookup.done
    assert lookup.closest == []


def test_we_are_never_asked() -> None:
    us = NET.peers[0]
    lookup = Lookup(peer_key(us), NET.peers[:5], exclude=[us])
    walk(lookup, lambda each: [us, *NET.peers[:20]])
    assert lookup.state(us) is None
    assert us not in lookup.closest


def test_an_endless_trail_of_nearer_peers_ends() -> None:
    """ATTACKS row 72: every answer names 20 new peers that are nearer."""
    key, number = key_of(b"victim"), 0
    asked: list[PeerId] = []

    def trap(each: PeerId) -> list[PeerId]:
        nonlocal number
        asked.append(each)
        nearer: list[PeerId] = []
        while len(nearer) < 20:
            number += 1
            candidate = peer(100_000 + number)
            if number % 50 == 0 or peer_key(candidate) ^ key < (1 << 255):
                nearer.append(candidate)
        return nearer

    lookup = Lookup(key, [peer(1)])
    walk(lookup, trap)
    assert lookup.done
    assert len(asked) == lookup.requests <= 60


def test_only_forty_peers_of_one_answer_are_heard() -> None:
    """ATTACKS row 71, the lookup's part."""
    stranger = peer(9999)
    lookup = Lookup(0, [stranger])
    lookup.to_ask(0.0)
    assert len(lookup.answered(stranger, NET.peers, 0.1)) == 40


def test_answers_of_peers_that_were_not_asked_do_not_count() -> None:
    lookup = Lookup(0, NET.peers[:2])
    assert lookup.answered(peer(77), NET.peers, 0.0) == []
    assert lookup.state(peer(77)) is None


def test_disjoint_paths_share_no_peer_and_find_the_nearest() -> None:
    key = key_of(b"disjoint")
    asked: list[PeerId] = []

    def answer(each: PeerId) -> list[PeerId]:
        asked.append(each)
        return NET.tables[each].closest(key)

    lookup = DisjointLookup(key, NET.peers[:20], paths=4)
    walk(lookup, answer)
    assert lookup.done
    assert len(asked) == len(set(asked)) == lookup.requests
    assert lookup.closest[:5] == NET.nearest(key, 5)


def test_a_trap_on_one_path_leaves_the_others() -> None:
    key = key_of(b"disjoint trap")
    traps = {peer(50_000 + number) for number in range(2000)}
    fresh = iter(sorted(traps, key=lambda each: peer_key(each) ^ key))
    first = next(fresh)

    def answer(each: PeerId) -> list[PeerId]:
        if each in traps:
            return [next(fresh, first) for _ in range(20)]
        return NET.tables[each].closest(key)

    lookup = DisjointLookup(key, [first, *NET.peers[:20]], paths=4)
    walk(lookup, answer)
    honest = [each for each in lookup.closest if each not in traps]
    assert lookup.done
    assert set(NET.nearest(key, 3)) <= set(honest) | {
        each for each in NET.nearest(key, 3) if lookup.state(each) is PeerState.ANSWERED
    }


def test_at_least_one_path() -> None:
    with pytest.raises(ValueError, match="at least one path"):
        DisjointLookup(0, [], paths=0)
