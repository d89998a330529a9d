"""Listens, and turns what is accepted into authenticated connections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from carrick.addressing import host_ip
from carrick.errors import (
    CarrickError,
    ConnectionGated,
    PeerTimeout,
    ResourceLimitExceeded,
    UnsupportedAddress,
)
from carrick.interfaces import Direction, InboundConnection, Listener, Transport
from carrick.network.dial.dialer import Admit
from carrick.network.events import ConnectionRefused, EventBus, ListenAddressesChanged
from carrick.network.firewall import LimitedLog, guarded
from carrick.network.gater import ConnectionGater
from carrick.network.manager import ConnectionManager
from carrick.network.resources import ConnectionReservation, ResourceManager

if TYPE_CHECKING:
    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

__all__ = ["Acceptor"]

_AFTER_FAILURE = 1.0  # s until the next try, when accepting failed by a defect
_GIVES_WAY = 1.0  # s after which a pending connection gives way to a new one, when all are taken


class Acceptor:
    """The listeners of a swarm. `run` must run while they listen.

    An accepted connection passes: the gater, admission by address and by number, then the upgrade
    under one deadline, then whatever `admit` asks.

    Args:
        transports: looked at in `listen`, so it may grow.
        admit: takes an authenticated connection into the swarm, or raises.
        may_give_way: whether `admit` can make a place when all inbound ones are used.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        resources: ResourceManager,
        manager: ConnectionManager,
        *,
        gater: ConnectionGater,
        events: EventBus,
        admit: Admit,
        may_give_way: Callable[[], bool],
    ) -> None:
        self._transports = transports
        self._resources = resources
        self._manager = manager
        self._gater = gater
        self._events = events
        self._admit = admit
        self._may_give_way = may_give_way
        self._listeners: list[Listener] = []
        self._pending: dict[trio.CancelScope, float] = {}
        """When each upgrade began; the oldest first."""
        self._place_freed = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Home of all accept loops and upgrades, until `stop`."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def stop(self) -> None:
        """Close the listeners, and cancel what is not authenticated yet."""
        for listener in tuple(self._listeners):
            listener.close()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            self._nursery = None

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        return tuple(listener.address for listener in self._listeners)

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Listen on `address`. Returns it as it is bound.

        Raises:
            UnsupportedAddress: no transport listens on such an address.
            ListenError: the transport cannot.
        """
        if self._nursery is None:
            raise RuntimeError("the swarm is not running")
        transport = next((each for each in self._transports if each.can_listen(address)), None)
        if transport is None:
            raise UnsupportedAddress("no transport listens on this address", address=address)
        listener = await transport.listen(address)
        self._listeners.append(listener)
        self._nursery.start_soon(self._serve, listener)
        self._events.publish(ListenAddressesChanged(self.addresses))
        return listener.address

    async def take(self, inbound: InboundConnection) -> bool:
        """Upgrade and admit a connection that no listener of ours accepted.

        Returns:
            False: there was no place for it, and it was refused.
        """
        reservation = await self._place_or_refuse(inbound)
        if reservation is None:
            return False
        await self._upgrade_guarded(inbound, reservation)
        return True

    def unlisten(self, address: Multiaddr) -> bool:
        """Stop listening on a bound address; connections stay. Returns whether it was there."""
        found = [listener for listener in self._listeners if listener.address == address]
        for listener in found:
            listener.close()
        return bool(found)

    async def _serve(self, listener: Listener) -> None:
        """Accept until the listener is closed."""
        try:
            while not await guarded(self._accept, listener, failed=self._accept_failed):
                await trio.sleep(_AFTER_FAILURE)
        finally:
            listener.close()
            self._listeners.remove(listener)
            self._events.publish(ListenAddressesChanged(self.addresses))

    def _accept_failed(self, error: Exception) -> None:
        self._log.log(logging.ERROR, "accept", None, "accepting a connection failed", error=error)

    async def _accept(self, listener: Listener) -> None:
        while True:
            try:
                inbound = await listener.accept()
            except trio.ClosedResourceError:
                return
            reservation = await self._place_or_refuse(inbound)
            if reservation is None:
                continue
            if self._nursery is None:  # stopped meanwhile
                inbound.refuse()
                reservation.release()
                return
            self._nursery.start_soon(self._upgrade_guarded, inbound, reservation)

    async def _place_or_refuse(self, inbound: InboundConnection) -> ConnectionReservation | None:
        """A place for the connection; None if there is none, and it was refused."""
        try:
            return await self._place(inbound)
        except CarrickError as cause:
            inbound.refuse()
            self._refused(inbound, cause)
            return None
        except BaseException:
            inbound.refuse()
            raise

    async def _place(self, inbound: InboundConnection) -> ConnectionReservation:
        """A place for the connection; when all pending ones are taken, wait for one."""
        if not self._gater.allow_accept(inbound.local_address, inbound.remote_address):
            raise ConnectionGated("the connection gater refused", address=inbound.remote_address)
        while True:
            try:
                return self._resources.open_connection(
                    Direction.INBOUND,
                    ip=host_ip(inbound.remote_address),
                    now=trio.current_time(),
                    spare=lambda: self._manager.protects_any or self._may_give_way(),
                )
            except ResourceLimitExceeded as error:
                if error.limit != "connections_pending" or not self._pending:
                    raise
            await self._make_room()

    async def _make_room(self) -> None:
        """Wait until a pending connection is through, or has had its second and gives way.

        An honest upgrade takes a few round trips; so whoever holds places without going on cannot
        shut others out.
        """
        oldest, began = next(iter(self._pending.items()))
        with trio.move_on_at(began + _GIVES_WAY):
            await self._place_freed.wait()
            return
        oldest.cancel()
        await self._place_freed.wait()

    async def _upgrade_guarded(
        self, inbound: InboundConnection, reservation: ConnectionReservation
    ) -> None:
        admitted = False

        def failed(error: Exception) -> None:
            if not isinstance(error, (CarrickError, OSError, trio.BrokenResourceError)):
                self._log.log(logging.ERROR, "upgrade", None, "an upgrade failed", error=error)
            self._refused(inbound, error)

        try:
            admitted = await guarded(self._upgrade, inbound, reservation, failed=failed)
        finally:
            if not admitted:
                reservation.release()
            self._place_freed.set()
            self._place_freed = trio.Event()

    async def _upgrade(
        self, inbound: InboundConnection, reservation: ConnectionReservation
    ) -> None:
        timeout = self._resources.limits.upgrade_timeout
        with trio.move_on_after(timeout) as scope:
            self._pending[scope] = trio.current_time()
            try:
                muxed = await inbound.upgrade(reservation.budget)
            finally:
                del self._pending[scope]
        if scope.cancelled_caught:
            raise PeerTimeout("not authenticated in time", address=inbound.remote_address)
        try:
            await self._admit(muxed, reservation, Direction.INBOUND)
        except BaseException:
            muxed.abort()
            raise

    def _refused(self, inbound: InboundConnection, cause: Exception) -> None:
        address = inbound.remote_address
        self._log.log(logging.DEBUG, "refused", None, "connection from %s: %s", address, cause)
        if self._events.wanted(ConnectionRefused):
            self._events.publish(ConnectionRefused(address, cause))
