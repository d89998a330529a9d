"""Resource scopes: what every connection, stream and reserved byte is charged to.

A charge goes to all scopes that it concerns, or to none: an inbound connection to *system*,
*transient* (until it is authenticated), *peer* and *connection*; a stream also to *protocol*,
*protocol of a peer*, *service* and *service of a peer*. Charging and releasing are synchronous, and
every reservation is a context manager, so that nothing is left behind whatever ends its owner.
Scopes that are keyed by something remote exist only while something is charged to them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Self

from carrick.addressing import IPAddress
from carrick.errors import ConnectionClosed, ResourceLimitExceeded
from carrick.interfaces import Direction
from carrick.network.admission import AddressAdmission, AddressSlot
from carrick.network.limits import Limits
from carrick.network.scopes import Charge, Kind, Maxima, Scope

if TYPE_CHECKING:
    from carrick.identity import PeerId

__all__ = ["ConnectionReservation", "Kind", "ResourceManager", "StreamReservation"]

CONNECTION_MEMORY = 64 << 10  # what an idle connection may take (ATTACKS 6.1, promises 3 and 4)
GUARANTEED = 8  # inbound streams of a connection that are taken even when all others are in use
_PRESSURE = 0.9  # of the memory budget: from here on no new inbound connections (promise 5)


_STREAM: dict[Direction, Charge] = {
    Direction.INBOUND: ((Kind.STREAMS, 1), (Kind.STREAMS_INBOUND, 1)),
    Direction.OUTBOUND: ((Kind.STREAMS, 1), (Kind.STREAMS_OUTBOUND, 1)),
}
_CONNECTION: Charge = ((Kind.CONNECTIONS, 1), (Kind.MEMORY, CONNECTION_MEMORY))
_INBOUND: Charge = ((Kind.CONNECTIONS_INBOUND, 1),)


@lru_cache(256)
def _inbound_streams(limit: str, maximum: int) -> Maxima:
    return Maxima({Kind.STREAMS_INBOUND: (limit, maximum)})


class _Reservation:
    """Charges that are released together, once."""

    def __init__(self) -> None:
        self._held: list[tuple[Scope, Charge]] = []
        self._released = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give everything back. Idempotent."""
        self._released = True
        while self._held:
            scope, charge = self._held.pop()
            scope.remove(charge)

    def _take(self, *charges: tuple[Scope, Charge]) -> None:
        for scope, charge in charges:
            scope.check(charge)
        self._add(*charges)

    def _add(self, *charges: tuple[Scope, Charge]) -> None:
        for scope, charge in charges:
            scope.add(charge)
            self._held.append((scope, charge))

    def _give_back(self, scope: Scope, charge: Charge) -> None:
        self._held.remove((scope, charge))
        scope.remove(charge)


class ConnectionReservation(_Reservation):
    """What one connection holds: its place, its memory and its streams."""

    def __init__(
        self, manager: ResourceManager, direction: Direction, slot: AddressSlot | None
    ) -> None:
        super().__init__()
        self.direction = direction
        self.peer: PeerId | None = None
        self.peer_scope: Scope | None = None
        self.scope = Scope("connection", manager.connection_maxima)
        self.pending_streams = Scope("connection", manager.pending_maxima)
        self.budget = MemoryBudget(manager, self)
        self._manager = manager
        self._slot = slot
        self._streams: set[StreamReservation] = set()

    def authenticated(self, peer: PeerId, *, protected: bool = False) -> None:
        """The connection is secured and multiplexed, and `peer` is at its other end.

        Args:
            protected: the peer may use the places that are kept from other inbound connections.

        Raises:
            ResourceLimitExceeded: no more connections with this peer or its address, or inbound.
        """
        manager = self._manager
        peer_scope = manager.peer_scope(peer)
        buffered: Charge = ((Kind.MEMORY, self.budget.used),)
        charges = [(peer_scope, _CONNECTION)]
        if self.direction is Direction.INBOUND and not protected:
            charges.append((manager.system, _INBOUND))
        for scope, charge in (*charges, (peer_scope, buffered)):
            scope.check(charge)
        if self._slot is not None:
            self._slot.establish()
        self._take(*charges)
        peer_scope.add(buffered)  # the budget gives it back
        if self.direction is Direction.INBOUND:
            self._give_back(manager.transient, _INBOUND)
        self.peer, self.peer_scope = peer, peer_scope

    def open_stream(self, direction: Direction) -> StreamReservation:
        """A place for a stream whose protocol is not negotiated yet.

        Raises:
            ResourceLimitExceeded: some scope is full.
            ConnectionClosed: the connection has given everything back.
        """
        if self._released:
            raise ConnectionClosed(peer=self.peer)
        stream = StreamReservation(self._manager, self, direction)
        self._streams.add(stream)
        return stream

    def release(self) -> None:
        for stream in tuple(self._streams):
            stream.release()
        super().release()
        if self._slot is not None:
            self._slot.release()
        self.budget.close()


class StreamReservation:
    """What one stream holds: one stream of its direction in each of its scopes."""

    __slots__ = ("_connection", "_manager", "_scopes", "direction")

    def __init__(
        self, manager: ResourceManager, connection: ConnectionReservation, direction: Direction
    ) -> None:
        assert connection.peer_scope is not None
        self._manager = manager
        self._connection = connection
        self.direction = direction
        charge = _STREAM[direction]
        common = [(manager.system, connection.scope)]
        scopes = [connection.peer_scope, connection.scope, manager.system]
        if direction is Direction.INBOUND:
            common.append((manager.transient, connection.pending_streams))
            scopes += (connection.pending_streams, manager.transient)
        for shared, own in common:
            # A flood over many connections must not take the last stream from all others.
            if direction is Direction.OUTBOUND or own.counts[Kind.STREAMS_INBOUND] >= GUARANTEED:
                shared.check(charge)
            own.check(charge)
        scopes[0].check(charge)
        for scope in scopes:
            scope.add(charge)
        self._scopes: list[Scope] | None = scopes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def negotiated(
        self, protocol: str, *, service: str | None = None, per_peer: int | None = None
    ) -> None:
        """The stream speaks `protocol` now.

        Args:
            per_peer: inbound streams of this protocol and peer, if the handler has its own number.

        Raises:
            ResourceLimitExceeded: too many streams of this protocol, for the peer or in all.
            ConnectionClosed: the connection has ended, and everything was given back.
        """
        connection, manager = self._connection, self._manager
        peer, held = connection.peer, self._scopes
        if held is None:
            raise ConnectionClosed(peer=peer)
        assert peer is not None
        charge = _STREAM[self.direction]
        scopes = [
            manager.protocol_scope(protocol),
            manager.protocol_peer_scope(protocol, peer, per_peer),
        ]
        if service is not None:
            scopes += [manager.service_scope(service), manager.service_peer_scope(service, peer)]
        for scope in scopes:
            scope.check(charge)
        for scope in scopes:
            scope.add(charge)
        held += scopes
        if self.direction is Direction.INBOUND:
            for scope in (manager.transient, connection.pending_streams):
                scope.remove(charge)
                held.remove(scope)

    def release(self) -> None:
        """Give everything back. Idempotent."""
        held, self._scopes = self._scopes, None
        if held is not None:
            charge = _STREAM[self.direction]
            for scope in held:
                scope.remove(charge)
            self._connection._streams.discard(self)


class MemoryBudget:
    """A connection's view of the memory budget: implements `carrick.interfaces.Budget`."""

    def __init__(self, manager: ResourceManager, connection: ConnectionReservation) -> None:
        self._manager = manager
        self._connection = connection
        self._closed = False
        self.used = 0

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes; False if connection, peer or system have no more."""
        if self._closed or size < 0:
            return False
        charge: Charge = ((Kind.MEMORY, size),)
        scopes = self._scopes()
        try:
            for scope in scopes:
                scope.check(charge)
        except ResourceLimitExceeded:
            if self._manager.system.room(Kind.MEMORY) < size:
                self._manager.on_exhausted()
            return False
        for scope in scopes:
            scope.add(charge)
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Give back `size` bytes; nothing after the connection's end, for all went back then."""
        if self._closed:
            return
        if not 0 <= size <= self.used:
            raise ValueError(f"{size} bytes given back, but {self.used} are reserved")
        self.used -= size
        for scope in self._scopes():
            scope.remove(((Kind.MEMORY, size),))

    def close(self) -> None:
        """Give back what is left, for good."""
        if self.used:
            self.release(self.used)
        self._closed = True

    def _scopes(self) -> list[Scope]:
        connection = self._connection
        scopes = [self._manager.system, connection.scope]
        if connection.peer_scope is not None:
            scopes.append(connection.peer_scope)
        return scopes


class ResourceManager:
    """All scopes of a swarm."""

    def __init__(
        self, limits: Limits | None = None, *, on_exhausted: Callable[[], None] = lambda: None
    ) -> None:
        """
        Args:
            on_exhausted: called when memory was refused because the whole budget is used.
        """
        self.limits = limits = limits or Limits()
        self.on_exhausted = on_exhausted
        self.addresses = AddressAdmission(limits)
        self.system = Scope(
            "system",
            Maxima(
                {
                    Kind.CONNECTIONS: ("connections", limits.connections),
                    Kind.CONNECTIONS_INBOUND: ("connections_inbound", limits.connections_inbound),
                    Kind.STREAMS: ("streams", limits.streams),
                    Kind.STREAMS_INBOUND: ("streams_inbound", limits.streams_inbound),
                    Kind.MEMORY: ("memory", limits.memory),
                }
            ),
        )
        self.transient = Scope(
            "transient",
            Maxima(
                {
                    Kind.CONNECTIONS_INBOUND: ("connections_pending", limits.connections_pending),
                    Kind.STREAMS_INBOUND: ("streams_pending", limits.streams_pending),
                }
            ),
        )
        self.connection_maxima = Maxima(
            {
                Kind.STREAMS_INBOUND: (
                    "streams_inbound_per_connection",
                    limits.streams_inbound_per_connection,
                ),
                Kind.STREAMS: ("streams_per_connection", limits.streams_per_connection),
                Kind.MEMORY: (
                    "memory_per_connection",
                    limits.memory_per_connection + CONNECTION_MEMORY,
                ),
            }
        )
        self.pending_maxima = Maxima(
            {
                Kind.STREAMS_INBOUND: (
                    "streams_pending_per_connection",
                    limits.streams_pending_per_connection,
                )
            }
        )
        self._peer_maxima = Maxima(
            {
                Kind.CONNECTIONS: ("connections_per_peer", limits.connections_per_peer),
                Kind.STREAMS_INBOUND: ("streams_inbound_per_peer", limits.streams_inbound_per_peer),
                Kind.STREAMS_OUTBOUND: (
                    "streams_outbound_per_peer",
                    limits.streams_outbound_per_peer,
                ),
                Kind.MEMORY: ("memory_per_peer", limits.memory_per_peer),
            }
        )
        self._peers: dict[Hashable, Scope] = {}
        self._protocols: dict[Hashable, Scope] = {}
        self._protocol_peers: dict[Hashable, Scope] = {}
        self._services: dict[Hashable, Scope] = {}
        self._service_peers: dict[Hashable, Scope] = {}

    def open_connection(
        self,
        direction: Direction,
        *,
        ip: IPAddress | None = None,
        now: float = 0.0,
        spare: Callable[[], bool] = lambda: False,
    ) -> ConnectionReservation:
        """A place for a connection that is not authenticated yet.

        Args:
            ip: where an inbound connection comes from; None if its transport has no IP addresses.
            now: seconds, for the rate of new connections.
            spare: whether a place may be found for it later, as for a protected peer: when the
                inbound places are used up, a quarter of the pending ones stays open. It is asked
                only then, since the answer takes a look at every connection.

        Raises:
            ResourceLimitExceeded: some scope, or the address, has no more room.
        """
        if direction is Direction.OUTBOUND:
            connection = ConnectionReservation(self, direction, None)
            connection._take((self.system, _CONNECTION), (connection.scope, _CONNECTION))
            return connection
        self._check_inbound(spare)
        slot = self.addresses.admit(ip, now)
        connection = ConnectionReservation(self, direction, slot)
        try:
            connection._take(
                (self.system, _CONNECTION),
                (self.transient, _INBOUND),
                (connection.scope, _CONNECTION),
            )
        except ResourceLimitExceeded:
            slot.release()
            raise
        return connection

    @property
    def pending_is_full(self) -> bool:
        """As many inbound connections are pending as may be."""
        return self.transient.room(Kind.CONNECTIONS_INBOUND) <= 0

    def _check_inbound(self, spare: Callable[[], bool]) -> None:
        pending = self.transient.counts[Kind.CONNECTIONS_INBOUND]
        if pending >= self.system.room(Kind.CONNECTIONS_INBOUND) and not (
            pending < self.limits.connections_pending // 4 and spare()
        ):
            raise self.system.exceeded(Kind.CONNECTIONS_INBOUND)
        if self.system.counts[Kind.MEMORY] >= _PRESSURE * self.limits.memory:
            raise self.system.exceeded(Kind.MEMORY, CONNECTION_MEMORY)

    def peer_scope(self, peer: PeerId) -> Scope:
        return self._peers.get(peer) or Scope("peer", self._peer_maxima, self._peers, peer)

    def protocol_scope(self, protocol: str) -> Scope:
        limit = "streams_inbound_per_protocol"
        return self._keyed(self._protocols, "protocol", protocol, limit)

    def protocol_peer_scope(self, protocol: str, peer: PeerId, maximum: int | None) -> Scope:
        limit = "streams_inbound_per_protocol_and_peer"
        own = self.limits.protocol_streams_per_peer.get(protocol, maximum)
        key = (protocol, peer)
        return self._keyed(self._protocol_peers, "protocol", key, limit, own)

    def service_scope(self, service: str) -> Scope:
        return self._keyed(self._services, "service", service, "streams_inbound_per_service")

    def service_peer_scope(self, service: str, peer: PeerId) -> Scope:
        limit = "streams_inbound_per_service_and_peer"
        return self._keyed(self._service_peers, "service", (service, peer), limit)

    def _keyed(
        self,
        home: dict[Hashable, Scope],
        label: str,
        key: Hashable,
        limit: str,
        maximum: int | None = None,
    ) -> Scope:
        scope = home.get(key)
        if scope is None:
            value = getattr(self.limits, limit) if maximum is None else maximum
            scope = Scope(label, _inbound_streams(limit, value), home, key)
        return scope

    def stat(self) -> dict[str, dict[str, int]]:
        """What is reserved now: scope name → kind → amount. System and transient always, and every
        scope that holds something."""
        keyed = (
            self._peers,
            self._protocols,
            self._protocol_peers,
            self._services,
            self._service_peers,
        )
        scopes = [self.system, self.transient]
        for home in keyed:
            scopes += home.values()
        return {
            scope.name: {kind.name.lower(): scope.counts[kind] for kind in Kind} for scope in scopes
        }
