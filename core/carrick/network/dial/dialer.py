"""Dials peers: one dial for all who want the same peer, its addresses raced against each other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from carrick.addressing import Reach, is_relayed, names, rank, reach, split_peer, with_peer
from carrick.errors import (
    CarrickError,
    ConnectionGated,
    DialBackoff,
    DialError,
    NoAddresses,
    PeerIdMismatch,
    PeerTimeout,
    UnsupportedAddress,
)
from carrick.interfaces import (
    Direction,
    MuxedConnection,
    PunchingTransport,
    Role,
    Transport,
)
from carrick.network.connection import Connection
from carrick.network.dial.backoff import Backoff
from carrick.network.dial.black_hole import BlackHoleDetector
from carrick.network.dial.schedule import DialSchedule
from carrick.network.events import DialFailed, EventBus
from carrick.network.firewall import LimitedLog, guarded
from carrick.network.gater import ConnectionGater
from carrick.network.resources import ConnectionReservation, ResourceManager

if TYPE_CHECKING:
    import random

    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

    from carrick.identity import PeerId

__all__ = ["Admit", "AddressResolver", "DialWatch", "Dialer"]

_DNS = frozenset({"dns", "dns4", "dns6", "dnsaddr"})
_NEAR = frozenset({Reach.LOOPBACK, Reach.PRIVATE, Reach.LINK_LOCAL, Reach.MEMORY})

Admit = Callable[[MuxedConnection, ConnectionReservation, Direction], Awaitable[Connection]]
"""Takes a connection into the swarm, or raises."""


class AddressResolver(Protocol):
    """As `carrick.addressing.Resolver`."""

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]: ...


class DialWatch(Protocol):
    """Is told what becomes of each address of a dial."""

    def started(self, address: Multiaddr) -> None: ...

    def ended(self, address: Multiaddr, outcome: Connection | BaseException | None) -> None:
        """`outcome` is the connection, or why there is none. None: another address was quicker; if
        it had not started, it never does."""


class Dialer:
    """All dials of a swarm. `run` must run while others call `dial`.

    Args:
        transports: looked at for each dial, so it may grow.
        resolver: resolves names; None: addresses with names are refused.
        admit: takes what was dialled into the swarm.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        resources: ResourceManager,
        *,
        gater: ConnectionGater,
        events: EventBus,
        resolver: AddressResolver | None,
        admit: Admit,
        rng: random.Random,
    ) -> None:
        self.backoff = Backoff(rng)
        self.black_holes = BlackHoleDetector()
        self.transports = transports
        self.resolver = resolver
        self.gater = gater
        self.limits = resources.limits
        self._resources = resources
        self._events = events
        self._admit = admit
        self._dials: dict[object, _PeerDial] = {}
        """By peer and by whether they lead over relays; those of anybody by themselves."""
        self._places = trio.Semaphore(self.limits.dials)
        self._nursery: trio.Nursery | None = None
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Home of all dials, until `stop`."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def stop(self) -> None:
        """Cancel all dials, and take no more."""
        for dial in tuple(self._dials.values()):
            dial.finish()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    async def dial(
        self,
        peer: PeerId | None,
        addresses: Iterable[Multiaddr],
        *,
        force: bool = False,
        watch: DialWatch | None = None,
    ) -> Connection:
        """Reach `peer` at one of `addresses`: they are ranked and raced, and the first wins.

        Callers who want the same peer share one dial; each adds its addresses to it. Who dials
        directly shares nothing with who dials over relays, so that each gets what it asked for.

        Args:
            peer: None takes whoever answers.
            force: also dial addresses that failed a short while ago.
            watch: is told of each address from now on, also of those of other callers.

        Raises:
            DialError: with one cause per address (`NoAddresses` if there were none).
        """
        if self._nursery is None:
            raise DialError("the swarm is not running", peer=peer)
        if peer is not None and not self.gater.allow_dial_peer(peer):
            raise DialError("the connection gater refused the peer", peer=peer)
        addresses = tuple(addresses)
        key: object = None
        if peer is not None:
            key = peer, frozenset(map(is_relayed, addresses))
        dial = self._dials.get(key)
        if dial is None:
            dial = _PeerDial(self, peer, key, self._nursery)
            self._dials[dial.key] = dial
        dial.join(addresses, force, watch)
        return await dial.wait()

    async def dial_address(
        self, peer: PeerId | None, address: Multiaddr, *, role: Role = Role.CLIENT
    ) -> Connection:
        """Dial exactly one address, whatever its backoff: for hole punching and for probes.

        Raises:
            CarrickError: what went wrong.
        """
        connection = await self.attempt(peer, address, trio.CancelScope(), role=role)
        assert connection is not None
        return connection

    async def dial_back(self, peer: PeerId, address: Multiaddr) -> Connection:
        """As `dial_address`, of a peer that may have to be punched towards next."""
        connection = await self.attempt(peer, address, trio.CancelScope(), back=True)
        assert connection is not None
        return connection

    async def attempt(
        self,
        peer: PeerId | None,
        address: Multiaddr,
        scope: trio.CancelScope,
        *,
        role: Role = Role.CLIENT,
        back: bool = False,
    ) -> Connection | None:
        """As `dial_address`, within `scope`, which gets a deadline. None: `scope` was cancelled."""
        transport = next((each for each in self.transports if each.can_dial(address)), None)
        if transport is None:
            raise UnsupportedAddress("no transport dials this address", address=address)
        limits = self.limits
        near = reach(address) in _NEAR
        timeout = limits.dial_timeout_private if near else limits.dial_timeout
        connection: Connection | None = None
        with scope:
            await self._acquire_place()
            try:
                scope.deadline = trio.current_time() + timeout
                reservation = self._resources.open_connection(Direction.OUTBOUND)
                try:
                    budget = reservation.budget
                    if back and isinstance(transport, PunchingTransport):
                        muxed = await transport.dial_back(address, peer, budget=budget)
                    else:
                        muxed = await transport.dial(address, peer, role=role, budget=budget)
                    connection = await self._take(muxed, peer, reservation)
                finally:
                    if connection is None:
                        reservation.release()
                    self.black_holes.record(address, connection is not None)
            finally:
                self._places.release()
        if connection is None and trio.current_time() >= scope.deadline:
            raise PeerTimeout(f"no answer within {timeout:g} s")
        return connection

    def can_punch(self, address: Multiaddr) -> bool:
        """Whether a transport punches at this address, with or without a peer id."""
        return self._puncher(split_peer(address)[0]) is not None

    async def punch(self, peer: PeerId, address: Multiaddr, *, role: Role) -> Connection:
        """Meet `peer` between two NATs, at exactly one address. The caller sets a deadline.

        Raises:
            CarrickError: nothing came of it.
        """
        address, _ = split_peer(address)
        transport = self._puncher(address)
        if transport is None:
            raise UnsupportedAddress("no transport punches at this address", address=address)
        if not self.gater.allow_dial(peer, address):
            raise ConnectionGated("the connection gater refused the address", address=address)
        connection: Connection | None = None
        reservation = self._resources.open_connection(Direction.OUTBOUND)  # both sides dial
        try:
            muxed = await transport.punch(address, peer, role=role, budget=reservation.budget)
            # The peer may have settled on this connection: another one that came up at the same
            # moment does not end it.
            with trio.CancelScope(shield=True):
                connection = await self._take(muxed, peer, reservation)
        finally:
            if connection is None:
                reservation.release()
        return connection

    def _puncher(self, address: Multiaddr) -> PunchingTransport | None:
        for transport in self.transports:
            if isinstance(transport, PunchingTransport) and transport.can_punch(address):
                return transport
        return None

    async def _acquire_place(self) -> None:
        """One of the places for dials; no checkpoint if one is free."""
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            await self._places.acquire()

    async def _take(
        self, muxed: MuxedConnection, peer: PeerId | None, reservation: ConnectionReservation
    ) -> Connection:
        try:
            await trio.lowlevel.checkpoint_if_cancelled()  # the last waiter may have left just now
            if peer is not None and muxed.peer_id != peer:
                raise PeerIdMismatch(f"{muxed.peer_id} is there instead", peer=peer)
            connection = await self._admit(muxed, reservation, Direction.OUTBOUND)
        except BaseException:
            muxed.abort()
            raise
        self.backoff.clear(muxed.peer_id)
        return connection

    def forget(self, dial: _PeerDial) -> None:
        """Nobody joins this dial any more."""
        if self._dials.get(dial.key) is dial:
            del self._dials[dial.key]

    def failed(self, peer: PeerId | None, address: Multiaddr, cause: Exception) -> None:
        """An attempt has failed: leave the address alone for a while, and tell."""
        if not isinstance(cause, CarrickError):
            self._log.log(
                logging.ERROR, "dial", address, "dialling %s failed", address, error=cause
            )
        if peer is not None:
            self.backoff.failed(peer, address, trio.current_time())
        self._events.publish(DialFailed(peer, address, cause))


class _PeerDial:
    """One dial, shared by all who want the peer. Each attempt is a task of the dialer's."""

    def __init__(
        self, dialer: Dialer, peer: PeerId | None, key: object, nursery: trio.Nursery
    ) -> None:
        self.peer = peer
        self.key = self if key is None else key
        self._dialer = dialer
        self._nursery = nursery
        self._schedule = DialSchedule(dialer.limits.dials_per_peer)
        self._known = 0
        self._resolving = 0
        self._waiters = 0
        self._watches: list[DialWatch] = []
        self._running: set[trio.CancelScope] = set()
        self._timer: trio.CancelScope | None = None
        self._done = trio.Event()
        self._connection: Connection | None = None

    def join(
        self, addresses: Iterable[Multiaddr], force: bool, watch: DialWatch | None = None
    ) -> None:
        """Add addresses; those beyond the bound are left out."""
        if watch is not None:
            self._watches.append(watch)
        room = self._dialer.limits.addresses_per_dial - self._known
        added = list(dict.fromkeys(addresses))[:room]
        self._known += len(added)
        for address in added:
            if not _DNS.isdisjoint(names(address)):
                self._resolving += 1
                self._spawn(self._resolve, address, force)
        self._offer([(each, force) for each in added if _DNS.isdisjoint(names(each))])
        self._advance()

    async def wait(self) -> Connection:
        """Wait for the outcome; when the last waiter leaves, the dial ends."""
        self._waiters += 1
        try:
            await self._done.wait()
        finally:
            self._waiters -= 1
            if not self._waiters:
                self.finish()
        if self._connection is not None:
            return self._connection
        causes = self._schedule.causes
        if causes:
            raise DialError("the peer could not be reached", peer=self.peer, causes=causes)
        if self._known:
            raise DialError("the dial was cancelled: the swarm is closing", peer=self.peer)
        raise NoAddresses("no address is known", peer=self.peer)

    def finish(self) -> None:
        """Let go of those who wait, and end what still runs."""
        if not self._done.is_set():
            self._dialer.forget(self)
            self._done.set()
            for scope in self._running:
                scope.cancel()
            if self._watches:
                for address in self._schedule.waiting:
                    self._tell(address, None)

    def _advance(self) -> None:
        """Start what is due now; see when more is, and whether anything is left to wait for."""
        if self._done.is_set():
            return
        schedule = self._schedule
        for address in schedule.due(trio.current_time()):
            for watch in self._watches:
                watch.started(address)
            self._spawn(self._attempt, address)
        if self._connection is not None or (schedule.exhausted and not self._resolving):
            self.finish()
        elif (next_at := schedule.next_at) is not None:
            if self._timer is None:
                self._spawn(self._pause, next_at)
            else:
                self._timer.deadline = next_at

    def _spawn(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run `work` with a cancel scope of its own, that `finish` cancels."""
        scope = trio.CancelScope()
        self._running.add(scope)

        async def run() -> None:
            try:
                await work(scope, *args)
            finally:
                self._running.remove(scope)
                self._advance()

        self._nursery.start_soon(run)

    async def _pause(self, scope: trio.CancelScope, until: float) -> None:
        """Let time pass; `_advance` comes after every task."""
        self._timer = scope
        scope.deadline = until
        with scope:
            await trio.sleep_forever()
        self._timer = None

    def _offer(self, addresses: Sequence[tuple[Multiaddr, bool]]) -> None:
        """Hand what may be dialled to the schedule."""
        usable: list[Multiaddr] = []
        for address, force in addresses:
            try:
                usable.append(self._usable(address, force))
            except CarrickError as cause:
                self._refuse(address, cause)
        usable, swallowed = self._dialer.black_holes.filter(usable)
        for address in swallowed:
            self._refuse(address, DialError("not dialled: this network swallows UDP or IPv6"))
        ranked = rank(usable)
        for address in set(usable).difference(address for address, _ in ranked):
            self._refuse(address, UnsupportedAddress("no address of a peer"))
        self._schedule.add(ranked, trio.current_time())

    def _refuse(self, address: Multiaddr, cause: BaseException) -> None:
        self._schedule.refuse(address, cause)
        self._tell(address, cause)

    def _tell(self, address: Multiaddr, outcome: Connection | BaseException | None) -> None:
        for watch in self._watches:
            watch.ended(address, outcome)

    def _usable(self, address: Multiaddr, force: bool) -> Multiaddr:
        """The address without the peer id; raises if it is not to be dialled."""
        dialer = self._dialer
        place, owner = split_peer(address)
        if owner is not None and self.peer is not None and owner != self.peer:
            raise PeerIdMismatch(f"the address is that of {owner}")
        if not any(transport.can_dial(place) for transport in dialer.transports):
            raise UnsupportedAddress("no transport dials this address")
        if not dialer.gater.allow_dial(self.peer, place):
            raise ConnectionGated("the connection gater refused the address")
        if self.peer is not None and not force:
            wait = dialer.backoff.remaining(self.peer, place, trio.current_time())
            if wait > 0:
                raise DialBackoff(f"it failed a short while ago; tried again in {wait:.0f} s")
        return place

    async def _resolve(self, scope: trio.CancelScope, address: Multiaddr, force: bool) -> None:
        try:
            if self._dialer.resolver is None:
                raise UnsupportedAddress("it has a name, and there is no resolver")
            full = address if self.peer is None else with_peer(address, self.peer)
            with scope:
                resolved = await self._dialer.resolver.resolve(full)
                room = self._dialer.limits.addresses_per_dial - self._known
                resolved = resolved[: max(1, room)]
                self._known += len(resolved)
                self._offer([(each, force) for each in resolved])
        except CarrickError as cause:
            self._refuse(address, cause)
        finally:
            self._resolving -= 1

    async def _attempt(self, scope: trio.CancelScope, address: Multiaddr) -> None:
        def failed(cause: Exception) -> None:
            self._schedule.failed(address, cause)
            self._dialer.failed(self.peer, address, cause)
            self._tell(address, cause)

        async def dial() -> None:
            connection = await self._dialer.attempt(self.peer, address, scope)
            self._connection = self._connection or connection
            self._tell(address, connection)

        await guarded(dial, failed=failed)
