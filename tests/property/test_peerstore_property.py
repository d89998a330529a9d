"""The peerstore in memory and the one on SQLite do the same, within the bounds, whatever is done.

A third, naive model says what must have expired.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carrick.identity import PeerId
from carrick.peerstore import Bounds, MemoryPeerstore, SqlitePeerstore, Ttl
from tests.support.peerstores import KEYS, PEERS, Clock, address, sealed

BOUNDS = Bounds(
    addresses=4,
    addresses_connected=6,
    addresses_afterwards=2,
    protocols=3,
    protocol_bytes=30,
    protocol_bytes_afterwards=15,
    peers=3,
)
peers = st.sampled_from(PEERS[:6])
numbers = st.lists(st.integers(0, 9), max_size=8)
ttls = st.sampled_from([0.0, 1.0, 10.0, Ttl.TEMPORARY, Ttl.ADDRESS, Ttl.CONNECTED, Ttl.PERMANENT])
records = {
    (who, sequence): sealed(KEYS[who], sequence, *range(sequence, sequence * 3))
    for who in range(6)
    for sequence in range(1, 4)
}


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "peers.db")
        self.memory = MemoryPeerstore(self.clock, bounds=BOUNDS)
        self.sqlite = SqlitePeerstore(self.path, self.clock, bounds=BOUNDS)
        self.online: set[PeerId] = set()
        self.promised: dict[PeerId, float] = {}  # when nothing of a peer can be left

    def teardown(self) -> None:
        self.sqlite.close()
        self.folder.cleanup()

    def both(self) -> tuple[MemoryPeerstore, SqlitePeerstore]:
        return self.memory, self.sqlite

    def promise(self, peer: PeerId, ttl: float) -> None:
        until = self.clock() + max(Ttl.RECENTLY_CONNECTED if ttl == Ttl.CONNECTED else ttl, 0)
        self.promised[peer] = max(self.promised.get(peer, -math.inf), until)

    @rule(peer=peers, numbers=numbers, ttl=ttls)
    def add(self, peer: PeerId, numbers: list[int], ttl: float) -> None:
        for store in self.both():
            store.add_addresses(peer, map(address, numbers), ttl)
        self.promise(peer, ttl)

    @rule(peer=peers, numbers=numbers, ttl=ttls)
    def set(self, peer: PeerId, numbers: list[int], ttl: float) -> None:
        for store in self.both():
            store.set_addresses(peer, map(address, numbers), ttl)
        self.promise(peer, ttl)

    @rule(peer=peers)
    def clear(self, peer: PeerId) -> None:
        for store in self.both():
            store.clear_addresses(peer)

    @rule(which=st.sampled_from(sorted(records)), ttl=ttls)
    def consume(self, which: tuple[int, int], ttl: float) -> None:
        first, second = (store.consume_record(records[which], ttl) for store in self.both())
        assert first == second
        self.promise(PEERS[which[0]], ttl)
        self.promise(PEERS[which[0]], Ttl.RECENTLY_CONNECTED)

    @rule(peer=peers, protocols=st.lists(st.sampled_from(["/a", "/bb", "/" + "c" * 12, "/d"])))
    def speak(self, peer: PeerId, protocols: list[str]) -> None:
        for store in self.both():
            store.set_protocols(peer, protocols)
        self.promise(peer, Ttl.RECENTLY_CONNECTED)

    @rule(peer=peers, value=st.text(max_size=300))
    def note(self, peer: PeerId, value: str) -> None:
        for store in self.both():
            store.set_metadata(peer, "agent_version", value)
        self.promise(peer, Ttl.RECENTLY_CONNECTED)

    @rule(peer=peers, dialled=st.none() | st.integers(0, 9))
    def connect(self, peer: PeerId, dialled: int | None) -> None:
        for store in self.both():
            store.connected(peer, None if dialled is None else address(dialled))
        self.online.add(peer)

    @rule(peer=peers)
    def disconnect(self, peer: PeerId) -> None:
        for store in self.both():
            store.disconnected(peer)
        if peer in self.online:
            self.online.remove(peer)
            self.promise(peer, Ttl.RECENTLY_CONNECTED)

    @rule(peer=peers)
    def remove(self, peer: PeerId) -> None:
        for store in self.both():
            store.remove(peer)

    @rule(seconds=st.sampled_from([1.0, 60.0, 600.0, 1000.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(limit=st.none() | st.integers(0, 3))
    def flush(self, limit: int | None) -> None:
        assert self.memory.flush(limit) == 0
        left = self.sqlite.flush(limit)
        assert left >= 0 and (limit is not None or left == 0)

    @rule()
    def restart(self) -> None:
        for peer in sorted(self.online):
            self.disconnect(peer)
        self.sqlite.close()
        self.sqlite = SqlitePeerstore(self.path, self.clock, bounds=BOUNDS)

    @invariant()
    def they_agree(self) -> None:
        memory, sqlite = self.both()
        assert set(memory.peers()) == set(sqlite.peers())
        assert len(memory) == len(sqlite) == len(memory.peers())
        for peer in PEERS:
            assert (peer in memory) == (peer in sqlite)
            assert memory.addresses(peer) == sqlite.addresses(peer)
            assert memory.record(peer) == sqlite.record(peer)
            assert memory.protocols(peer) == sqlite.protocols(peer)
            assert memory.metadata(peer) == sqlite.metadata(peer)

    @invariant()
    def bounds_hold(self) -> None:
        store = self.memory
        assert sum(peer not in self.online for peer in store.peers()) <= BOUNDS.peers
        for peer in store.peers():
            limit = BOUNDS.addresses_connected if peer in self.online else BOUNDS.addresses
            assert len(store.addresses(peer)) <= limit
            protocols = store.protocols(peer) or ()
            assert len(protocols) <= BOUNDS.protocols
            assert sum(map(len, protocols)) <= BOUNDS.protocol_bytes
            for value in store.metadata(peer).values():
                assert len(value.encode()) <= BOUNDS.metadata_bytes

    @invariant()
    def the_account_is_right(self) -> None:
        for store in self.both():
            idle = [each for peer, each in store._entries.items() if peer not in self.online]
            assert store._idle_peers == len(idle)
            assert store._idle_size == sum(entry.size for entry in idle)

    @invariant()
    def nothing_outlives_its_time(self) -> None:
        for peer in self.memory.peers():
            assert peer in self.online or self.promised[peer] > self.clock()


Stores.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_stores = Stores.TestCase
