"""Routers: a LAN inside, a network outside, and a NAT or a firewall between them."""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from carrick.sim.host import Host
from carrick.sim.nat import Nat, NatBehaviour, Ports, PortTaken, Unsolicited
from carrick.sim.network import Interface, Network
from carrick.sim.packet import RST, TCP, UDP, UNREACHABLE, Endpoint, Packet, is_multicast
from carrick.sim.presets import FIREWALL, behaviour
from carrick.sim.stack import refusal

if TYPE_CHECKING:
    from carrick.sim.internet import Internet

__all__ = ["Router"]

_PROTOCOLS = {"tcp": TCP, "udp": UDP}


class Router(Host):
    """A router between its LAN and the network outside. Made by `Internet.router`.

    IPv4 passes the NAT. IPv6 passes a stateful firewall (RFC 6092) without translation, unless the
    behaviour is open. The router is a host too, for programs that serve its LAN.

    Attributes:
        lan: the network inside.
        wan: the interface outside.
        behaviour: of the NAT.
    """

    def __init__(
        self,
        internet: Internet,
        name: str,
        rng: Random,
        behaviour: NatBehaviour,
        *,
        window: int,
    ) -> None:
        super().__init__(internet, name, rng, window=window)
        self.behaviour = behaviour
        self._rng = rng
        self.wan: Interface
        self.lan: Network
        self._inside: Interface
        self._nat = Nat(behaviour, "", rng)
        firewall = behaviour if behaviour.is_open else FIREWALL
        self._firewall = Nat(firewall, "", rng)
        self._own = Nat(FIREWALL, "", rng)  # what the router itself talks with outside

    def connect(self, wan: Interface, lan: Network, inside: Interface) -> None:
        """Called once, when both sides exist."""
        self.wan, self.lan, self._inside = wan, lan, inside
        lan.gateway = inside
        self.addresses_changed()

    def host(self, name: str | None = None, **options: Any) -> Host:
        """A new host on the LAN; see `Internet.host`."""
        return self.lan.host(name, **options)

    def router(
        self, name: str | None = None, nat: str | NatBehaviour = "port-restricted", **options: Any
    ) -> Router:
        """A new router whose outside is this one's LAN: the home router behind a provider's NAT."""
        return self.lan.router(name, nat, **options)

    @property
    def external_address(self) -> str:
        """The IPv4 address outside."""
        return self._nat.address

    # --- port mappings ----------------------------------------------------------------------------

    def map_port(
        self,
        protocol: str,
        port: int,
        internal: Endpoint,
        *,
        lifetime: float = inf,
    ) -> int:
        """Forward an external port, as UPnP, NAT-PMP and PCP ask for and users configure.

        Args:
            protocol: `"tcp"` or `"udp"`.
            port: the external port wanted; 0 for any. Renewing a mapping is mapping it again.
            internal: address and port on the LAN.
            lifetime: seconds.

        Returns:
            the external port.

        Raises:
            PortTaken: `port` is mapped to another endpoint.
        """
        now = self.internet.time()
        number = _PROTOCOLS[protocol]
        if port:
            self._nat.forward(number, port, internal, now + lifetime, now)
            return port
        for candidate in (internal[1], *(self._rng.randint(1024, 65535) for _ in range(64))):
            try:
                self._nat.forward(number, candidate, internal, now + lifetime, now)
            except PortTaken:
                continue
            return candidate
        raise PortTaken("no port is free")

    def unmap_port(self, protocol: str, port: int) -> None:
        """End a port mapping; nothing if there is none."""
        self._nat.unforward(_PROTOCOLS[protocol], port)

    def port_mappings(self) -> dict[tuple[str, int], tuple[Endpoint, float]]:
        """(protocol, external port) → (internal endpoint, seconds left)."""
        now = self.internet.time()
        names = {number: name for name, number in _PROTOCOLS.items()}
        return {
            (names[number], port): (internal, expires - now)
            for (number, port), (internal, expires) in self._nat.forwards(now).items()
        }

    # --- fate -------------------------------------------------------------------------------------

    def addresses_changed(self) -> None:
        super().addresses_changed()
        if hasattr(self, "wan"):
            outside = [address for address in self.wan.addresses if ":" not in address]
            address = outside[0] if outside else ""
            if address != self._nat.address:
                self._nat.address = address
                self._nat.clear()

    def change_address(self, new: str | None = None) -> str:
        """Another IPv4 address outside, as after a night's forced disconnection."""
        new = new or self.wan.network.free_address(4)
        self.wan.remove_address(self._nat.address)
        self.wan.add_address(new)
        return new

    def crash(self) -> None:
        """Power off: mappings are forgotten, configured forwards are not."""
        super().crash()
        self.forget()

    def forget(self) -> None:
        """Lose every mapping, as at a restart; configured forwards stay."""
        self._nat.clear()
        self._firewall.clear()
        self._own.clear()

    def change_behaviour(self, nat: str | NatBehaviour) -> None:
        """Another NAT from now on, without any mappings; the firewall of IPv6 stays as it is."""
        self.behaviour = self._nat.behaviour = behaviour(nat)
        self.forget()

    def uplink_for(self, address: str) -> Interface | None:
        if ":" in address or self.behaviour.ports is Ports.NONE:
            return self.wan
        return None

    # --- packets ----------------------------------------------------------------------------------

    def arrive(self, packet: Packet, interface: Interface) -> None:
        if not self.is_up:
            packet.lost("router down")
        elif is_multicast(packet.destination[0]):
            self.take(packet, interface.addresses)
        elif interface is self.wan:
            self._inbound(packet)
        else:
            self._outbound(packet)

    def way_out(self, packet: Packet) -> Interface | None:
        if self.lan.contains(packet.destination[0]) and self.owns(packet.source[0]):
            return self._inside
        if packet.source[0] in self.wan.addresses:
            now = self.internet.time()
            self._own.outbound(
                packet.protocol, packet.source, packet.destination, packet.flags, now
            )
        return super().way_out(packet)

    def _translator(self, packet: Packet) -> Nat:
        return self._firewall if ":" in packet.source[0] else self._nat

    def _outbound(self, packet: Packet) -> None:
        destination = packet.destination[0]
        if destination in self._inside.addresses:
            self.take(packet, self._inside.addresses)
            return
        if packet.protocol == UDP and not self.behaviour.udp:
            packet.lost("UDP blocked")
            return
        if destination in self.wan.addresses:
            self._hairpin(packet)
            return
        if self.lan.contains(destination):
            packet.lost("no such host")
            return
        nat = self._translator(packet)
        flags = packet.flags & ~UNREACHABLE
        try:
            packet.source = nat.outbound(
                packet.protocol,
                packet.source,
                packet.destination,
                flags,
                self.internet.time(),
            )
        except PortTaken:
            packet.lost("no port left")
            return
        self.route(packet, self.wan)

    def _hairpin(self, packet: Packet) -> None:
        """From a host of the LAN to our external address (RFC 4787, section 6)."""
        nat = self._translator(packet)
        now = self.internet.time()
        if not self.behaviour.hairpin or nat is self._firewall:
            # The router's own stack, which the LAN may reach, has nothing there.
            self.take(packet, self.wan.addresses)
            return
        flags = packet.flags & ~UNREACHABLE
        external = nat.outbound(packet.protocol, packet.source, packet.destination, flags, now)
        internal = nat.inbound(
            packet.protocol, packet.destination, external, flags, now, hairpin=True
        )
        packet.source = external
        if internal is None:
            packet.lost("no mapping")
            return
        packet.destination = internal
        self.route(packet, self._inside)

    def _inbound(self, packet: Packet) -> None:
        nat = self._translator(packet)
        now = self.internet.time()
        destination = packet.destination
        ours = destination[0] in self.wan.addresses
        if packet.protocol == UDP and not self.behaviour.udp:
            packet.lost("UDP blocked")
            return
        flags = packet.flags & ~UNREACHABLE
        if ours and self._own.inbound(packet.protocol, destination, packet.source, flags, now):
            self.take(packet, self.wan.addresses)
            return
        internal = None
        if not ours or nat is self._nat:
            internal = nat.inbound(packet.protocol, destination, packet.source, flags, now)
        if internal is not None:
            packet.destination = internal
            self.route(packet, self._inside)
            return
        how = self.behaviour.unsolicited
        if how is Unsolicited.DROP or not ours:
            packet.lost("filtered")
        elif how is Unsolicited.OPEN:
            nat.stranger(packet.protocol, destination, packet.source, now)
            self.take(packet, self.wan.addresses)
        else:
            self._reject(packet)

    def _reject(self, packet: Packet) -> None:
        if packet.entry is not None:
            packet.entry.took(packet, self.internet.time(), self.name)
        if not packet.flags & (RST | UNREACHABLE):
            answer = refusal(packet)
            self.internet.record(answer, self.name)
            self.route(answer, self.wan)
