"""What a laboratory consists of: which hosts and routers, behind what, with which addresses.

    topology = Topology()
    topology.public("s", addresses=2)
    home = topology.router("ra", "pr")
    topology.host("a", home)

The internet is one namespace, ``inet``, that routes between all public hosts and routers. Addresses
are of ranges that count as public everywhere (documentation ranges do not); nothing leaves the
laboratory.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from interop.natlab.kinds import KINDS, NatKind

INTERNET = "inet"
GATEWAY, GATEWAY_6 = "11.0.113.1", "2a00:11::1"  # the internet's side of every link
_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")  # "i-" + name is an interface: 15 characters


@dataclass
class Node:
    """A host or router; *outside* are the IPv4 addresses of its ``eth0`` or ``wan0``."""

    name: str
    router: Router | None  # None: on the internet itself
    outside: tuple[str, ...]
    outside_6: str | None

    @property
    def address(self) -> str:
        return self.outside[0]

    @property
    def interface(self) -> str:
        return "wan0" if isinstance(self, Router) else "eth0"

    @property
    def link(self) -> str:
        """The other end of its link, in ``inet`` or the router."""
        return f"i-{self.name}"


@dataclass
class Router(Node):
    """A NAT or firewall with a LAN: the first three bytes of a /24, and a /64."""

    kind: NatKind
    lan: str
    lan_6: str | None
    members: list[Node] = field(default_factory=list)

    @property
    def gateway(self) -> str:
        return f"{self.lan}.1"


class Topology:
    """A description; ``interop.natlab.lab.open_lab`` builds it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._numbers = itertools.count(2)
        self._routers = itertools.count(1)

    def public(self, name: str, *, addresses: int = 1) -> Node:
        """A host on the internet, with one or more IPv4 addresses and one of IPv6."""
        numbers = [next(self._numbers) for _ in range(addresses)]
        outside = tuple(f"11.0.113.{number}" for number in numbers)
        return self._add(Node(name, None, outside, f"2a00:11::{numbers[0]:x}"))

    def router(
        self,
        name: str,
        kind: str,
        *,
        behind: Router | None = None,
        lan: str | None = None,
        ipv6: bool = True,
    ) -> Router:
        """A router of one of ``KINDS`` on the internet, or behind another (double NAT, CGNAT).

        *lan*, such as ``"192.168.1"``, is unlike every other router's unless given. One that is
        behind another has no IPv6.
        """
        number = next(self._routers)
        chosen = KINDS[kind]
        if lan is None:
            lan = f"192.168.{number}" if chosen.translates else f"11.1.{number}"
        if behind is None:
            n = next(self._numbers)
            outside, outside_6 = f"11.0.113.{n}", f"2a00:11::{n:x}" if ipv6 else None
        else:
            outside, outside_6 = f"{behind.lan}.{len(behind.members) + 2}", None
        lan_6 = f"2a00:11:0:{number:x}" if outside_6 else None
        router = Router(name, behind, (outside,), outside_6, chosen, lan, lan_6)
        self._add(router)
        return router

    def cgnat(self, name: str, kind: str) -> Router:
        """A provider's NAT: homes are put behind it, in shared address space (RFC 6598)."""
        return self.router(name, kind, lan=f"100.64.{len(self.nodes)}", ipv6=False)

    def host(self, name: str, router: Router) -> Node:
        number = len(router.members) + 2
        outside_6 = f"{router.lan_6}::{number:x}" if router.lan_6 else None
        return self._add(Node(name, router, (f"{router.lan}.{number}",), outside_6))

    def place(self, name: str, kind: str) -> Node:
        """A host behind a router of its own: ``kind`` is one of ``KINDS``, "isp/home" for a home
        router behind a provider's, or "open" for a host on the internet itself."""
        if kind == "open":
            return self.public(name)
        router: Router | None = None
        *carrier, home = kind.split("/")
        for outer in carrier:
            router = self.cgnat(f"{name}-isp", outer)
        return self.host(name, self.router(f"{name}-r", home, behind=router))

    @property
    def routers(self) -> Iterator[Router]:
        return (node for node in self.nodes.values() if isinstance(node, Router))

    def _add(self, node: Node) -> Node:
        if not _NAME.fullmatch(node.name) or node.name in (INTERNET, *self.nodes):
            raise ValueError(f"not a free name: {node.name!r}")
        self.nodes[node.name] = node
        if node.router is not None:
            node.router.members.append(node)
        return node


# What ``ip -batch`` reads. Links come first, made in the namespace of their inner end.


def links(topology: Topology, namespace: str) -> Iterator[str]:
    """Namespace *namespace*'s ends of the links below it, and its bridge."""
    yield "link set lo up"
    router = topology.nodes.get(namespace)
    if isinstance(router, Router):
        yield "link add br0 type bridge forward_delay 0 mcast_snooping 0"
    for node in topology.nodes.values():
        if node.router is router:
            yield f"link add {node.link} type veth peer name {node.interface} netns {node.name}"


def addresses(topology: Topology, namespace: str) -> Iterator[str]:
    """Addresses and routes of one namespace, when all links are there."""
    node = topology.nodes.get(namespace)
    if node is None:
        yield from _internet(topology)
        return
    device = node.interface
    if node.router is None:
        for ip in node.outside:
            yield f"addr add {ip}/32 dev {device}"
        yield f"link set {device} up"
        yield f"route add {GATEWAY}/32 dev {device}"
        yield f"route add default via {GATEWAY}"
        if node.outside_6:
            yield f"addr add {node.outside_6}/128 dev {device} nodad"
            yield f"route add {GATEWAY_6}/128 dev {device}"
            yield f"route add ::/0 via {GATEWAY_6}"
    else:
        yield f"addr add {node.address}/24 dev {device}"
        yield f"link set {device} up"
        yield f"route add default via {node.router.gateway}"
        if node.outside_6:
            yield f"addr add {node.outside_6}/64 dev {device} nodad"
            yield f"route add ::/0 via {node.router.lan_6}::1"
    if isinstance(node, Router):
        yield f"addr add {node.gateway}/24 dev br0"
        if node.lan_6:
            yield f"addr add {node.lan_6}::1/64 dev br0 nodad"
        for member in node.members:
            yield f"link set {member.link} master br0 up"
        yield "link set br0 up"


def _internet(topology: Topology) -> Iterator[str]:
    for node in topology.nodes.values():
        if node.router is not None:
            continue
        yield f"addr add {GATEWAY}/32 dev {node.link}"
        yield f"addr add {GATEWAY_6}/128 dev {node.link} nodad"
        yield f"link set {node.link} up"
        for ip in node.outside:
            yield f"route add {ip}/32 dev {node.link}"
        if node.outside_6:
            yield f"route add {node.outside_6}/128 dev {node.link}"
        if isinstance(node, Router):
            if not node.kind.translates:
                yield f"route add {node.lan}.0/24 via {node.address} dev {node.link}"
            if node.lan_6:
                yield f"route add {node.lan_6}::/64 via {node.outside_6} dev {node.link}"
