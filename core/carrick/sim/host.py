"""Hosts of the simulated internet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from math import inf
from random import Random
from typing import TYPE_CHECKING, TypeAlias, TypeVar, TypeVarTuple

import trio

from carrick.sim.network import Interface, Network
from carrick.sim.packet import Packet, is_loopback
from carrick.sim.sockets import Sockets
from carrick.sim.stack import Stack

if TYPE_CHECKING:
    from carrick.sim.internet import Internet

__all__ = ["Host", "current_host"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
IPInterface: TypeAlias = IPv4Interface | IPv6Interface

_host: ContextVar[Host | None] = ContextVar("carrick_sim_host", default=None)


_ip_interface = lru_cache(65536)(ip_interface)


def current_host() -> Host | None:
    """The host that this context runs on."""
    return _host.get()


class Host:
    """A machine with one or several interfaces. Made by `Internet.host`, `Router.host`, ….

    Attributes:
        name: unique on its internet.
        sockets: opens sockets here; the calls of `SocketOpener`.
        is_up: False while it is crashed or asleep.
    """

    def __init__(self, internet: Internet, name: str, rng: Random, *, window: int) -> None:
        self.name = name
        self.internet = internet
        self.is_up = True
        self.interfaces: list[Interface] = []
        self.stack = Stack(self, internet.events, rng, window=window)
        self.sockets = Sockets(self)
        self._by_address: dict[str, Interface] = {}
        self._programs: dict[trio.CancelScope, None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {' '.join(self.addresses)}>"

    # --- addresses --------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Every IP address but the loopback ones."""
        return list(self._by_address)

    @property
    def address(self) -> str:
        """The first IP address.

        Raises:
            LookupError: there is none at present.
        """
        for address in self._by_address:
            return address
        raise LookupError(f"{self.name} has no address")

    @property
    def interface(self) -> Interface:
        """The first interface.

        Raises:
            LookupError: there is none at present.
        """
        if not self.interfaces:
            raise LookupError(f"{self.name} is attached to nothing")
        return self.interfaces[0]

    def interface_addresses(self) -> list[IPInterface]:
        """Every IP address with its network, loopback included."""
        found = [_ip_interface("127.0.0.1/8"), _ip_interface("::1/128")]
        for interface in self.interfaces:
            if not interface.up:
                continue
            for address in interface.addresses:
                prefix = next(
                    (
                        prefix.prefixlen
                        for prefix in interface.network.prefixes
                        if interface.network is not self.internet.core
                        and (prefix.version == 6) == (":" in address)
                    ),
                    128 if ":" in address else 32,
                )
                found.append(_ip_interface(f"{address}/{prefix}"))
        return found

    def default_gateways(self) -> list[str]:
        """The IPv4 addresses of the routers of the networks that the host is on."""
        gateways = (each.network.gateway for each in self.interfaces if each.up)
        return [
            address
            for gateway in gateways
            if gateway is not None and gateway.node is not self
            for address in gateway.addresses
            if ":" not in address
        ]

    def change_address(self, new: str | None = None) -> str:
        """Give the first interface another IPv4 address; the old one is nobody's then.

        Returns:
            the new address.
        """
        interface = self.interface
        new = new or interface.network.free_address(4)
        old = next(address for address in interface.addresses if ":" not in address)
        interface.remove_address(old)
        interface.add_address(new)
        return new

    def move(self, network: Network, **options: object) -> Interface:
        """Leave every network, and join this one: another Wi-Fi, say.

        Args:
            options: as for `Network.attach`.
        """
        for interface in list(self.interfaces):
            interface.network.detach(interface)
        return network.attach(self, **options)  # type: ignore[arg-type]

    def add_interface(self, interface: Interface) -> None:
        self.interfaces.append(interface)

    def remove_interface(self, interface: Interface) -> None:
        self.interfaces.remove(interface)
        self.addresses_changed()

    def addresses_changed(self) -> None:
        self._by_address = {
            address: interface for interface in self.interfaces for address in interface.addresses
        }

    def uplink_for(self, address: str) -> Interface | None:
        """The interface that answers for `address` elsewhere; only routers have one."""
        return None

    # --- programs ---------------------------------------------------------------------------------

    @contextmanager
    def enter(self) -> Iterator[Host]:
        """Run the block, and the tasks started in it, on this host.

        It chooses trio's sockets and name resolution. Code that takes its sockets from elsewhere
        is given `sockets`.
        """
        token = _host.set(self)
        try:
            yield self
        finally:
            _host.reset(token)

    async def run(self, program: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T | None:
        """Run an async function on this host, until it returns or the host crashes.

        Returns:
            what it returned; None if the host crashed.
        """
        with self.enter(), trio.CancelScope() as scope:
            self._programs[scope] = None
            try:
                return await program(*args)
            finally:
                del self._programs[scope]
        return None

    # --- fate -------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Power off: programs started by `run` are cancelled, sockets vanish without a word."""
        self.is_up = False
        for scope in self._programs:
            scope.cancel()
        self.stack.vanish()

    def sleep(self) -> None:
        """Neither send nor receive; sockets stay. Timers of programs go on."""
        self.is_up = False

    def wake(self) -> None:
        """End `sleep`, or start again after `crash`."""
        self.is_up = True

    restart = wake

    # --- packets ----------------------------------------------------------------------------------

    def emit(self, packet: Packet) -> None:
        """A packet of this host's own sets out."""
        if not self.is_up:
            packet.lost("host down")
            return
        self.internet.record(packet, self.name)
        destination = packet.destination[0]
        if destination in self._by_address or is_loopback(destination):
            self.internet.events.soon(self.take, packet, [packet.source[0]])
            return
        interface = self.way_out(packet)
        if interface is None:
            packet.lost("not an address of the sender")
        else:
            self.route(packet, interface)

    def way_out(self, packet: Packet) -> Interface | None:
        """The interface that a packet of this host's own leaves from."""
        return self._by_address.get(packet.source[0])

    def route(self, packet: Packet, interface: Interface) -> None:
        interface.network.carry(packet, interface)

    def arrive(self, packet: Packet, interface: Interface) -> None:
        """A packet came to `interface`."""
        self.take(packet, interface.addresses)

    def take(self, packet: Packet, interfaces: list[str]) -> None:
        if not self.is_up:
            packet.lost("host down")
            return
        if packet.entry is not None:
            packet.entry.took(packet, self.internet.time(), self.name)
        self.stack.receive(packet, interfaces)

    # --- what the stack asks ----------------------------------------------------------------------

    def owns(self, ip: str) -> bool:
        return ip in self._by_address or is_loopback(ip)

    def source_for(self, destination: str) -> str | None:
        if is_loopback(destination) or destination in self._by_address:
            return destination
        best = None
        for address, interface in self._by_address.items():
            if (":" in address) != (":" in destination):
                continue
            network = interface.network
            if network.contains(destination):
                return address
            leads_on = network.gateway is not None or network is self.internet.core
            if leads_on and best is None:
                best = address
        return best

    def bandwidth_from(self, ip: str) -> float:
        interface = self._by_address.get(ip)
        return inf if interface is None else interface.link.bandwidth
