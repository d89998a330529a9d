"""The simulated internet."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import trio

from carrick.sim.events import EventQueue
from carrick.sim.host import Host
from carrick.sim.link import Link
from carrick.sim.nat import NatBehaviour
from carrick.sim.network import Network
from carrick.sim.packet import Packet
from carrick.sim.presets import behaviour
from carrick.sim.router import Router
from carrick.sim.stack import WINDOW
from carrick.sim.trace import Entry

if TYPE_CHECKING:
    from carrick.sim.names import NameServer

__all__ = ["Internet"]

# Ranges that programs take for the public internet; nothing leaves the process.
CORE = ["11.0.0.0/8", "2a00:1::/32"]
LAN = "192.168.1.0/24"
ACCESS = Link(latency=0.01)
WIRE = Link()


class Internet:
    """Hosts, LANs and routers around one core, in one process. Opened by `open_internet` or `run`.

    Args:
        seed: decides everything that chance decides.
        access: how hosts and routers are attached to the core, unless they say otherwise.
        record: whether `trace` is kept.
        record_payload: whether the trace keeps payload bytes too, for `write_pcapng`.
        tick: seconds; packets arrive at whole multiples of it, if it is not 0. So a large run has
            fewer points of time to jump to: 1 ms spared a third of the work of 300 echoing hosts.

    Attributes:
        core: the network in the middle.
        nodes: hosts and routers by name.
        trace: what was sent, in order.
        unroutable: how many packets had a destination that nobody has: leaked private addresses.
        rng: everything that chance decides here is decided by this.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        access: Link = ACCESS,
        record: bool = True,
        record_payload: bool = False,
        tick: float = 0.0,
    ) -> None:
        self.tick = tick
        self.seed = seed
        self.rng = Random(seed)
        self.events = EventQueue()
        self.nodes: dict[str, Host] = {}
        self.trace: list[Entry] = []
        self.unroutable = 0
        self.core = Network(self, "internet", CORE, access, ipv6=False)
        self.time = trio.current_time
        self._record = record
        self._record_payload = record_payload
        self._sides: dict[Host, int] = {}
        self._lans = 0
        self._names: NameServer | None = None

    # --- building ---------------------------------------------------------------------------------

    def host(
        self,
        name: str | None = None,
        *,
        network: Network | None = None,
        address: str | None = None,
        address6: str | None = None,
        ipv6: bool | None = None,
        link: Link | None = None,
        window: int = WINDOW,
    ) -> Host:
        """A new host, on the core unless `network` says otherwise.

        Args:
            address: its IPv4 address; by default the next free one.
            address6: its IPv6 address.
            ipv6: give it an IPv6 address; by default if the network has IPv6.
            link: how it is attached.
            window: bytes of receive buffer per TCP connection.

        Raises:
            ValueError: the name or the address is taken.
        """
        host = Host(self, self._name(name, "host"), self._fork(), window=window)
        network = network or self.core
        network.attach(host, address=address, address6=address6, ipv6=ipv6, link=link)
        self.nodes[host.name] = host
        return host

    def router(
        self,
        name: str | None = None,
        nat: str | NatBehaviour = "port-restricted",
        *,
        network: Network | None = None,
        address: str | None = None,
        lan: str | None = None,
        ipv6: bool = False,
        link: Link | None = None,
        lan_link: Link = WIRE,
        window: int = WINDOW,
    ) -> Router:
        """A new router with a LAN of its own, on the core unless `network` says otherwise.

        Args:
            nat: a name of `PRESETS`, or a behaviour.
            address: its external IPv4 address.
            lan: the IPv4 range inside; by default 192.168.1.0/24, or a public one without NAT.
            ipv6: give the LAN public IPv6 addresses, behind a stateful firewall.
            link: how it is attached outside.
            lan_link: how hosts are attached inside.

        Raises:
            ValueError: the name or the address is taken, or no NAT has that name.
        """
        how = behaviour(nat)
        self._lans += 1
        if lan is None:
            translates = how.ports.value != "none"
            lan = LAN if translates else f"11.{128 + self._lans // 256}.{self._lans % 256}.0/24"
        prefixes = [lan, f"2a00:2:{self._lans:x}::/64"] if ipv6 else [lan]
        router = Router(self, self._name(name, "router"), self._fork(), how, window=window)
        inner = Network(self, f"{router.name}-lan", prefixes, lan_link, ipv6=ipv6)
        outer = network or self.core
        wan = outer.attach(router, address=address, ipv6=ipv6 or outer.ipv6, link=link)
        inside = inner.attach(router, link=WIRE)
        router.connect(wan, inner, inside)
        self.nodes[router.name] = router
        return router

    def lan(self, name: str | None = None, prefix: str = LAN, *, link: Link = WIRE) -> Network:
        """A LAN without a router."""
        self._lans += 1
        return Network(self, name or f"lan-{self._lans}", [prefix], link, ipv6=False)

    # --- faults -----------------------------------------------------------------------------------

    def partition(self, *groups: Iterable[Host]) -> None:
        """Cut the groups off from each other; those in no group reach everybody.

        A host behind a router stands for its outermost router's whole LAN, towards the core.
        """
        self._sides = {
            node: number
            for number, group in enumerate(groups)
            for host in group
            for node in (host, _outermost(host))
        }

    def heal(self) -> None:
        """End `partition`."""
        self._sides = {}

    def is_parted(self, one: Host, other: Host, packet: Packet) -> bool:
        if not self._sides:
            return False
        sides = self._sides
        return one in sides and other in sides and sides[one] != sides[other]

    # --- names ------------------------------------------------------------------------------------

    @property
    def dns(self) -> NameServer:
        """The name server that every host asks."""
        if self._names is None:
            from carrick.sim.names import NameServer  # dnspython takes 60 ms to import

            self._names = NameServer(self)
        return self._names

    # --- recording --------------------------------------------------------------------------------

    def record(self, packet: Packet, sender: str) -> None:
        if self._record:
            packet.entry = Entry(packet, self.time(), sender, payload=self._record_payload)
            self.trace.append(packet.entry)

    def write_pcapng(self, path: str | os.PathLike[str], *nodes: str) -> None:
        """Write the trace as a capture file that Wireshark opens, with an interface for each node.

        Args:
            nodes: only what these sent and received; by default everything.

        Raises:
            OSError: the file cannot be written.
        """
        from carrick.sim.capture import pcapng

        Path(path).write_bytes(pcapng(self.trace, nodes or None))

    # --- inside -----------------------------------------------------------------------------------

    def _name(self, name: str | None, kind: str) -> str:
        name = name or f"{kind}-{len(self.nodes) + 1}"
        if name in self.nodes:
            raise ValueError(f"there is a node called {name} already")
        return name

    def _fork(self) -> Random:
        """A random generator for one node, so that nodes do not disturb each other."""
        return Random(self.rng.getrandbits(64))


def _outermost(host: Host) -> Host:
    while host.interfaces:
        interface = host.wan if isinstance(host, Router) else host.interfaces[0]
        gateway = interface.network.gateway
        if gateway is None or gateway.node is host:
            return host
        host = gateway.node
    return host
