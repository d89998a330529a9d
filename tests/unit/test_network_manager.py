from __future__ import annotations

from dataclasses import dataclass

import pytest

from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Direction
from carrick.network import ConnectionManager, Limits
from carrick.network import manager as manager_module

PEERS = [PrivateKey.generate().peer_id for _ in range(10)]
LIMITS = Limits(low_water=2, high_water=4)


@dataclass(frozen=True)
class Link:
    peer_id: PeerId
    opened_at: float = 0.0
    direction: Direction = Direction.INBOUND
    stream_count: int = 0


def test_values_are_the_sum_of_tags() -> None:
    manager = ConnectionManager()
    manager.tag(PEERS[0], "dht", 5)
    manager.tag(PEERS[0], "relay", 7)
    manager.tag(PEERS[0], "dht", 6)
    assert manager.value(PEERS[0], 0) == 13
    assert manager.tags(PEERS[0], 0) == {"dht": 6, "relay": 7}
    manager.untag(PEERS[0], "dht")
    manager.untag(PEERS[0], "relay")
    manager.untag(PEERS[0], "relay")
    assert manager.value(PEERS[0], 0) == 0


def test_fading_tags_halve() -> None:
    manager = ConnectionManager()
    manager.bump(PEERS[0], "gossip", 8, now=0, half_life=60)
    assert manager.value(PEERS[0], 60) == pytest.approx(4)
    manager.bump(PEERS[0], "gossip", 4, now=60, half_life=60)
    assert manager.value(PEERS[0], 120) == pytest.approx(4)
    assert manager.value(PEERS[0], 6000) < 0.001


def test_protection_has_reasons() -> None:
    manager = ConnectionManager()
    assert not manager.protects_any
    manager.protect(PEERS[0], "a")
    manager.protect(PEERS[0], "b")
    assert manager.unprotect(PEERS[0], "a")
    assert manager.is_protected(PEERS[0])
    assert not manager.unprotect(PEERS[0], "b")
    assert not manager.unprotect(PEERS[0], "b")
    assert not manager.is_protected(PEERS[0])
    assert not manager.protects_any


def test_nothing_is_closed_up_to_the_high_water_mark() -> None:
    manager = ConnectionManager(LIMITS)
    links = [Link(peer) for peer in PEERS[:4]]
    assert manager.next_trim(links, 1000) is None
    assert manager.trim(links, 1000) == []


def test_the_least_valuable_are_closed_down_to_the_low_water_mark() -> None:
    manager = ConnectionManager(LIMITS)
    links = [Link(peer) for peer in PEERS[:6]]
    manager.tag(PEERS[3], "x", 10)
    manager.tag(PEERS[5], "x", 5)
    closed = manager.trim(links, 1000)
    assert [link.peer_id for link in closed] == [PEERS[0], PEERS[1], PEERS[2], PEERS[4]]


def test_among_equals_inbound_idle_and_young_ones_go_first() -> None:
    manager = ConnectionManager(LIMITS)
    old = Link(PEERS[0], opened_at=0)
    young = Link(PEERS[1], opened_at=5)
    busy = Link(PEERS[2], stream_count=3)
    ours = Link(PEERS[3], direction=Direction.OUTBOUND)
    assert manager.least_valuable([ours, busy, old, young], 100) == [young, old, busy, ours]


def test_new_connections_have_their_grace() -> None:
    manager = ConnectionManager(LIMITS)
    links = [Link(peer, opened_at=100) for peer in PEERS[:5]]
    assert manager.next_trim(links, 110) == 160
    assert manager.trim(links, 110) == []
    assert len(manager.trim(links, 160)) == 3


def test_protected_peers_stay() -> None:
    manager = ConnectionManager(LIMITS)
    links = [Link(peer) for peer in PEERS[:5]]
    for peer in PEERS[:2]:
        manager.protect(peer, "friend")
    assert [link.peer_id for link in manager.trim(links, 1000)] == [PEERS[2]]
    for peer in PEERS[:5]:
        manager.protect(peer, "friend")
    assert manager.next_trim(links, 3000) is None


def test_between_two_trims_there_is_silence() -> None:
    manager = ConnectionManager(LIMITS)
    links = [Link(peer) for peer in PEERS[:6]]
    assert len(manager.trim(links, 1000)) == 4
    assert manager.next_trim(links, 1001) == 1010
    assert manager.trim(links, 1001) == []
    assert len(manager.trim(links, 1010)) == 4


def test_tags_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager_module, "_MAX_TAGGED", 3)
    manager = ConnectionManager()
    for peer in PEERS:
        manager.tag(peer, "x", 1)
    assert sum(manager.value(peer, 0) for peer in PEERS) == 3
