"""The port mapper: keeps our ports mapped on the gateway, and advertises where."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr
from carrick.host import Host, Layers, OwnAddressesChanged
from carrick.interfaces import SocketOpener
from carrick.network import EventBus
from carrick.network.events import ListenAddressesChanged
from carrick.protocols.portmap.announcements import hear_announcements
from carrick.protocols.portmap.discovery import FAILURES, Place, find_place, searching
from carrick.protocols.portmap.events import PortMapped, PortMappingLost
from carrick.protocols.portmap.listeners import (
    any_to_map,
    layers_of,
    mapped_addresses,
    ports_to_map,
)
from carrick.protocols.portmap.mapping import (
    MIN_LEASE,
    GatewayClient,
    Mapping,
    MappingRefused,
    Port,
)
from carrick.protocols.portmap.options import PortMapperOptions
from carrick.protocols.portmap.state import MappingTable
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["PortMapper"]

_log = logging.getLogger("carrick.portmap")

MIN_PAUSE = 1.0  # s between two rounds, whatever a gateway says
RESTART_SPREAD = 5.0  # s; RFC 6887 section 14.1.3: not all clients at once
ANNOUNCED_PAUSE = (
    30.0  # s between renewals for which there is no other reason: anybody can announce
)


class PortMapper:
    """Has the home's gateway forward our ports to us, by PCP, NAT-PMP or UPnP.

    All of it happens in the background. Only listeners at a private address of ours, or at all
    addresses while there is a private one, are mapped; without such listeners nothing is sent.
    """

    def __init__(self, options: PortMapperOptions | None = None) -> None:
        self.options = options or PortMapperOptions()
        self._host: Host
        self._sockets: SocketOpener
        self._client: GatewayClient | None = None
        self._table = MappingTable()
        self._told: dict[Port, Mapping] = {}
        self._hints: dict[Port, int] = {}
        """External ports that we had before."""
        self._outside: IPv4Address | None = None
        self._check_at = math.inf
        self._announced = False
        self._renewed_at = -math.inf
        self._woken = trio.Event()
        self._advertised: tuple[tuple[Multiaddr, ...], list[Multiaddr]] = ((), [])

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """Those in force, whether or not their external address is public."""
        return tuple(self._told.values())

    @property
    def gateway(self) -> GatewayClient | None:
        """The gateway in use; `via` is the protocol."""
        return self._client

    def addresses(self) -> list[Multiaddr]:
        """Where our listeners are reached from outside: what is advertised."""
        listening = self._host.swarm.listen_addresses
        if self._advertised[0] != listening:
            self._advertised = listening, list(mapped_addresses(listening, self._told))
        return self._advertised[1]

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Work until cancelled, then remove the mappings."""
        self._host = host
        self._sockets = current_sockets()
        host.add_own_addresses(self.addresses)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._hear_of_listeners, host.events)
            task_status.started()
            try:
                await self._work()
            finally:
                with trio.CancelScope(shield=True) as scope:
                    scope.deadline = trio.current_time() + self.options.release_timeout
                    await self._release()

    # --- looking for a gateway --------------------------------------------------------------------

    async def _work(self) -> None:
        options = self.options
        retry = first = math.inf
        while True:
            place = self._place()
            if place is None:
                self._tell(())
                look_again = any_to_map(self._host.swarm.listen_addresses)
                await self._wait(options.check_interval if look_again else math.inf)
                continue
            self._client = client = await self._find(place)
            self._tell(self._table.mappings)
            if client is not None:
                began = trio.current_time()
                await self._keep(place, client)
                if trio.current_time() - began >= options.check_interval:
                    retry = options.retry
                    continue
                retry = min(retry, options.retry)
            elif retry == first:
                _log.info("no gateway here maps ports (%s)", ", ".join(options.protocols))
            self._client = None
            self._table = MappingTable()
            self._tell(())
            retry = min(retry, options.max_retry)
            until = trio.current_time() + retry
            retry *= 2
            while (left := until - trio.current_time()) > 0 and self._place() == place:
                await self._wait(min(left, options.check_interval))

    async def _find(self, place: Place) -> GatewayClient | None:
        """The first gateway that maps one of our ports; `_table` has what it maps."""
        protocols, rng = self.options.protocols, self._host.rng
        async with searching(self._sockets, place, protocols, rng) as channel:
            async for found in channel:
                if found.client is None:
                    continue
                self._note_outside(found.external_address)
                self._client = found.client  # its mappings are removed, should we be cancelled
                self._table = MappingTable()
                self._table.want(self._wanted(place))
                try:
                    await self._map_due(found.client)
                except FAILURES as error:
                    _log.info("%s: %s", found.via, error)
                if self._table.mappings:
                    return found.client
        self._table = MappingTable()
        return None

    def _place(self) -> Place | None:
        """Where we are, if there is anything to map."""
        if not any_to_map(self._host.swarm.listen_addresses):
            return None
        interfaces, gateways = self._sockets.interface_addresses(), self._sockets.default_gateways()
        place = find_place(interfaces, gateways, self.options.gateway)
        return place if place is not None and self._wanted(place) else None

    def _wanted(self, place: Place) -> list[Port]:
        return ports_to_map(self._host.swarm.listen_addresses, place.local.ip)

    # --- keeping the mappings ---------------------------------------------------------------------

    async def _keep(self, place: Place, client: GatewayClient) -> None:
        """Until our place changes, or the gateway fails."""
        async with trio.open_nursery() as nursery:
            if client.via != "upnp":
                local, server = place.local.ip, client.server
                nursery.start_soon(hear_announcements, self._sockets, local, server, self._suspect)
            try:
                await self._renew(place, client)
            except FAILURES as error:
                _log.info("the gateway fails: %s", error)
            nursery.cancel_scope.cancel()

    async def _renew(self, place: Place, client: GatewayClient) -> None:
        """Raises:
        NoGateway, MappingRefused, ProtocolError, OSError: the gateway fails.
        """
        table = self._table
        self._check_at = trio.current_time() + self.options.check_interval
        while True:
            await trio.sleep(MIN_PAUSE)
            until = min(table.next_due(client.generation), self._check_at)
            await self._wait(until - trio.current_time())
            now = trio.current_time()
            if now >= self._check_at:
                if self._place() != place:
                    return
                table.lost(await client.check(table.mappings))
                self._tell(table.mappings)
                self._check_at = trio.current_time() + self.options.check_interval
                if self._announced and now >= self._renewed_at + ANNOUNCED_PAUSE:
                    # Some do not count their epoch anew: miniupnpd with system_uptime.
                    self._renewed_at = now
                    table.renew()
                self._announced = False
            for unwanted in table.want(self._wanted(place)):
                await _remove(client, unwanted)
            await self._map_due(client)
            table.expire(trio.current_time())
            self._tell(table.mappings)

    async def _map_due(self, client: GatewayClient) -> None:
        """Map, or renew, what is due.

        Raises:
            NoGateway, ProtocolError, OSError: the gateway fails.
        """
        for port in self._table.due(trio.current_time(), client.generation):
            asked = trio.current_time()
            wanted = self._hints.get(port, port.number)
            try:
                mapping = await client.map(port, wanted, self.options.lifetime)
                if mapping.lifetime < MIN_LEASE:
                    raise MappingRefused(f"a lease of {mapping.lifetime:.0f} s", 0)
            except MappingRefused as error:
                _log.info("%s is not mapped: %s", port, error)
                self._table.refused(port, asked)
            else:
                self._table.granted(mapping, asked, self._host.rng.random())
                self._hints[port] = mapping.external_port

    async def _release(self) -> None:
        """Remove all mappings."""
        client = self._client
        if client is not None:
            async with trio.open_nursery() as nursery:
                for mapping in self._table.mappings:
                    nursery.start_soon(_remove, client, mapping)

    # --- telling ----------------------------------------------------------------------------------

    def _tell(self, mappings: Iterable[Mapping]) -> None:
        """These are in force now."""
        before, after = self._told, {each.port: each for each in mappings}
        lost = [old for port, old in before.items() if not _same(old, after.get(port))]
        made = [new for port, new in after.items() if not _same(new, before.get(port))]
        self._told = after
        if not lost and not made:
            return
        self._advertised = (), []
        for mapping in lost:
            _log.info("no longer mapped: %s", mapping)
            self._host.events.publish(PortMappingLost(mapping))
        for mapping in made:
            _log.info("mapped: %s", mapping)
            self._note_outside(mapping.external_address)
            self._host.events.publish(PortMapped(mapping))
        self._host.events.publish(OwnAddressesChanged())

    def _note_outside(self, outside: IPv4Address | None) -> None:
        """The gateway says that this is its address outside."""
        if outside is None or outside == self._outside:
            return
        self._outside = outside
        nat = self._host.nat
        layers = layers_of(outside, self._sockets.interface_addresses())
        if layers is Layers.ONE and nat.address not in (None, str(outside)):
            layers = Layers.DOUBLE  # others see us at another address
        if layers in (Layers.DOUBLE, Layers.CARRIER):
            _log.info("%s: the gateway's address outside is %s", layers.value, outside)
        address = str(outside) if layers is Layers.ONE else nat.address
        self._host.note_nat(replace(nat, layers=layers, address=address))

    # --- waiting ----------------------------------------------------------------------------------

    async def _wait(self, seconds: float) -> None:
        """So long, or until something has happened."""
        with trio.move_on_after(max(0.0, seconds)):
            await self._woken.wait()
        self._woken = trio.Event()

    def _suspect(self) -> None:
        """The gateway has announced something."""
        self._announced = True
        spread = self._host.rng.random() * RESTART_SPREAD
        self._check_at = min(self._check_at, trio.current_time() + spread)
        self._woken.set()

    async def _hear_of_listeners(
        self, events: EventBus, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with events.subscribe(ListenAddressesChanged) as changes:
            task_status.started()
            async for _ in changes:
                self._woken.set()


async def _remove(client: GatewayClient, mapping: Mapping) -> None:
    try:
        await client.unmap(mapping)
    except FAILURES as error:
        _log.info("not removed: %s: %s", mapping, error)


def _same(one: Mapping, other: Mapping | None) -> bool:
    """Whether they lead from the same place outside to the same inside."""
    return other is not None and (one.client, one.external_address, one.external_port) == (
        other.client,
        other.external_address,
        other.external_port,
    )
