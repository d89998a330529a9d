"""Networks: what hosts and routers are attached to, and the way of a packet from one to another."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from math import ceil, inf
from typing import TYPE_CHECKING, Any, TypeAlias

from carrick.sim.link import Lane, Link
from carrick.sim.packet import Packet, canonical, is_multicast

if TYPE_CHECKING:
    from carrick.sim.host import Host
    from carrick.sim.internet import Internet
    from carrick.sim.nat import NatBehaviour
    from carrick.sim.router import Router

__all__ = ["Interface", "Network"]

IPNetwork: TypeAlias = IPv4Network | IPv6Network


class Interface:
    """Where a host or router is attached to a network.

    Attributes:
        addresses: the IP addresses there.
        up: False while nothing passes.
    """

    __slots__ = ("_link", "addresses", "network", "node", "receiving", "sending", "up")

    def __init__(self, node: Host, network: Network, link: Link) -> None:
        self.node = node
        self.network = network
        self.addresses: list[str] = []
        self.up = True
        self.link = link

    @property
    def link(self) -> Link:
        """The way to the network; may be exchanged at any time."""
        return self._link

    @link.setter
    def link(self, link: Link) -> None:
        self._link = link
        self.sending = Lane(link)
        self.receiving = Lane(link)

    def add_address(self, address: str) -> None:
        """Have `address` too.

        Raises:
            ValueError: another interface of the network has it.
        """
        address = canonical(address)
        self.network.register(address, self)
        self.addresses.append(address)
        self.node.addresses_changed()

    def remove_address(self, address: str) -> None:
        address = canonical(address)
        self.addresses.remove(address)
        self.network.unregister(address)
        self.node.addresses_changed()


class Network:
    """A LAN, or the core of the internet.

    Attributes:
        prefixes: its address ranges.
        gateway: the router's interface, for what is elsewhere; None if there is no elsewhere.
        link: how hosts are attached, unless they say otherwise.
    """

    def __init__(
        self, internet: Internet, name: str, prefixes: list[str], link: Link, *, ipv6: bool
    ) -> None:
        self.name = name
        self.prefixes: list[IPNetwork] = [ip_network(prefix) for prefix in prefixes]
        self.gateway: Interface | None = None
        self.link = link
        self.ipv6 = ipv6
        self._internet = internet
        self._members: dict[str, Interface] = {}
        self._interfaces: dict[Interface, None] = {}
        self._next = {4: 0, 6: 0}

    def host(self, name: str | None = None, **options: Any) -> Host:
        """Attach a new host; see `Internet.host`."""
        return self._internet.host(name, network=self, **options)

    def router(
        self, name: str | None = None, nat: str | NatBehaviour = "port-restricted", **options: Any
    ) -> Router:
        """Attach a new router; see `Internet.router`."""
        return self._internet.router(name, nat, network=self, **options)

    def attach(
        self,
        node: Host,
        *,
        address: str | None = None,
        address6: str | None = None,
        ipv6: bool | None = None,
        link: Link | None = None,
    ) -> Interface:
        """Give `node` an interface here, with an IPv4 address and, if asked for, an IPv6 one."""
        interface = Interface(node, self, link or self.link)
        self._interfaces[interface] = None
        node.add_interface(interface)
        interface.add_address(address or self.free_address(4))
        if address6 or (self.ipv6 if ipv6 is None else ipv6):
            interface.add_address(address6 or self.free_address(6))
        return interface

    def detach(self, interface: Interface) -> None:
        """Take `interface` away with its addresses."""
        for address in list(interface.addresses):
            interface.remove_address(address)
        del self._interfaces[interface]
        interface.node.remove_interface(interface)

    def free_address(self, version: int) -> str:
        """The next address of this IP version that nobody has had."""
        prefix = next((prefix for prefix in self.prefixes if prefix.version == version), None)
        if prefix is None:
            raise ValueError(f"{self.name} has no IPv{version}")
        while True:
            self._next[version] += 1
            number = self._next[version]
            if number >= prefix.num_addresses - 1:
                raise ValueError(f"{prefix} has no free address left")
            address = prefix[number]
            if version == 4 and int(address) & 0xFF in (0, 255):
                continue  # they look like networks and broadcasts to many programs
            text = str(address)
            if text not in self._members:
                return text

    def register(self, address: str, interface: Interface) -> None:
        if address in self._members:
            raise ValueError(f"{address} is taken on {self.name}")
        self._members[address] = interface
        upstream = self._upstream_of(address)
        if upstream is not None:
            upstream.network.register(address, upstream)

    def unregister(self, address: str) -> None:
        del self._members[address]
        upstream = self._upstream_of(address)
        if upstream is not None:
            upstream.network.unregister(address)

    def contains(self, ip: str) -> bool:
        """Whether an address belongs here, whether or not anybody has it."""
        return any(_within(ip, prefix) for prefix in self.prefixes)

    def carry(self, packet: Packet, sender: Interface) -> None:
        """Bring `packet` from `sender` to whoever has its destination, or to the gateway."""
        if not sender.up:
            packet.lost("interface down")
            return
        destination = packet.destination[0]
        receiver = self._members.get(destination)
        if receiver is None:
            if is_multicast(destination):
                self._flood(packet, sender)
                return
            receiver = self.gateway
            if receiver is None or receiver is sender:
                self._internet.unroutable += 1
                packet.lost("no route")
                return
        self._hand_over(packet, sender, receiver)

    def _hand_over(self, packet: Packet, sender: Interface, receiver: Interface) -> None:
        internet = self._internet
        if internet.is_parted(sender.node, receiver.node, packet):
            packet.lost("partition")
            return
        first, second = sender.sending, receiver.receiving
        if packet.segment and (
            first.link.treats_datagrams_singly or second.link.treats_datagrams_singly
        ):
            for start in range(0, len(packet.payload), packet.segment):
                single = packet.copy()
                single.segment = 0
                single.payload = packet.payload[start : start + packet.segment]
                single.entry = packet.entry
                self._hand_over(single, sender, receiver)
            return
        now = internet.time()
        time = first.pass_time(packet, now, internet.rng)
        if time < 0:
            packet.lost("lost on a link")
        elif second.link.bandwidth == inf:
            self._enter(packet, first, receiver, now, time)
        else:  # the queue there is in the order of arrival, not of sending
            internet.events.call_at(now + time, self._enter, packet, first, receiver, now, time)

    def _enter(
        self, packet: Packet, first: Lane, receiver: Interface, sent: float, time: float
    ) -> None:
        """`packet` was sent at `sent`; `time` seconds later it is through `first`."""
        internet, second = self._internet, receiver.receiving
        rng = internet.rng
        rest = second.pass_time(packet, sent + time, rng)
        if rest < 0:
            packet.lost("lost on a link")
            return
        time += rest
        when = sent + time
        if internet.tick:
            when = ceil(when / internet.tick) * internet.tick
        chance = first.link.duplicate + second.link.duplicate
        if chance and rng.random() < chance:
            copy = packet.copy()
            internet.events.call_at(when + rng.random() * 0.001, self._arrive, copy, receiver)
        if time == 0:
            internet.events.soon(self._arrive, packet, receiver)
        else:
            internet.events.call_at(when, self._arrive, packet, receiver)

    def _arrive(self, packet: Packet, receiver: Interface) -> None:
        if receiver.up:
            receiver.node.arrive(packet, receiver)
        else:
            packet.lost("interface down")

    def _flood(self, packet: Packet, sender: Interface) -> None:
        """Multicast reaches everybody on a LAN, and nobody through the core."""
        if self._internet.core is self:
            packet.lost("multicast leaves no LAN")
            return
        for receiver in self._interfaces:
            if receiver is not sender:
                copy = packet.copy()
                copy.entry = packet.entry
                self._hand_over(copy, sender, receiver)

    def _upstream_of(self, address: str) -> Interface | None:
        """The router's outer interface, which answers for public addresses of this LAN."""
        gateway = self.gateway
        if gateway is None or address in gateway.addresses:
            return None
        upstream = gateway.node.uplink_for(address)
        return upstream


@lru_cache(4096)
def _within(ip: str, prefix: IPNetwork) -> bool:
    address = ip_address(ip)
    return address.version == prefix.version and address in prefix
