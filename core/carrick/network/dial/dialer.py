"""Dials peers: one dial for all who want the same peer, its addresses raced against each other."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from carrick.addressing import Reach, names, rank, reach, split_peer, with_peer
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
from carrick.interfaces import Direction, MuxedConnection, Role, Transport
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

__all__ = ["Admit", "AddressResolver", "Dialer"]

_DNS = frozenset({"dns", "dns4", "dns6", "dnsaddr"})
_NEAR = frozenset({Reach.LOOPBACK, Reach.PRIVATE, Reach.LINK_LOCAL, Reach.MEMORY})

Admit = Callable[[MuxedConnection, ConnectionReservation, Direction], Awaitable[Connection]]
"""Takes a connection into the swarm, or raises."""


class AddressResolver(Protocol):
    """As `carrick.addressing.Resolver`."""

    async def resolve(self, address: Multiaddr) -> list[Multiaddr]: ...


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
        self._dials: dict[PeerId, _PeerDial] = {}
        self._limiter = trio.CapacityLimiter(self.limits.dials)
        self._nursery: trio.Nursery | None = None
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Home of all dials, until `stop`."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def stop(self) -> None:
        """Cancel all dials, and take no more."""
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    async def dial(
        self, peer: PeerId | None, addresses: Iterable[Multiaddr], *, force: bool = False
    ) -> Connection:
        """Reach `peer` at one of `addresses`: they are ranked and raced, and the first wins.

        Callers who want the same peer share one dial; each adds its addresses to it.

        Args:
            peer: None takes whoever answers.
            force: also dial addresses that failed a short while ago.

        Raises:
            DialError: with one cause per address (`NoAddresses` if there were none).
        """
        if self._nursery is None:
            raise DialError("the swarm is not running", peer=peer)
        if peer is not None and not self.gater.allow_dial_peer(peer):
            raise DialError("the connection gater refused the peer", peer=peer)
        dial = self._dials.get(peer) if peer is not None else None
        if dial is None:
            dial = _PeerDial(self, peer)
            if peer is not None:
                self._dials[peer] = dial
            dial.join(addresses, force)
            self._nursery.start_soon(dial.run)
        else:
            dial.join(addresses, force)
        return await dial.wait()

    async def dial_address(
        self, peer: PeerId | None, address: Multiaddr, *, role: Role = Role.CLIENT
    ) -> Connection:
        """Dial exactly one address, whatever its backoff: for hole punching and for probes.

        Raises:
            CarrickError: what went wrong.
        """
        transport = next((each for each in self.transports if each.can_dial(address)), None)
        if transport is None:
            raise UnsupportedAddress("no transport dials this address", address=address)
        near = reach(address) in _NEAR
        timeout = self.limits.dial_timeout_private if near else self.limits.dial_timeout
        async with self._limiter:
            reservation = self._resources.open_connection(Direction.OUTBOUND)
            succeeded = False
            try:
                with trio.fail_after(timeout):
                    muxed = await transport.dial(
                        address, peer, role=role, budget=reservation.budget
                    )
                connection = await self._take(muxed, peer, reservation)
                succeeded = True
                return connection
            except trio.TooSlowError:
                raise PeerTimeout(f"no answer within {timeout:g} s") from None
            finally:
                if not succeeded:
                    reservation.release()
                self.black_holes.record(address, succeeded)

    async def _take(
        self, muxed: MuxedConnection, peer: PeerId | None, reservation: ConnectionReservation
    ) -> Connection:
        try:
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
        if dial.peer is not None and self._dials.get(dial.peer) is dial:
            del self._dials[dial.peer]

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
    """One dial, shared by all who want the peer."""

    def __init__(self, dialer: Dialer, peer: PeerId | None) -> None:
        self.peer = peer
        self._dialer = dialer
        self._schedule = DialSchedule(dialer.limits.dials_per_peer)
        self._joining: list[tuple[Multiaddr, bool]] = []
        self._known = 0
        self._resolving = 0
        self._waiters = 0
        self._scope = trio.CancelScope()
        self._changed = trio.Event()
        self._done = trio.Event()
        self._connection: Connection | None = None

    def join(self, addresses: Iterable[Multiaddr], force: bool) -> None:
        """Add addresses; those beyond the bound are left out."""
        room = self._dialer.limits.addresses_per_dial - self._known
        added = list(dict.fromkeys(addresses))[:room]
        self._known += len(added)
        self._joining += [(address, force) for address in added]
        self._changed.set()

    async def wait(self) -> Connection:
        """Wait for the outcome; when the last waiter leaves, the dial ends."""
        self._waiters += 1
        try:
            await self._done.wait()
        finally:
            self._waiters -= 1
            if not self._waiters and not self._done.is_set():
                self._dialer.forget(self)
                self._scope.cancel()
        if self._connection is not None:
            return self._connection
        causes = self._schedule.causes
        if causes:
            raise DialError("the peer could not be reached", peer=self.peer, causes=causes)
        if self._known:
            raise DialError("the dial was cancelled: the swarm is closing", peer=self.peer)
        raise NoAddresses("no address is known", peer=self.peer)

    async def run(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    while self._connection is None and not self._exhausted:
                        self._start(nursery)
                        next_at = self._schedule.next_at
                        with trio.CancelScope() as pause:
                            if next_at is not None:
                                pause.deadline = next_at
                            await self._changed.wait()
                        self._changed = trio.Event()
                    self._finish()  # before the losers have ended
                    nursery.cancel_scope.cancel()
        finally:
            self._finish()

    def _finish(self) -> None:
        self._dialer.forget(self)
        self._done.set()

    @property
    def _exhausted(self) -> bool:
        return self._schedule.exhausted and not self._resolving and not self._joining

    def _start(self, nursery: trio.Nursery) -> None:
        """Begin what is to be done now."""
        joining, self._joining = self._joining, []
        for address, force in joining:
            if _DNS.isdisjoint(names(address)):
                continue
            self._resolving += 1
            nursery.start_soon(self._resolve, address, force)
        self._offer([each for each in joining if _DNS.isdisjoint(names(each[0]))])
        for address in self._schedule.due(trio.current_time()):
            nursery.start_soon(self._attempt, address)
        if self._exhausted:
            self._changed.set()

    def _offer(self, addresses: Sequence[tuple[Multiaddr, bool]]) -> None:
        """Hand what may be dialled to the schedule."""
        usable: list[Multiaddr] = []
        for address, force in addresses:
            try:
                usable.append(self._usable(address, force))
            except CarrickError as cause:
                self._schedule.refuse(address, cause)
        usable, swallowed = self._dialer.black_holes.filter(usable)
        for address in swallowed:
            self._schedule.refuse(
                address, DialError("not dialled: this network swallows UDP or IPv6")
            )
        ranked = rank(usable)
        for address in set(usable).difference(address for address, _ in ranked):
            self._schedule.refuse(address, UnsupportedAddress("no address of a peer"))
        self._schedule.add(ranked, trio.current_time())

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

    async def _resolve(self, address: Multiaddr, force: bool) -> None:
        try:
            if self._dialer.resolver is None:
                raise UnsupportedAddress("it has a name, and there is no resolver")
            full = address if self.peer is None else with_peer(address, self.peer)
            resolved = await self._dialer.resolver.resolve(full)
            room = self._dialer.limits.addresses_per_dial - self._known
            resolved = resolved[: max(1, room)]
            self._known += len(resolved)
            self._offer([(each, force) for each in resolved])
        except CarrickError as cause:
            self._schedule.refuse(address, cause)
        finally:
            self._resolving -= 1
            self._changed.set()

    async def _attempt(self, address: Multiaddr) -> None:
        def failed(cause: Exception) -> None:
            self._schedule.failed(address, cause)
            self._dialer.failed(self.peer, address, cause)

        async def dial() -> None:
            connection = await self._dialer.dial_address(self.peer, address)
            self._connection = self._connection or connection

        await guarded(dial, failed=failed)
        self._changed.set()
