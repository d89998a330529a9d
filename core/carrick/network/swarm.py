"""The swarm: all connections of a host, to whom, and how they come and go."""

from __future__ import annotations

import math
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick import errors
from carrick.deadlines import deadline
from carrick.interfaces import (
    Direction,
    InboundConnection,
    MuxedConnection,
    Role,
    Transport,
)
from carrick.network.acceptor import Acceptor
from carrick.network.codes import ConnectionCode
from carrick.network.connection import Connection
from carrick.network.connections import Connections
from carrick.network.dial.dialer import AddressResolver, Dialer
from carrick.network.events import EventBus, ProtocolsChanged
from carrick.network.gater import AllowAll, ConnectionGater
from carrick.network.handlers import Handler, Handlers, StreamHandler
from carrick.network.housekeeper import Housekeeper
from carrick.network.limits import Limits
from carrick.network.manager import ConnectionManager
from carrick.network.pathfinder import AddressSource, Pathfinder, Way
from carrick.network.resources import ConnectionReservation, ResourceManager
from carrick.network.serving import ConnectionServer, ConnectionStep

if TYPE_CHECKING:
    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

    from carrick.identity import PeerId
    from carrick.network.stream import Stream

__all__ = ["Reach", "Swarm"]

Reach: TypeAlias = "Callable[[PeerId | None, Iterable[Multiaddr]], Awaitable[Connection]]"
"""Finds or makes a connection with a peer, or with whoever answers at some addresses."""


class Swarm:
    """All connections of one host.

    Args:
        peer_id: who we are.
        transports: tried in order; `add_transport` adds more.
        resolver: resolves names in addresses; None: such addresses are refused.
        rng: the host's randomness.
    """

    def __init__(
        self,
        peer_id: PeerId,
        transports: Sequence[Transport],
        *,
        limits: Limits | None = None,
        gater: ConnectionGater | None = None,
        events: EventBus | None = None,
        resolver: AddressResolver | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.peer_id = peer_id
        transports = self._transports = list(transports)
        self.transports: Sequence[Transport] = transports
        self.limits = limits or Limits()
        self.events = events or EventBus()
        self.gater = gater or AllowAll()
        self.resources = ResourceManager(
            self.limits, on_exhausted=lambda: self._housekeeper.memory_exhausted()
        )
        self.manager = ConnectionManager(self.limits)
        self.known_protocols: Callable[[PeerId], frozenset[str] | None] = lambda _: None
        """What a peer said it speaks when we last met, if anything remembers that."""
        self._steps: list[ConnectionStep] = []
        self._handlers = Handlers()
        self._connections = Connections(self.events)
        self._housekeeper = Housekeeper(self._connections, self.manager)
        self._server = ConnectionServer(
            self._handlers,
            self._steps,
            self.limits,
            announce=self._connections.announce,
            ended=self._connections.remove,
        )
        self.dialer = Dialer(
            transports,
            self.resources,
            gater=self.gater,
            events=self.events,
            resolver=resolver,
            admit=self._admit,
            rng=rng or random.Random(),
        )
        self.pathfinder = Pathfinder(peer_id, self.dialer, self._connections)
        self.reach: Reach = self.pathfinder.reach
        """How `open_stream` comes by a connection; a host has more ways."""
        self._acceptor = Acceptor(
            transports,
            self.resources,
            self.manager,
            gater=self.gater,
            events=self.events,
            admit=self._admit,
            may_give_way=lambda: bool(self._housekeeper.idle()),
        )
        self._stopping = trio.Event()
        self._stopped = trio.Event()
        self._nursery: trio.Nursery | None = None

    # --- life -------------------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `aclose` or cancelled; then close gracefully, for `limits.close_timeout`."""
        async with trio.open_nursery() as nursery:
            started = trio.Event()
            # Not `start`: cancelled meanwhile, it would wait for the shielded task for ever.
            nursery.start_soon(self._run_shielded, started)
            try:
                await started.wait()
                task_status.started()
                await self._stopping.wait()
            finally:
                self._stopping.set()

    async def aclose(self) -> None:
        """Close all connections and listeners; `run` returns."""
        self._stopping.set()
        if self._nursery is not None:
            await self._stopped.wait()

    async def _run_shielded(self, started: trio.Event) -> None:
        """All tasks of the swarm: shielded, so that connections outlive the cancellation by the
        moment that their goodbyes take."""
        try:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as self._nursery:
                    await self._nursery.start(self.dialer.run)
                    await self._nursery.start(self._acceptor.run)
                    self._nursery.start_soon(self._housekeeper.run)
                    started.set()
                    await self._stopping.wait()
                    self._acceptor.stop()
                    self.dialer.stop()
                    await self._close_connections()
                    self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._stopped.set()

    async def _close_connections(self) -> None:
        with trio.move_on_after(self.limits.close_timeout):
            async with trio.open_nursery() as nursery:
                for connection in self._connections.of(None):
                    nursery.start_soon(connection.aclose, ConnectionCode.SHUTDOWN)

    # --- listening --------------------------------------------------------------------------------

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Listen on `address`. Returns it as it is bound, with the real port.

        Raises:
            UnsupportedAddress: no transport listens on such an address.
            ListenError: the transport cannot: the port is in use, ….
        """
        return await self._acceptor.listen(address)

    async def accept(self, inbound: InboundConnection) -> bool:
        """Take in a connection that came another way than by a listener: over a relay.

        Returns when it is admitted, or has failed. It passes what every accepted one passes.

        Returns:
            whether there was a place for it; if not, `inbound.refuse` was called.
        """
        return await self._acceptor.take(inbound)

    def unlisten(self, address: Multiaddr) -> bool:
        """Stop listening on a bound address; connections stay. Returns whether it was there."""
        return self._acceptor.unlisten(address)

    @property
    def listen_addresses(self) -> tuple[Multiaddr, ...]:
        """The bound addresses; wildcard hosts as they were given."""
        return self._acceptor.addresses

    # --- protocols --------------------------------------------------------------------------------

    def handle(
        self,
        protocol: str,
        handler: StreamHandler,
        *,
        allow_limited: bool = False,
        match: Callable[[str], bool] | None = None,
        service: str | None = None,
        streams_per_peer: int | None = None,
    ) -> None:
        """Serve `protocol` with `handler`, each stream in a task of its own.

        Args:
            allow_limited: also over relays.
            match: also serves every protocol id for which this returns True.
            service: a resource scope that several protocols share.
            streams_per_peer: inbound streams of one peer at a time, if it is not the limit
                `streams_inbound_per_protocol_and_peer`.

        Raises:
            ValueError: the protocol id cannot be negotiated, or has a handler already.
        """
        self._handlers.add(
            Handler(protocol, handler, allow_limited, match, service, streams_per_peer)
        )
        self.events.publish(ProtocolsChanged(self.protocols))

    def unhandle(self, protocol: str) -> bool:
        """Serve it no longer; streams that are open stay. Returns whether it was served."""
        removed = self._handlers.remove(protocol)
        if removed:
            self.events.publish(ProtocolsChanged(self.protocols))
        return removed

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocol ids that are served."""
        return self._handlers.protocols

    # --- hooks ------------------------------------------------------------------------------------

    def add_connection_step(self, step: ConnectionStep) -> None:
        """Have every new connection pass `step` before it is announced.

        All steps together have `limits.step_timeout`; one that fails does not end the connection.
        """
        self._steps.append(step)

    def add_address_source(self, source: AddressSource) -> None:
        """Ask `source` too for a peer's addresses, when none that is known leads to it."""
        self.pathfinder.sources.append(source)

    def add_transport(self, transport: Transport) -> None:
        """Dial and listen with `transport` too, behind those that are there."""
        self._transports.append(transport)

    # --- connections ------------------------------------------------------------------------------

    def connections(self, peer: PeerId | None = None) -> tuple[Connection, ...]:
        """The open connections, of one peer or all."""
        return self._connections.of(peer)

    def connection(self, peer: PeerId) -> Connection | None:
        """The connection that a new stream to `peer` would take."""
        return self._connections.best(peer)

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """The peers with an open connection."""
        return self._connections.peers

    async def connect(
        self,
        peer: PeerId | None,
        addresses: Iterable[Multiaddr] = (),
        *,
        allow_limited: bool = True,
        force: bool = False,
        timeout: float = math.inf,
    ) -> Connection:
        """Reach a peer, and wait until the connection has passed the connection steps.

        A connection that is there is taken. Otherwise `addresses` are dialled, then those of the
        address sources. (`Host.connect` knows more ways.)

        Args:
            peer: None takes whoever answers at `addresses`.
            allow_limited: a relayed connection will do. Otherwise no relayed address is dialled.
            force: also dial addresses that failed a short while ago.
            timeout: seconds for all of it.

        Raises:
            DialError: with one cause per address tried.
            PeerTimeout: nothing came of it in time.
        """
        with deadline(timeout, "nothing came of it", peer=peer):
            way = Way.ANY if allow_limited else Way.DIRECT
            connection = await self.pathfinder.reach(peer, addresses, way, force=force)
            return await connection.wait_announced()

    async def open_stream(
        self,
        peer: PeerId | None,
        protocols: str | Sequence[str],
        *,
        addresses: Iterable[Multiaddr] = (),
        allow_limited: bool = False,
        lazy: bool | None = None,
        timeout: float = math.inf,
    ) -> Stream:
        """Open a stream on the best connection with `peer`, dialling if there is none.

        It does not wait for the connection steps of a new connection.

        Args:
            peer: None takes whoever answers at `addresses`.
            allow_limited: a relayed connection will do. Otherwise a direct one is waited for.
            lazy: as in `Connection.open_stream`.
            timeout: seconds for all of it.

        Raises:
            DialError: the peer could not be reached.
            PeerTimeout: nothing came of it in time.
            LimitedConnection: there is only a relayed connection after `stream_timeout`.
            CarrickError: as `Connection.open_stream`.
        """
        addresses = tuple(addresses)
        with deadline(timeout, "nothing came of it", peer=peer):
            connection = await self._connection_for(peer, addresses, allow_limited)
            try:
                return await connection.open_stream(protocols, lazy=lazy)
            except errors.ConnectionClosed:
                # It had ended, and we learned of it only now.
                connection = await self._connection_for(peer, addresses, allow_limited)
                return await connection.open_stream(protocols, lazy=lazy)

    async def wait_direct(self, peer: PeerId) -> Connection:
        """A connection with `peer` that no relay carries: one that is there, or the next one."""
        return await self._connections.wait_unrelayed(peer)

    def can_punch(self, address: Multiaddr) -> bool:
        """Whether a transport can punch there. It is ready then: loaded, and its keys made."""
        return self.dialer.can_punch(address)

    async def punch(
        self, peer: PeerId, addresses: Sequence[Multiaddr], *, role: Role
    ) -> Connection:
        """Meet `peer` between two NATs: punch at all of `addresses` at once, and take the first
        connection. The peer must do the same at this moment, in the other role.

        The first address is punched before this waits for anything. A connection that is not
        relayed and came another way will do as well: the first of the peer's dials to arrive may
        have passed for an ordinary one. The caller sets a deadline.

        Raises:
            DialError: with one cause per address.
        """
        causes: list[tuple[object, BaseException]] = []
        found: list[Connection] = []

        async def attempt(address: Multiaddr) -> None:
            try:
                found.append(await self.dialer.punch(peer, address, role=role))
            except errors.CarrickError as error:
                causes.append((address, error))
            else:
                attempts.cancel_scope.cancel()

        async def watch() -> None:
            found.append(await self._connections.wait_unrelayed(peer))
            attempts.cancel_scope.cancel()

        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as attempts:
                for address in addresses[1:]:
                    attempts.start_soon(attempt, address)
                for address in addresses[:1]:
                    await attempt(address)
            watching.cancel_scope.cancel()
        if found:
            return found[0]
        raise errors.DialError("nobody was met", peer=peer, causes=causes)

    async def disconnect(self, peer: PeerId, code: int = 0) -> None:
        """Close all connections with `peer`."""
        async with trio.open_nursery() as nursery:
            for connection in self.connections(peer):
                nursery.start_soon(connection.aclose, code)

    async def _connection_for(
        self, peer: PeerId | None, addresses: Iterable[Multiaddr], allow_limited: bool
    ) -> Connection:
        connection = await self.reach(peer, addresses)
        if allow_limited or not connection.is_limited:
            return connection
        with trio.move_on_after(self.limits.stream_timeout):
            return await self._connections.wait_direct(connection.peer_id)
        raise errors.LimitedConnection(
            "only a relayed connection is there; allow_limited=True takes it", peer=peer
        )

    # --- coming and going -------------------------------------------------------------------------

    async def _admit(
        self, muxed: MuxedConnection, reservation: ConnectionReservation, direction: Direction
    ) -> Connection:
        """Take an authenticated connection in, or say why not and close it."""
        peer = muxed.peer_id
        try:
            if peer == self.peer_id:
                raise errors.ConnectionGated("that is this host itself")
            if not self.gater.allow_secured(direction, peer, muxed.remote_address):
                raise errors.ConnectionGated("the connection gater refused the peer", peer=peer)
            if not self.gater.allow_upgraded(muxed):
                raise errors.ConnectionGated("the connection gater refused", peer=peer)
            protected = self.manager.is_protected(peer)
            try:
                reservation.authenticated(peer, protected=protected)
            except errors.ResourceLimitExceeded as error:
                full = error.limit == "connections_inbound"
                if not (full and await self._housekeeper.make_room()):
                    raise
                reservation.authenticated(peer, protected=protected)
            if self._nursery is None:
                raise errors.ConnectionClosed("the swarm is closing")
        except errors.ConnectionGated:
            await muxed.aclose(ConnectionCode.GATED)
            raise
        except errors.ResourceLimitExceeded:
            await muxed.aclose(ConnectionCode.RESOURCE_LIMIT_EXCEEDED)
            raise
        connection = Connection(
            muxed,
            direction,
            reservation,
            self,
            opened_at=trio.current_time(),
            protocols=self.known_protocols(peer),
        )
        self._connections.add(connection)
        self._nursery.start_soon(self._server.carry, connection)
        if len(self._connections) > self.limits.high_water:
            self._housekeeper.look()
        return connection
