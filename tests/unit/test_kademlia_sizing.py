"""The size of a network from its lookups, and what follows from it, against simulated keyspaces."""

from __future__ import annotations

import hashlib
import random
from statistics import mean

import pytest

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.optimistic import OptimisticProvide
from carrick.protocols.kademlia.sizing import SizeEstimator, gamma_quantile, normed_distance

RNG = random.Random(5)


def keyspace(count: int, seed: int = 1) -> list[PeerId]:
    return [
        PeerId(b"\x12\x20" + hashlib.sha256(b"%d %d" % (seed, each)).digest())
        for each in range(count)
    ]


def nearest(peers: list[PeerId], key: int, count: int = 20) -> list[PeerId]:
    return sorted(peers, key=lambda each: peer_key(each) ^ key)[:count]


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_the_estimate_is_near_the_truth(count: int) -> None:
    peers, sizes = keyspace(count), SizeEstimator()
    for number in range(40):
        key = RNG.getrandbits(256)
        sizes.track(key, nearest(peers, key), float(number))
    estimate = sizes.estimate(50.0)
    assert estimate is not None and estimate.lookups == 40
    assert estimate.error == pytest.approx((40 * 20) ** -0.5)
    # Lookups of a small network see the same peers again and again: wider than `error` has it.
    assert estimate.servers == pytest.approx(count, rel=0.15)


def test_the_estimate_is_without_bias() -> None:
    found = []
    for seed in range(60):
        peers, sizes = keyspace(300, seed), SizeEstimator()
        for number in range(5):
            key = RNG.getrandbits(256)
            sizes.track(key, nearest(peers, key), float(number))
        estimate = sizes.estimate(5.0)
        assert estimate is not None
        found.append(estimate.servers)
    assert mean(found) == pytest.approx(300, rel=0.05)


def test_too_few_or_too_old_lookups_say_nothing() -> None:
    peers, sizes = keyspace(200), SizeEstimator()
    keys = [RNG.getrandbits(256) for _ in range(5)]
    for number, key in enumerate(keys[:4]):
        sizes.track(key, nearest(peers, key), float(number))
    sizes.track(keys[0], nearest(peers, keys[0]), 5.0)  # the same again
    assert sizes.estimate(6.0) is None
    sizes.track(keys[4], nearest(peers, keys[4]), 6.0)
    assert sizes.estimate(7.0) is not None
    assert sizes.estimate(6.0 + 7200.0) is None


def test_one_poisoned_lookup_changes_little() -> None:
    peers, sizes = keyspace(1000), SizeEstimator()
    for number in range(20):
        key = RNG.getrandbits(256)
        sizes.track(key, nearest(peers, key), float(number))
    before = sizes.estimate(20.0)
    place = peer_key(peers[0])
    crowd = [peers[0]] * 20  # at the very place
    sizes.track(place, crowd, 20.0)
    after = sizes.estimate(20.0)
    assert before is not None and after is not None
    assert after.servers == pytest.approx(before.servers, rel=0.08)


def test_a_network_that_a_lookup_finds_whole() -> None:
    peers, sizes = keyspace(7), SizeEstimator()
    for number in range(5):
        key = RNG.getrandbits(256)
        sizes.track(key, nearest(peers, key), float(number))
    estimate = sizes.estimate(5.0)
    assert estimate is not None
    assert (estimate.servers, estimate.error) == (7, 0.0)


@pytest.mark.parametrize(
    ("shape", "probability", "value"),
    # Half the quantiles of chi squared with 2 * shape degrees of freedom, from a table of it.
    [(20, 0.1, 29.0505 / 2), (11, 0.9, 30.8133 / 2), (20, 0.001, 17.9164 / 2), (1, 0.5, 0.693147)],
)
def test_gamma_quantiles(shape: float, probability: float, value: float) -> None:
    assert gamma_quantile(shape, probability) == pytest.approx(value, rel=1e-4)


def test_optimistic_thresholds() -> None:
    """Nine of ten peers within `near` are among the 20 nearest; the 20 nearest are on average
    within `enough` nine times of ten, and rarely are others."""
    peers = keyspace(2000)
    right = total = ended = 0
    for _ in range(200):
        key = RNG.getrandbits(256)
        plan = OptimisticProvide(key, len(peers))
        around = nearest(peers, key, 40)
        inside = [each for each in around if normed_distance(each, key) <= plan.near]
        right += len(set(inside) & set(around[:20]))
        total += len(inside)
        told, enough = plan.look([PeerInfo(each) for each in around[:20]])
        assert [each.id for each in told] == [each for each in around[:20] if each in inside]
        ended += enough
        assert not OptimisticProvide(key, len(peers)).look(
            [PeerInfo(each) for each in nearest(peers[:200], key)]
        )[1]
    assert right / total >= 0.9
    assert 0.8 <= ended / 200 <= 0.99


def test_nobody_is_told_twice() -> None:
    peers = keyspace(100)
    key = RNG.getrandbits(256)
    plan = OptimisticProvide(key, 100)
    around = [PeerInfo(each) for each in nearest(peers, key)]
    told, _ = plan.look(around)
    assert told and not plan.look(around)[0]
    assert len(plan.tell(around)) == 20 - len(told)
    assert plan.awaited == 15
