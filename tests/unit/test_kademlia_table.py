"""The routing table: who enters, who stays, who is nearest."""

from __future__ import annotations

import hashlib
import random

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import common_prefix_length, key_of, peer_key
from carrick.protocols.kademlia.table import RoutingTable

OWN = key_of(b"us")


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + hashlib.sha256(b"peer %d" % number).digest())


def peers_of_bucket(index: int, count: int) -> list[PeerId]:
    found = (peer(number) for number in range(1_000_000))
    chosen = (each for each in found if common_prefix_length(OWN, peer_key(each)) == index)
    return [next(chosen) for _ in range(count)]


def test_key_is_the_sha_256_of_the_peer_ids_bytes() -> None:
    digest = hashlib.sha256(peer(1).to_bytes()).digest()
    assert peer_key(peer(1)) == int.from_bytes(digest, "big")


def test_common_prefix_length() -> None:
    assert common_prefix_length(OWN, OWN) == 256
    assert common_prefix_length(OWN, OWN ^ 1) == 255
    assert common_prefix_length(OWN, OWN ^ (1 << 255)) == 0


def test_a_full_bucket_keeps_those_it_has_and_replaces_one_that_fails() -> None:
    table = RoutingTable(OWN, k=3)
    old, fresh = peers_of_bucket(0, 5)[:3], peers_of_bucket(0, 5)[3:]
    assert all(table.answered(each, (), 1.0) for each in old)
    assert not any(table.answered(each, (), 2.0) for each in fresh)
    assert set(table.closest(OWN)) == set(old)
    table.failed(old[1])
    assert old[1] not in table
    # The one who answered last comes in.
    assert fresh[1] in table
    assert len(table) == 3


def test_new_peers_are_wanted_while_their_bucket_has_a_place() -> None:
    table = RoutingTable(OWN, k=3)
    *old, fresh = peers_of_bucket(0, 4)
    for each in old:
        assert table.wants(each)
        table.answered(each, (), 1.0)
        assert not table.wants(each)
    assert not table.wants(fresh)
    assert table.wants(*peers_of_bucket(1, 1))
    table.failed(old[0])
    assert table.wants(fresh)


def test_answering_again_is_noted_and_does_not_count_twice() -> None:
    table = RoutingTable(OWN)
    table.answered(peer(1), (), 1.0)
    assert table.answered(peer(1), (), 5.0)
    contact = table.get(peer(1))
    assert len(table) == 1
    assert contact is not None
    assert (contact.added, contact.seen) == (1.0, 5.0)


def test_we_are_not_in_our_own_table() -> None:
    table = RoutingTable(peer_key(peer(1)))
    assert not table.answered(peer(1), (), 1.0)
    assert len(table) == 0


def test_one_network_gets_two_places_in_a_bucket_and_three_in_all() -> None:
    table = RoutingTable(OWN)
    near, far = peers_of_bucket(1, 3), peers_of_bucket(0, 3)
    assert [table.answered(each, {"11.0"}, 1.0) for each in near] == [True, True, False]
    assert [table.answered(each, {"11.0"}, 1.0) for each in far] == [True, False, False]
    assert table.answered(peers_of_bucket(2, 1)[0], {"12.0"}, 1.0)
    # A place of that network becomes free.
    table.failed(near[0])
    assert near[2] in table


def test_a_flood_of_one_network_displaces_nobody() -> None:
    """ATTACKS row 73, the table's part: 5,000 identities of one network."""
    table = RoutingTable(OWN)
    honest = [peer(number) for number in range(100)]
    for number, each in enumerate(honest):
        table.answered(each, {f"10.{number}"}, 1.0)
    before = {contact.peer for contact in table}
    for number in range(5000):
        table.answered(peer(1000 + number), {"11.0"}, 2.0)
    after = {contact.peer for contact in table}
    assert before <= after
    assert len(after - before) <= 3


def test_waiting_peers_are_bounded() -> None:
    table = RoutingTable(OWN, k=2)
    crowd = peers_of_bucket(0, 50)
    for each in crowd:
        table.answered(each, (), 1.0)
    # Two places and two who wait: when all that are in fail, only those come in.
    for _ in range(10):
        for contact in list(table):
            table.failed(contact.peer)
    assert len(table) == 0


def test_closest_is_exact() -> None:
    rng = random.Random(7)
    table = RoutingTable(OWN, max_per_group=None, max_per_group_and_bucket=None)
    for number in range(2000):
        table.answered(peer(number), (), 1.0)
    contacts = [contact.peer for contact in table]
    targets = [rng.getrandbits(256) for _ in range(300)]
    # Near ourselves too, where the buckets are few and small.
    targets += [OWN ^ rng.getrandbits(bits) for bits in range(1, 256)]
    for target in [*targets, OWN]:
        expected = sorted(contacts, key=lambda each: peer_key(each) ^ target)[:20]
        assert table.closest(target) == expected


def test_stale_buckets_are_those_no_lookup_went_through() -> None:
    table = RoutingTable(OWN)
    for each in peers_of_bucket(2, 1):
        table.answered(each, (), 0.0)
    assert table.stale(0.0, after=600) == [0, 1, 2]
    table.refreshed(1, 0.0)
    assert table.stale(599.0, after=600) == [0, 2]
    assert table.stale(600.0, after=600) == [0, 1, 2]


def test_silent_contacts_the_longest_silent_first() -> None:
    table = RoutingTable(OWN)
    for number, seen in ((1, 30.0), (2, 10.0), (3, 90.0)):
        table.answered(peer(number), (), seen)
    assert table.silent(100.0, after=60.0) == [peer(2), peer(1)]
