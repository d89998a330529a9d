"""The peerstore: time, order and bounds, in memory and on SQLite alike."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from carrick.addressing import parse_address, with_peer
from carrick.errors import InvalidEnvelope, InvalidKey, PeerstoreError
from carrick.identity import KeyType, PeerRecord, PrivateKey
from carrick.peerstore import Bounds, MemoryPeerstore, Peerstore, SqlitePeerstore, Ttl
from carrick.peerstore.sqlite import KIND
from tests.support.peerstores import KEYS, PEERS, Clock, address, peer, sealed

ALICE = PEERS[0]
Make = Callable[..., Peerstore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Iterator[Make]:
    made: list[Peerstore] = []

    def make(**bounds: int) -> Peerstore:
        if request.param == "memory":
            store: Peerstore = MemoryPeerstore(clock, bounds=Bounds(**bounds))
        else:
            path = tmp_path / f"{len(made)}.db"
            store = SqlitePeerstore(path, clock, bounds=Bounds(**bounds))
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make: Make) -> Peerstore:
    return make()


# --- time -----------------------------------------------------------------------------------------


def test_an_address_expires(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.TEMPORARY)
    clock.now += 119.9
    assert store.addresses(ALICE) == [address(1)] and ALICE in store and len(store) == 1
    clock.now += 0.1
    assert store.addresses(ALICE) == [] and ALICE not in store and store.peers() == []


def test_time_is_extended_and_never_shortened(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.ADDRESS)
    store.add_addresses(ALICE, [address(1)], Ttl.TEMPORARY)
    clock.now += 3000
    assert store.addresses(ALICE) == [address(1)]
    store.add_addresses(ALICE, [address(1)], Ttl.ADDRESS)
    clock.now += 3000
    assert store.addresses(ALICE) == [address(1)]


def test_permanent_addresses_stay(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.PERMANENT)
    store.connected(ALICE)
    store.add_addresses(ALICE, [address(1)], Ttl.CONNECTED)
    store.disconnected(ALICE)
    clock.now += 1e9
    assert store.addresses(ALICE) == [address(1)]


def test_connected_addresses_live_with_the_connection(store: Peerstore, clock: Clock) -> None:
    # Identify tells the addresses before the connection is announced.
    store.add_addresses(ALICE, [address(1)], Ttl.CONNECTED)
    store.connected(ALICE)
    clock.now += 1e6
    assert store.addresses(ALICE) == [address(1)]
    store.disconnected(ALICE)
    clock.now += 899
    assert store.addresses(ALICE) == [address(1)]
    clock.now += 1
    assert store.addresses(ALICE) == []


def test_addresses_of_a_connection_that_never_came_expire(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.CONNECTED)
    clock.now += Ttl.RECENTLY_CONNECTED
    assert store.addresses(ALICE) == [] and len(store) == 0


@pytest.mark.parametrize("ttl", [0, -1, -math.inf])
def test_no_time_adds_nothing(store: Peerstore, ttl: float) -> None:
    store.add_addresses(ALICE, [address(1)], ttl)
    assert not store.consume_record(sealed(KEYS[0], 1, 1), ttl)
    assert len(store) == 0


def test_a_ttl_is_a_number(store: Peerstore) -> None:
    with pytest.raises(ValueError, match="number"):
        store.add_addresses(ALICE, [address(1)], math.nan)


def test_other_facts_expire_after_the_last_one(store: Peerstore, clock: Clock) -> None:
    store.set_protocols(ALICE, ["/a"])
    store.set_metadata(ALICE, "agent_version", "x")
    clock.now += Ttl.RECENTLY_CONNECTED
    assert store.protocols(ALICE) is None and store.metadata(ALICE) == {} and ALICE not in store
    store.add_addresses(ALICE, [address(1)], Ttl.TEMPORARY)
    assert store.protocols(ALICE) is None, "what has expired does not come back"


async def test_memory_runs_on_trios_clock(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryPeerstore()
    store.add_addresses(ALICE, [address(1)], Ttl.TEMPORARY)
    await trio.sleep(121)
    assert store.addresses(ALICE) == []


# --- addresses ------------------------------------------------------------------------------------


def test_peer_parts_are_taken_off(store: Peerstore) -> None:
    nonsense = Multiaddr(b"\xff\xff\xff")
    theirs = with_peer(address(2), PEERS[1])
    nowhere = parse_address(f"/p2p/{ALICE}")
    mine = with_peer(address(1), ALICE)
    store.add_addresses(ALICE, [mine, address(1), theirs, nonsense, nowhere], 60)
    assert store.addresses(ALICE) == [address(1)]


def test_relayed_addresses_keep_the_relay(store: Peerstore) -> None:
    relayed = parse_address(f"{address(1)}/p2p/{PEERS[1]}/p2p-circuit")
    store.add_addresses(ALICE, [with_peer(relayed, ALICE)], 60)
    assert store.addresses(ALICE) == [relayed]


def test_order(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(ALICE, [address(n) for n in range(4)], Ttl.ADDRESS)
    store.connected(ALICE, address(2))
    clock.now += 1
    store.disconnected(ALICE)
    store.connected(ALICE, with_peer(address(1), ALICE))
    store.consume_record(sealed(KEYS[0], 1, 3), Ttl.ADDRESS)
    assert store.addresses(ALICE) == [address(n) for n in (3, 1, 2, 0)]


def test_a_dialled_address_is_remembered(store: Peerstore) -> None:
    store.connected(ALICE, address(1))
    assert store.addresses(ALICE) == [address(1)]


def test_set_replaces_what_is_not_signed(store: Peerstore) -> None:
    store.add_addresses(ALICE, [address(1), address(2)], Ttl.PERMANENT)
    store.consume_record(sealed(KEYS[0], 1, 3), Ttl.ADDRESS)
    store.set_addresses(ALICE, [address(2)], Ttl.TEMPORARY)
    assert set(store.addresses(ALICE)) == {address(2), address(3)}
    store.set_addresses(ALICE, [], 0)
    assert store.addresses(ALICE) == [address(3)]


def test_clear_takes_the_record_along(store: Peerstore) -> None:
    envelope = sealed(KEYS[0], 5, 1)
    store.consume_record(envelope, 60)
    store.clear_addresses(ALICE)
    assert store.addresses(ALICE) == [] and store.record(ALICE) is None
    assert store.consume_record(envelope, 60)


def test_addresses_per_peer_are_bounded(store: Peerstore) -> None:
    store.add_addresses(ALICE, map(address, range(100_000)), 60)
    assert len(store.addresses(ALICE)) == 64
    store.connected(ALICE)
    store.add_addresses(ALICE, map(address, range(100_000)), Ttl.CONNECTED)
    assert len(store.addresses(ALICE)) == 128
    store.disconnected(ALICE)
    assert len(store.addresses(ALICE)) == 20


def test_strangers_do_not_push_out_what_is_worth_more(store: Peerstore) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.PERMANENT)
    store.consume_record(sealed(KEYS[0], 1, 2), Ttl.TEMPORARY)
    store.connected(ALICE, address(3))
    store.disconnected(ALICE)
    for start in range(10, 1000, 50):
        store.add_addresses(ALICE, map(address, range(start, start + 50)), Ttl.ADDRESS)
    kept = store.addresses(ALICE)
    assert len(kept) == 64 and {address(1), address(2), address(3)} <= set(kept)


# --- signed records -------------------------------------------------------------------------------


def test_a_newer_record_replaces(store: Peerstore) -> None:
    assert store.consume_record(sealed(KEYS[0], 2, 1, 2), 60)
    newer = sealed(KEYS[0], 3, 2, 4)
    assert store.consume_record(newer, 60)
    assert set(store.addresses(ALICE)) == {address(2), address(4)}
    assert store.record(ALICE) == newer


def test_a_stale_record_changes_nothing(store: Peerstore) -> None:
    newest = sealed(KEYS[0], 2**64 - 1, 1)
    assert store.consume_record(newest, 60)
    assert not store.consume_record(sealed(KEYS[0], 7, 2), 60)
    assert not store.consume_record(sealed(KEYS[0], 2**64 - 1, 2), 60), "of one number the first"
    assert store.addresses(ALICE) == [address(1)] and store.record(ALICE) == newest


def test_the_same_record_extends_the_time(store: Peerstore, clock: Clock) -> None:
    record = sealed(KEYS[0], 1, 1)
    assert store.consume_record(record, 60)
    clock.now += 50
    assert not store.consume_record(record, 60)
    clock.now += 50
    assert store.addresses(ALICE) == [address(1)]


def test_a_permanent_address_outlives_the_record_that_had_it(store: Peerstore) -> None:
    store.add_addresses(ALICE, [address(1)], Ttl.PERMANENT)
    store.consume_record(sealed(KEYS[0], 1, 1), 60)
    store.consume_record(sealed(KEYS[0], 2, 2), 60)
    assert store.addresses(ALICE) == [address(2), address(1)]


def test_a_forged_record_is_refused(store: Peerstore) -> None:
    forged = bytearray(sealed(KEYS[0], 1, 1))
    forged[-1] ^= 1
    with pytest.raises(InvalidEnvelope):
        store.consume_record(bytes(forged), 60)
    assert len(store) == 0


def test_unreadable_addresses_of_a_record_are_left_out(store: Peerstore) -> None:
    raws = (b"\xff\xff", address(1).to_bytes())
    store.consume_record(PeerRecord(ALICE, 1, raws).seal(KEYS[0]), 60)
    assert store.addresses(ALICE) == [address(1)]


def test_a_record_of_500_addresses_is_bounded(store: Peerstore) -> None:
    raws = tuple(address(number).to_bytes() for number in range(400))
    store.consume_record(PeerRecord(ALICE, 1, raws).seal(KEYS[0]), 60)
    assert len(store.addresses(ALICE)) == 64


# --- everything else ------------------------------------------------------------------------------


def test_protocols(store: Peerstore) -> None:
    assert store.protocols(ALICE) is None
    store.set_protocols(ALICE, [])
    assert store.protocols(ALICE) == frozenset()
    store.set_protocols(ALICE, ["/a", "/b", "/a", "", "x" * 1024, "\ud800"])
    assert store.protocols(ALICE) == frozenset({"/a", "/b", "\ud800"})


def test_protocols_are_bounded(store: Peerstore) -> None:
    store.set_protocols(ALICE, (f"/{number}" for number in range(1_000_000)))
    assert len(store.protocols(ALICE) or ()) == 1000
    store.set_protocols(ALICE, [f"{number:04}".rjust(1000, "x") for number in range(1000)])
    assert len(store.protocols(ALICE) or ()) == 65


def test_what_is_bulky_goes_with_the_connection(store: Peerstore) -> None:
    store.connected(ALICE)
    store.set_protocols(ALICE, [f"{number:04}".rjust(100, "x") for number in range(1000)])
    store.disconnected(ALICE)
    assert store.protocols(ALICE) is None
    store.connected(ALICE)
    store.set_protocols(ALICE, ["/ipfs/ping/1.0.0"])
    store.disconnected(ALICE)
    assert store.protocols(ALICE) == frozenset({"/ipfs/ping/1.0.0"})


def test_metadata_is_bounded(store: Peerstore) -> None:
    store.set_metadata(ALICE, "agent_version", "é" * 60_000)
    assert store.metadata(ALICE) == {"agent_version": "é" * 128}
    store.set_metadata(ALICE, "agent_version", "\udfff")
    assert store.metadata(ALICE) == {"agent_version": "?"}
    with pytest.raises(ValueError, match="65 characters"):
        store.set_metadata(ALICE, "x" * 65, "")
    with pytest.raises(ValueError, match="16"):
        for number in range(17):
            store.set_metadata(ALICE, f"name {number}", "value")
    assert len(store.metadata(ALICE)) == 16


def test_keys(store: Peerstore) -> None:
    rsa = PrivateKey.generate(KeyType.RSA)
    assert store.public_key(ALICE) == KEYS[0].public_key, "it is in the peer id"
    store.add_key(ALICE, KEYS[0].public_key)
    assert len(store) == 0
    assert store.public_key(rsa.peer_id) is None
    with pytest.raises(InvalidKey):
        store.add_key(rsa.peer_id, KEYS[0].public_key)
    store.add_key(rsa.peer_id, rsa.public_key)
    assert store.public_key(rsa.peer_id) == rsa.public_key


def test_remove(store: Peerstore) -> None:
    store.connected(ALICE)
    store.add_addresses(ALICE, [address(1)], 60)
    store.set_protocols(ALICE, ["/a"])
    store.remove(ALICE)
    store.remove(ALICE)
    assert ALICE not in store and store.protocols(ALICE) is None
    assert "nobody" not in store


# --- bounds over all peers ------------------------------------------------------------------------


def test_10000_peers_and_no_more() -> None:
    store = MemoryPeerstore(Clock())
    for number in range(10_500):
        store.add_addresses(peer(number), [address(1)], 60)
    assert 9_900 <= len(store) <= 10_000
    assert peer(10_499) in store


def test_who_expires_first_goes_first(make: Make) -> None:
    store = make(peers=3)
    for number, ttl in enumerate((Ttl.PERMANENT, 100, 300)):
        store.add_addresses(peer(number), [address(1)], ttl)
    store.add_addresses(peer(3), [address(1)], 1)
    assert set(store.peers()) == {peer(0), peer(2), peer(3)}


def test_connected_peers_are_not_counted(make: Make) -> None:
    store = make(peers=2)
    for number in range(5):
        store.connected(peer(number))
        store.set_protocols(peer(number), ["/a"])
    assert len(store) == 5
    for number in range(5):
        store.disconnected(peer(number))
    assert len(store) == 2


def test_fresh_identities_do_not_fill_the_memory(make: Make) -> None:
    """Attack 37: each identity says as much as it may, then leaves."""
    store = make(memory=1 << 20)
    protocols = [f"{number:02}".rjust(80, "x") for number in range(100)]
    for number in range(300):
        store.connected(peer(number))
        store.add_addresses(peer(number), map(address, range(500)), Ttl.CONNECTED)
        store.set_protocols(peer(number), protocols)
        store.disconnected(peer(number))
    assert 20 < len(store) < 80


# --- the file -------------------------------------------------------------------------------------


def test_what_is_flushed_is_there_after_a_restart(tmp_path: Path, clock: Clock) -> None:
    rsa = PrivateKey.generate(KeyType.RSA)
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    record = sealed(KEYS[0], 2**63, 1, 2)
    store.consume_record(record, Ttl.ADDRESS)
    store.connected(ALICE, address(2))
    store.set_protocols(ALICE, ["/a", "/b"])
    store.set_metadata(ALICE, "agent_version", "x/1 'é")
    store.add_key(rsa.peer_id, rsa.public_key)
    store.add_addresses(PEERS[1], [address(3)], Ttl.TEMPORARY)
    store.add_addresses(PEERS[2], [address(4)], Ttl.PERMANENT)
    store.close()
    store.close()
    clock.now += 300
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    assert store.addresses(ALICE) == [address(2), address(1)]
    assert store.record(ALICE) == record
    assert store.protocols(ALICE) == frozenset({"/a", "/b"})
    assert store.metadata(ALICE) == {"agent_version": "x/1 'é"}
    assert store.public_key(rsa.peer_id) == rsa.public_key
    assert PEERS[1] not in store
    assert store.addresses(PEERS[2]) == [address(4)]
    clock.now += Ttl.RECENTLY_CONNECTED
    assert rsa.peer_id not in store
    store.close()


def test_who_was_connected_is_recently_connected_after_a_restart(
    tmp_path: Path, clock: Clock
) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    store.connected(ALICE)
    store.add_addresses(ALICE, [address(1)], Ttl.CONNECTED)
    store.close()
    clock.now += 1e6  # it was connected for all that time, as far as the file knows
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    clock.now += 899
    assert store.addresses(ALICE) == [address(1)]
    clock.now += 1
    assert store.addresses(ALICE) == []
    store.close()


def test_nobody_comes_back_from_the_file(tmp_path: Path, clock: Clock) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    for key in PEERS[:3]:
        store.add_addresses(key, [address(1)], 100)
    store.flush()
    store.remove(PEERS[0])
    clock.now += 100
    assert store.flush() == 0
    store.close()
    with sqlite3.connect(tmp_path / "peers.db") as db:
        assert db.execute("SELECT count(*) FROM peers").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM addresses").fetchone() == (0,)


def test_a_flush_in_steps(tmp_path: Path, clock: Clock) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    for number in range(10):
        store.add_addresses(peer(number), [address(1)], 100)
    assert [store.flush(4), store.flush(4), store.flush(4), store.flush(4)] == [6, 2, 0, 0]
    for number in range(5):
        store.remove(peer(number))
    store.add_addresses(peer(9), [address(2)], 100)
    assert [store.flush(4), store.flush(4)] == [2, 0]
    store.close()
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    assert set(store.peers()) == set(map(peer, range(5, 10)))
    assert set(store.addresses(peer(9))) == {address(1), address(2)}
    store.close()


def test_a_peer_that_was_never_written_leaves_nothing_to_write(
    tmp_path: Path, clock: Clock
) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db", clock, bounds=Bounds(peers=10))
    for number in range(1000):
        store.add_addresses(peer(number), [address(1)], 100)
    assert store.flush(0) == 10
    store.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    SqlitePeerstore(tmp_path / "peers.db").close()
    assert (tmp_path / "peers.db").stat().st_mode & 0o077 == 0


def refused(path: Path, match: str) -> None:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(PeerstoreError, match=match) as info:
        SqlitePeerstore(path)
    assert str(path) in str(info.value)
    assert before is None or path.read_bytes() == before, "others' files stay as they are"


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("shopping: rope, tar, more rope\n" * 100)
    refused(path, "no peerstore")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE peers (id)")
    db.close()
    refused(other, "something else")


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE later (id)")
        db.execute(f"PRAGMA application_id = {KIND.application}")
        db.execute("PRAGMA user_version = 2")
    db.close()
    refused(path, "version 2")


def test_a_folder_a_missing_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, "regular file")
    refused(tmp_path / "nowhere" / "peers.db", "No such file or directory")
    refused(Path("/dev/null"), "regular file")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o500)
    try:
        (folder / "probe").touch()
    except PermissionError:
        refused(folder / "peers.db", "Permission denied")
    else:
        pytest.skip("this user may write everywhere")


def test_one_store_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    store = SqlitePeerstore(path)
    with pytest.raises(PeerstoreError, match="in use"):
        SqlitePeerstore(path)
    store.add_addresses(ALICE, [address(1)], 60)
    store.close()
    SqlitePeerstore(path).close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE peers SET id = x'00'",
        "UPDATE peers SET protocols = '{'",
        "UPDATE peers SET protocols = '[[], 1]'",
        "UPDATE peers SET metadata = 'null'",
        "UPDATE peers SET sequence = 'x'",
        "UPDATE peers SET key = x'00'",
        "UPDATE peers SET kept_until = 'soon'",
        "UPDATE addresses SET expires = 'soon'",
        "DROP TABLE addresses",
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "peers.db"
    store = SqlitePeerstore(path)
    store.add_addresses(ALICE, [address(1)], 60)
    store.set_metadata(ALICE, "agent_version", "x")
    store.close()
    with sqlite3.connect(path) as db:
        db.execute(damage)
    db.close()
    with pytest.raises(PeerstoreError):
        SqlitePeerstore(path)


def test_an_address_that_is_none_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    store = SqlitePeerstore(path)
    store.add_addresses(ALICE, [address(1)], 60)
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE addresses SET address = x'ffff'")
    db.close()
    store = SqlitePeerstore(path)
    assert store.addresses(ALICE) == []
    store.close()


def test_a_failed_flush_loses_nothing(tmp_path: Path, clock: Clock) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    store.flush()
    with store._file.transaction("limited") as db:
        db.execute("PRAGMA max_page_count = 4")
    for number in range(100):
        store.set_protocols(peer(number), ["/" + "x" * 1000])
    with pytest.raises(PeerstoreError, match="disk is full"):
        store.flush()
    assert len(store) == 100
    with store._file.transaction("limited") as db:
        db.execute("PRAGMA max_page_count = 1000000")
    assert store.flush() == 0
    store.close()
    store = SqlitePeerstore(tmp_path / "peers.db", clock)
    assert len(store) == 100
    store.close()


def test_a_closed_store_cannot_be_flushed(tmp_path: Path) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db")
    store.close()
    with pytest.raises(PeerstoreError, match="closed"):
        store.flush()
