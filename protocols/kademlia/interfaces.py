"""What the parts of the DHT expect of each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.protocols.kademlia.messages import Message, PeerInfo, Record

__all__ = [
    "Messenger",
    "ProviderStore",
    "Publication",
    "PublicationStore",
    "RecordStore",
    "Validator",
]


class Messenger(Protocol):
    """Carries requests to peers, over streams or a model of them."""

    async def request(self, peer: PeerInfo, message: Message) -> Message:
        """Ask `peer`, and wait for its answer.

        Raises:
            CarrickError: it cannot be reached, breaks the protocol, or takes too long.
        """

    async def tell(self, peer: PeerInfo, *messages: Message) -> None:
        """Send what has no answer; several messages share a stream.

        Raises:
            CarrickError: it cannot be reached, or takes too long.
        """


class Validator(Protocol):
    """Decides about the values of one namespace: of the keys `/<namespace>/…`."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """
        Args:
            now: UNIX time in seconds.

        Raises:
            InvalidRecord: the value must not be stored or returned under that key.
        """

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        """Which of several valid values is the best: the newest. Always the same of equal ones."""


class RecordStore(Protocol):
    """Keeps values. Bounded: when it is full, what was received longest ago goes."""

    def get(self, key: bytes, now: float) -> Record | None:
        """The record, unless it has expired. Times are UNIX times in seconds."""

    def put(self, key: bytes, value: bytes, now: float) -> None:
        """Keep it, in the place of the one before."""

    def remove(self, key: bytes) -> bool:
        """Forget it. Returns whether it was there."""

    def keys(self) -> Iterable[bytes]:
        """The keys of all records, expired ones perhaps included."""

    def expire(self, now: float) -> int:
        """Forget what has expired; returns how many."""


class ProviderStore(Protocol):
    """Keeps who provides what. Bounded in all and for each provider: the oldest goes."""

    def add(self, key: bytes, provider: PeerInfo, now: float) -> None:
        """Note that `provider` has what `key` names. Times are UNIX times in seconds."""

    def get(self, key: bytes, now: float) -> list[PeerInfo]:
        """Those who provide it, the latest first; with addresses while they are fresh."""

    def remove(self, key: bytes, provider: PeerId) -> bool:
        """Forget it. Returns whether it was there."""

    def expire(self, now: float) -> int:
        """Forget what has expired; returns how many."""


class Publication(NamedTuple):
    """What we publish ourselves.

    Attributes:
        value: what stands under the key; None: we provide what the key names.
        at: when it was last published, UNIX time in seconds.
    """

    key: bytes
    value: bytes | None
    at: float


class PublicationStore(Protocol):
    """Keeps what we publish, so that it is published again after a restart."""

    def load(self) -> Iterable[Publication]:
        """All of it."""

    def keep(self, publication: Publication) -> None:
        """In the place of the one before of its kind and key."""

    def drop(self, key: bytes, *, provided: bool) -> None:
        """Forget a key that we provided, or a value that we put."""
