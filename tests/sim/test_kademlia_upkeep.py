"""Upkeep of a table: what it asks, and what it leaves alone."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from carrick.protocols.kademlia.keyspace import common_prefix_length, peer_key
from carrick.protocols.kademlia.table import RoutingTable
from tests.support.dht_networks import introduce, settled

HOUR = 3600.0


async def test_newcomers_of_a_full_bucket_are_not_asked(autojump_clock: MockClock) -> None:
    network, (us, *others) = settled(60)
    us.table = RoutingTable(us.table.own, k=4)
    us.dht.table = us.table
    far = [each for each in others if common_prefix_length(us.table.own, peer_key(each.id)) == 0]
    introduce(us, far[:4])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(us.upkeep._check_newcomers)
        us.upkeep.offer(far[5].id)
        await trio.sleep(10)
        assert network.costs.requests == 0
        us.table.failed(far[0].id)
        us.learn(far[5].info)
        us.upkeep.offer(far[5].id)
        await trio.sleep(10)
        assert far[5].id in us.table and network.costs.requests == 1
        nursery.cancel_scope.cancel()


async def test_contacts_are_asked_before_they_are_forgotten(autojump_clock: MockClock) -> None:
    """A server that goes away is in no table an hour later; those that stay are in all."""
    _, nodes = settled(30)
    gone, *rest = nodes
    async with trio.open_nursery() as nursery:
        for node in rest:
            nursery.start_soon(node.run)
        with trio.move_on_after(60):
            await gone.run()
        await trio.sleep(HOUR)
        assert not any(gone.id in node.table for node in rest)
        assert all(len(node.table) == len(rest) - 1 for node in rest)
        nursery.cancel_scope.cancel()
