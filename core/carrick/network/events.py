"""What happens in a network, as typed events on a bus.

`EventBus.publish` is synchronous and never waits. Each subscriber has a bounded queue of its own;
one that is too slow loses its oldest events and can see how many (`Subscription.dropped`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId
    from carrick.network.connection import Connection
    from carrick.network.stream import Stream

__all__ = [
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionRefused",
    "DialFailed",
    "Event",
    "EventBus",
    "ListenAddressesChanged",
    "PeerConnected",
    "PeerDisconnected",
    "ProtocolsChanged",
    "StreamClosed",
    "StreamOpened",
    "Subscription",
]


@dataclass(frozen=True, slots=True)
class Event:
    """The root of all events."""


@dataclass(frozen=True, slots=True)
class PeerConnected(Event):
    """The first connection of a peer was announced."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class PeerDisconnected(Event):
    """The last announced connection of a peer has ended."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class ConnectionOpened(Event):
    """A connection was announced: it is authenticated and has passed the connection steps."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class ConnectionClosed(Event):
    """An announced connection has ended."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class ConnectionRefused(Event):
    """An inbound connection was not taken: a limit, the gater, or a failed upgrade."""

    remote_address: Multiaddr
    cause: BaseException


@dataclass(frozen=True, slots=True)
class DialFailed(Event):
    """One address could not be dialled. `peer_id` is None if anybody was welcome there."""

    peer_id: PeerId | None
    address: Multiaddr
    cause: BaseException


@dataclass(frozen=True, slots=True)
class StreamOpened(Event):
    """A stream, ours or the peer's, has its protocol. Only made while somebody subscribes to it."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamClosed(Event):
    """A stream that was opened has ended on our side: closed, or reset."""

    stream: Stream
    was_reset: bool


@dataclass(frozen=True, slots=True)
class ListenAddressesChanged(Event):
    """The bound addresses are now `addresses`."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True, slots=True)
class ProtocolsChanged(Event):
    """A handler was added or removed; `protocols` are the exact ids that are now served."""

    protocols: tuple[str, ...]


E = TypeVar("E", bound=Event)


class Subscription(Generic[E]):
    """The events of some types, in order: ``with bus.subscribe(PeerConnected) as events: …``.

    Iterate it with ``async for``; the iteration ends when the subscription is closed. For one task.
    """

    def __init__(
        self,
        bus: EventBus,
        types: tuple[type[E], ...],
        capacity: int,
        where: Callable[[E], bool] | None,
    ) -> None:
        self.types = types
        self.dropped = 0
        """How many events were lost because the queue was full."""
        self._bus = bus
        self._queue: deque[E] = deque()
        self._capacity = capacity
        self._where = where
        self._closed = False
        self._waiters = trio.lowlevel.ParkingLot()

    def __enter__(self) -> Subscription[E]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop. Idempotent."""
        self._closed = True
        self._bus._remove(self)
        self._waiters.unpark_all()

    def __aiter__(self) -> Subscription[E]:
        return self

    async def __anext__(self) -> E:
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            await self._waiters.park()
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._queue.popleft()

    def get_nowait(self) -> E | None:
        """The next event if one is waiting."""
        return self._queue.popleft() if self._queue else None

    def _put(self, event: E) -> None:
        if self._where is not None and not self._where(event):
            return
        if len(self._queue) >= self._capacity:
            self._queue.popleft()
            self.dropped += 1
            self._bus.dropped += 1
        self._queue.append(event)
        self._waiters.unpark_all()


class EventBus:
    """Carries events from whoever knows to whoever wants to."""

    def __init__(self) -> None:
        self.dropped = 0
        """How many events were lost in all, because a subscriber's queue was full."""
        self._subscriptions: set[Subscription[Event]] = set()
        self._wanting: dict[type[Event], list[Subscription[Event]]] = {}
        """Who wants events of a type, of those types that were asked for."""

    def subscribe(
        self, *types: type[E], capacity: int = 256, where: Callable[[E], bool] | None = None
    ) -> Subscription[E]:
        """Events of these types and their subtypes from now on; no type means every event.

        Args:
            capacity: how many events may wait; beyond, the oldest is dropped and counted.
            where: only those for which it is true; it is called by whoever publishes, so that
                nobody wakes for what does not concern him.
        """
        if capacity < 1:
            raise ValueError(f"a subscription's capacity must be at least 1, not {capacity}")
        subscription: Subscription[E] = Subscription(self, types or (Event,), capacity, where)  # type: ignore[arg-type]
        self._subscriptions.add(subscription)  # type: ignore[arg-type]
        self._wanting.clear()
        return subscription

    def wanted(self, type: type[Event]) -> bool:
        """Whether anybody would receive an event of this type: for events that are dear to make."""
        return bool(self._subscribers(type))

    def publish(self, event: Event) -> None:
        """Hand `event` to its subscribers. Never waits."""
        for subscription in self._subscribers(type(event)):
            subscription._put(event)

    def _subscribers(self, type: type[Event]) -> list[Subscription[Event]]:
        if type not in self._wanting:
            self._wanting[type] = [s for s in self._subscriptions if issubclass(type, s.types)]
        return self._wanting[type]

    def _remove(self, subscription: Subscription[E]) -> None:
        self._subscriptions.discard(subscription)
        self._wanting.clear()
