"""Which buckets of a peer to ask for, and what they hold. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import MAX_AIMED, common_prefix_length, peer_key
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["Drain"]


class Drain:
    """Reads the table of one peer, bucket by bucket from the farthest.

    To a key that shares exactly *i* bits with it, a peer answers with its bucket *i*; if there is
    room left, with all that is nearer to it; then with what is farther. So an answer that names
    somebody farther than *i* has named everybody nearer, and no deeper bucket is asked for.

    Attributes:
        place: the peer's place in the keyspace.
        neighbours: whom it named.
        error_bits: bit *i* is set if bucket *i* could not be read (nebula's `ErrorBits`).
        requests: how many buckets were asked for.
    """

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.place = peer_key(peer)
        self.neighbours: dict[PeerId, PeerInfo] = {}
        self.error_bits = 0
        self.requests = 0
        self._last = MAX_AIMED
        self._answered = False

    @property
    def read(self) -> bool:
        """Whether at least one bucket was read."""
        return self._answered

    def next(self) -> int | None:
        """The next bucket to ask for, by the bits that it shares; None: no more."""
        if self.requests > self._last:
            return None
        self.requests += 1
        return self.requests - 1

    def answered(self, bits: int, peers: Iterable[PeerInfo]) -> None:
        """What the peer named for bucket `bits`."""
        self._answered = True
        anybody = False
        for each in peers:
            if each.id == self.peer:
                continue
            anybody = True
            if common_prefix_length(self.place, peer_key(each.id)) < bits:
                self._last = min(self._last, bits)
            self.neighbours.setdefault(each.id, each)
        if not anybody:
            self._last = min(self._last, bits)

    def failed(self, bits: int) -> None:
        """Bucket `bits` could not be read."""
        self.error_bits |= 1 << bits
