from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from carrick.identity import PrivateKey
from carrick.network.events import Event, EventBus, PeerConnected, PeerDisconnected

ALICE = PrivateKey.generate().peer_id
BOB = PrivateKey.generate().peer_id


def test_events_come_in_order_and_by_type() -> None:
    bus = EventBus()
    with bus.subscribe(PeerConnected) as connected, bus.subscribe(Event) as everything:
        bus.publish(PeerConnected(ALICE))
        bus.publish(PeerDisconnected(ALICE))
        bus.publish(PeerConnected(BOB))
        assert connected.get_nowait() == PeerConnected(ALICE)
        assert connected.get_nowait() == PeerConnected(BOB)
        assert connected.get_nowait() is None
        assert [everything.get_nowait() for _ in range(3)] == [
            PeerConnected(ALICE),
            PeerDisconnected(ALICE),
            PeerConnected(BOB),
        ]


def test_a_slow_subscriber_loses_its_oldest_events_and_knows_it() -> None:
    bus = EventBus()
    slow = bus.subscribe(PeerConnected, capacity=2)
    for _ in range(5):
        bus.publish(PeerConnected(ALICE))
    bus.publish(PeerConnected(BOB))
    assert slow.dropped == 4
    assert [slow.get_nowait(), slow.get_nowait()] == [PeerConnected(ALICE), PeerConnected(BOB)]


def test_a_subscriber_that_says_where_gets_nothing_else() -> None:
    bus = EventBus()
    with bus.subscribe(PeerConnected, capacity=1, where=lambda e: e.peer_id == ALICE) as events:
        bus.publish(PeerConnected(ALICE))
        bus.publish(PeerConnected(BOB))
        assert events.get_nowait() == PeerConnected(ALICE)
        assert events.get_nowait() is None
        assert not events.dropped


def test_wanted_follows_subscriptions() -> None:
    bus = EventBus()
    assert not bus.wanted(PeerConnected)
    with bus.subscribe(PeerConnected):
        assert bus.wanted(PeerConnected)
        assert not bus.wanted(PeerDisconnected)
        with bus.subscribe(Event):
            assert bus.wanted(PeerDisconnected)
    assert not bus.wanted(PeerConnected)


def test_capacity_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        EventBus().subscribe(capacity=0)


async def test_iteration_waits_and_ends_with_close() -> None:
    bus = EventBus()
    seen: list[Event] = []
    subscription = bus.subscribe(PeerConnected)

    async def read() -> None:
        async for event in subscription:
            seen.append(event)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            bus.publish(PeerConnected(ALICE))
            await wait_all_tasks_blocked()
            assert seen == [PeerConnected(ALICE)]
            subscription.close()
    bus.publish(PeerConnected(BOB))
    assert seen == [PeerConnected(ALICE)]


async def test_a_subscriber_may_end_while_events_are_published() -> None:
    bus = EventBus()
    with bus.subscribe(PeerConnected), bus.subscribe(PeerConnected) as other:
        bus.publish(PeerConnected(ALICE))
        other.close()
        bus.publish(PeerConnected(BOB))
