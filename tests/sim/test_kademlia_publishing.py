"""Publishing again, and optimistic providing, in whole networks under virtual time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from benchmarks.kademlia.model import Node
from carrick.identity import PrivateKey
from carrick.protocols.kademlia import DhtFile, IpnsRecord, IpnsValidator, PeerInfo
from carrick.protocols.kademlia.background import Background
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from carrick.protocols.kademlia.republishing import Republisher
from carrick.protocols.kademlia.schedule import REPUBLISH
from tests.support.dht_networks import know_size, settled

DAY = 86400.0
RNG = random.Random(1)


def holders(key: bytes, nodes: list[Node], provider: Node) -> list[Node]:
    """Those that name `provider`, nearest to the key first."""
    now = trio.current_time()
    found = [
        each
        for each in nodes
        if any(info.id == provider.id for info in each.providers.get(key, now))
        and each is not provider
    ]
    return sorted(found, key=lambda each: peer_key(each.id) ^ key_of(key))


def nearest(key: bytes, nodes: list[Node], but: Node) -> list[Node]:
    others = [each for each in nodes if each is not but]
    return sorted(others, key=lambda each: peer_key(each.id) ^ key_of(key))[:20]


async def test_providers_outlive_their_records(autojump_clock: MockClock) -> None:
    """Records expire after two days; what is published again every 22 hours is there after four,
    and what we have stopped providing is not."""
    _, nodes = settled(30)
    us = nodes[0]
    republisher = Republisher(us.dht)
    keys = [RNG.randbytes(34) for _ in range(5)]
    async with trio.open_nursery() as nursery:
        await nursery.start(republisher.run)
        for key in keys:
            await us.dht.provide(key)
            republisher.add_provided(key)
        assert republisher.provided == 5
        await trio.sleep(DAY)
        assert republisher.stop_providing(keys[0])
        assert not republisher.stop_providing(keys[0])
        await trio.sleep(3 * DAY)
        for key in keys[1:]:
            assert holders(key, nodes, us) == nearest(key, nodes, us)
        assert holders(keys[0], nodes, us) == []
        assert us.providers.get(keys[0], trio.current_time()) == []
        nursery.cancel_scope.cancel()


async def test_a_sweep_shares_lookups(autojump_clock: MockClock) -> None:
    """160 keys in a network of 80: one round asks far fewer peers than a lookup for each would, and
    every key stands at the 20 nearest."""
    network, nodes = settled(80, seed=3)
    us = nodes[0]
    keys = [RNG.randbytes(34) for _ in range(160)]
    republisher = Republisher(us.dht)
    for key in keys:
        republisher.add_provided(key)
    before_all = network.costs.requests
    for _ in range(10):
        await us.dht.closest_peers(RNG.randbytes(34))
    alone = (network.costs.requests - before_all) / 10 * len(keys)
    before = network.costs.by_type.copy()
    async with trio.open_nursery() as nursery:
        await nursery.start(republisher.run)
        await trio.sleep(1.2 * REPUBLISH)
        nursery.cancel_scope.cancel()
    spent = network.costs.by_type - before
    assert spent["FIND_NODE"] < alone / 3
    assert spent["ADD_PROVIDER"] < 2.2 * 20 * len(keys)
    for key in keys:
        assert holders(key, nodes, us)[:20] == nearest(key, nodes, us)


async def test_values_are_put_again_until_they_are_invalid(autojump_clock: MockClock) -> None:
    network, nodes = settled(25, seed=4)
    us, other = nodes[0], nodes[1]
    key = PrivateKey.generate()
    network.validators._by_namespace[b"ipns"] = IpnsValidator()
    name = b"/ipns/" + key.peer_id.to_bytes()
    long, short = (
        IpnsRecord.create(key, "/ipfs/x", now=0, sequence=n, lifetime=lifetime).encoded
        for n, lifetime in enumerate((30 * DAY, DAY))
    )
    republisher = Republisher(us.dht)
    async with trio.open_nursery() as nursery:
        await nursery.start(republisher.run)
        await us.dht.put_value(name, long)
        republisher.add_value(name, long)
        await trio.sleep(4 * DAY)
        assert await other.dht.get_value(name) == long
        # A better one by somebody else of us takes its place: we publish ours no more.
        newer = IpnsRecord.create(key, "/ipfs/y", now=0, sequence=5, lifetime=30 * DAY).encoded
        await other.dht.put_value(name, newer)
        await trio.sleep(2 * REPUBLISH)
        assert republisher.put == 0
        # One that has expired is not put again either.
        second = PrivateKey.generate()
        dying = IpnsRecord.create(second, "/ipfs/x", now=trio.current_time(), lifetime=DAY / 4)
        await us.dht.put_value(b"/ipns/" + second.peer_id.to_bytes(), dying.encoded)
        republisher.add_value(b"/ipns/" + second.peer_id.to_bytes(), dying.encoded)
        assert republisher.put == 1 and republisher.stop_publishing(b"/nothing") is False
        await trio.sleep(2 * DAY)
        assert republisher.put == 0
        nursery.cancel_scope.cancel()
    assert short != long


async def test_what_was_published_is_published_again_after_a_restart(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    _, nodes = settled(40, seed=5)
    us = nodes[0]
    key = RNG.randbytes(34)
    file = DhtFile(tmp_path / "dht")
    Republisher(us.dht, file.publications("/test")).add_provided(key)
    file.close()  # we are away for two days
    await trio.sleep(2 * DAY)
    file = DhtFile(tmp_path / "dht")
    republisher = Republisher(us.dht, file.publications("/test"))
    assert republisher.provided == 1
    async with trio.open_nursery() as nursery:
        await nursery.start(republisher.run)
        await trio.sleep(60)
        assert holders(key, nodes, us) == nearest(key, nodes, us)
        nursery.cancel_scope.cancel()
    file.close()


async def test_nobody_there_is_tried_again(autojump_clock: MockClock) -> None:
    network, nodes = settled(20, seed=6)
    us, rest = nodes[0], nodes[1:]
    key = RNG.randbytes(34)
    republisher = Republisher(us.dht)
    republisher.add_provided(key)
    async with trio.open_nursery() as nursery:
        for each in rest:
            del network.nodes[each.id]
        await nursery.start(republisher.run)
        await trio.sleep(REPUBLISH)
        for each in rest:
            network.nodes[each.id] = each
            us.table.answered(each.id, each.groups, trio.current_time())
        await trio.sleep(3600)
        assert len(holders(key, nodes, us)) == 19
        nursery.cancel_scope.cancel()


# --- optimistic -----------------------------------------------------------------------------------


async def provided(node: Node, key: bytes, *, optimistic: bool) -> tuple[float, int, int]:
    """How long it took, how many FIND_NODE it cost, and how many took it."""
    started, before = trio.current_time(), node.network.costs.by_type["FIND_NODE"]
    took = await node.dht.provide(key, optimistic=optimistic)
    asked = node.network.costs.by_type["FIND_NODE"] - before
    return trio.current_time() - started, asked, took


async def test_optimistic_providing_is_faster_and_lands_as_well(autojump_clock: MockClock) -> None:
    _, nodes = settled(200, seed=7)
    us = nodes[0]
    us.dht.background = Background()
    await know_size(us, 20)
    plain, quick, right = [], [], 0
    async with trio.open_nursery() as nursery:
        await nursery.start(us.dht.background.run)
        for _ in range(10):
            plain.append(await provided(us, RNG.randbytes(34), optimistic=False))
            key = RNG.randbytes(34)
            quick.append(await provided(us, key, optimistic=True))
            await trio.sleep(60)  # the rest is told behind our back
            found = holders(key, nodes, us)
            right += len(set(found) & set(nearest(key, nodes, us)))
        nursery.cancel_scope.cancel()
    assert sum(each[0] for each in quick) < sum(each[0] for each in plain)
    assert sum(each[1] for each in quick) < sum(each[1] for each in plain)
    assert all(each[2] >= 15 for each in quick)
    assert right >= 0.85 * 200


async def test_without_an_estimate_it_is_an_ordinary_provide(autojump_clock: MockClock) -> None:
    _, nodes = settled(50, seed=8)
    us, key = nodes[0], RNG.randbytes(34)
    _, asked, took = await provided(us, key, optimistic=True)
    assert took == 20 and asked >= 20
    assert holders(key, nodes, us) == nearest(key, nodes, us)


async def test_the_background_is_bounded(autojump_clock: MockClock) -> None:
    background, running = Background(limit=3), 0
    peer = PeerInfo(PrivateKey.generate().peer_id)

    async def work(_: PeerInfo) -> None:
        nonlocal running
        running += 1
        await trio.sleep(1)

    assert not background.start(work, peer)  # it does not run
    async with trio.open_nursery() as nursery:
        await nursery.start(background.run)
        assert [background.start(work, peer) for _ in range(5)] == [True] * 3 + [False] * 2
        await trio.sleep(2)
        assert background.start(work, peer)
        nursery.cancel_scope.cancel()
    assert running == 4


@pytest.mark.parametrize("count", [30, 200])
async def test_the_size_of_a_network(autojump_clock: MockClock, count: int) -> None:
    _, nodes = settled(count, seed=9)
    us = nodes[0]
    assert us.dht.size.estimate(0.0) is None
    await know_size(us, 20)
    estimate = us.dht.size.estimate(trio.current_time())
    assert estimate is not None
    assert estimate.servers == pytest.approx(count, rel=0.2)
