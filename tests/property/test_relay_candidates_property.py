"""AutoRelay's choice, whatever happens to its candidates."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carrick.identity import PeerId, PrivateKey
from carrick.protocols.relay.candidates import Candidates, Failure

MOST, BACKOFF = 3, 3600.0
ALL = [PrivateKey.generate().peer_id for _ in range(24)]
PEERS = st.sampled_from(ALL)
CHANCES = st.floats(0, 1)


class Choosing(RuleBasedStateMachine):
    """What is given stays; who failed is left alone; what is kept is bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.known = Candidates(most=MOST, backoff=BACKOFF)
        self.given: set[PeerId] = set()
        self.alone: dict[PeerId, float] = {}
        """Who failed: until when it is left alone at least, while it is remembered."""

    @rule(peer=PEERS, lot=CHANCES, given=st.booleans())
    def offer(self, peer: PeerId, lot: float, given: bool) -> None:
        given = given and len(self.given) < 4
        kept = self.known.offer(peer, self.now, lot=lot, given=given)
        assert kept == (peer in self.known)
        if given:
            self.given.add(peer)

    @rule(peer=PEERS, failure=st.sampled_from(Failure), chance=CHANCES)
    def fail(self, peer: PeerId, failure: Failure, chance: float) -> None:
        if peer in self.known:
            self.known.failed(peer, failure, self.now, chance)
            self.alone[peer] = self.now + min(failure.value, 600.0) * 0.75

    @rule(peer=PEERS)
    def succeed(self, peer: PeerId) -> None:
        self.known.succeeded(peer)
        self.alone.pop(peer, None)

    @rule(seconds=st.floats(0, 5000))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(near=st.dictionaries(PEERS, st.floats(0, 1)), without=st.sets(PEERS, max_size=5))
    def choose(self, near: dict[PeerId, float], without: set[PeerId]) -> None:
        found = self.known.best(self.now, near, without)
        if found is None:
            assert not self.known.ready(self.now, without)
            return
        assert found.peer not in without
        assert self.alone.get(found.peer, 0.0) <= self.now
        ready = [each for each in self.known.ready(self.now, without) if not each.given]
        if not found.given and found.peer not in near:
            assert not any(each.peer in near for each in ready)

    @rule()
    def be_ready_when_promised(self) -> None:
        if (when := self.known.next_time(self.now)) < math.inf:
            assert self.now < when <= self.now + BACKOFF
            self.now = when
            assert self.known.ready(self.now)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        assert len(self.known) <= 5 * MOST + len(self.given)
        assert all(peer in self.known for peer in self.given)
        for peer in [peer for peer in self.alone if peer not in self.known]:
            del self.alone[peer]


TestChoosing = Choosing.TestCase
TestChoosing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
