"""Who and what there is in the demonstration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from carrick import Connection, HostBuilder
from carrick.addressing import Multiaddr, parse_address, parts, transport_name
from carrick.cli.demo.timeline import Timeline
from carrick.cli.peers import short_protocol
from carrick.errors import DialError
from carrick.sim import Host as Machine
from carrick.sim import Internet, Link, Router
from carrick.testing import PORT, Node, keep_node

__all__ = ["BOTH", "Person", "Stage", "end_of", "pretty", "reasons", "show_address", "show_end"]

TCP = f"/ip4/0.0.0.0/tcp/{PORT}"
QUIC = f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"
BOTH = (QUIC, TCP)
BANDWIDTH = 50e6 / 8  # bytes per second: a common line at home

_NAMES = {
    "quic-v1": "QUIC",
    "tcp": "TCP",
    "ws": "WebSocket",
    "p2p-circuit": "a relay",
    "tls": "TLS",
    "noise": "Noise",
    "yamux": "Yamux",
}


@dataclass(eq=False)
class Person:
    """Somebody at home, behind a router.

    Attributes:
        nat: the name of the router's behaviour.
        seen: transport → observer's name → the address at which it saw this person.
    """

    name: str
    nat: str
    router: Router
    node: Node
    seen: dict[str, dict[str, Multiaddr]] = field(default_factory=dict)

    @property
    def machine(self) -> Machine:
        return self.node.machine

    @property
    def behind_nat(self) -> bool:
        """Whether others see another address than the machine's own."""
        own = self.machine.address
        return any(own not in str(each) for views in self.seen.values() for each in views.values())

    @property
    def outside(self) -> list[Multiaddr]:
        """An address for each transport, as the first observer saw it."""
        return [next(iter(views.values())) for _, views in sorted(self.seen.items())]


class Stage:
    """The internet, everybody on it, and what is known so far.

    Attributes:
        latency: of a short line to the core of the internet, in seconds, one way.
        size: bytes to transfer.
        public: the public nodes by name; `bootstrap` and `relay` among them.
        link: the direct connection from Ana to Ben, once there is one.
        facts: what the scenes found, by name, for the summary and `--json`.
    """

    def __init__(
        self,
        internet: Internet,
        timeline: Timeline,
        nursery: trio.Nursery,
        *,
        latency: float,
        size: int,
    ) -> None:
        self.internet = internet
        self.timeline = timeline
        self.latency = latency
        self.size = size
        self.public: dict[str, Node] = {}
        self.ana: Person
        self.ben: Person
        self.link: Connection | None = None
        self.facts: dict[str, Any] = {}
        self._nursery = nursery

    def line(self, distance: float) -> Link:
        """A line to the core of the internet, `distance` times as long as was asked for."""
        return Link(latency=self.latency * distance, bandwidth=BANDWIDTH)

    @property
    def people(self) -> tuple[Person, Person]:
        return self.ana, self.ben

    @property
    def addresses_of_ben(self) -> list[Multiaddr]:
        """Where Ana may dial him, as far as she knows."""
        return [parse_address(text) for text in self.facts.get("addresses_of_ben", ())]

    @property
    def lanes(self) -> list[str]:
        """The columns of the sequence diagram."""
        middle = [name for name in self.internet.nodes if name in (*self.public, "name-server")]
        return [self.ana.machine.name, *middle, self.ben.machine.name]

    async def open(
        self, machine: Machine, builder: HostBuilder, listen: Iterable[str] = BOTH
    ) -> Node:
        """A node that lives until the end of the demonstration."""
        keep = partial(keep_node, listen=tuple(listen))
        node: Node = await self._nursery.start(keep, machine, builder)
        return node

    def in_words(self, text: str) -> str:
        """With names in the place of our peer ids."""
        for person in self.people:
            text = text.replace(str(person.node.id), person.name)
        for name, node in self.public.items():
            text = text.replace(str(node.id), name)
        return text

    def dropped_by(self, person: Person, since: float) -> int:
        """How many packets the router of `person` did not let in, of those sent since then."""
        outside = {person.router.external_address, person.machine.address}
        return sum(
            entry.time >= since and entry.destination[0] in outside and entry.fate == "filtered"
            for entry in self.internet.trace
        )

    def say(self, person: Person, text: str, **how: Any) -> None:
        self.timeline.say(person.name, text, node=person.machine.name, **how)


def pretty(protocol: str | None) -> str:
    """`QUIC` for `quic-v1`, `TLS` for `/tls/1.0.0`."""
    name = short_protocol(protocol or "?")
    return _NAMES.get(name, name)


def show_address(address: Multiaddr) -> str:
    """`11.0.0.7 port 4001 (TCP)`."""
    return f"{show_end(address)} ({pretty(transport_name(address))})"


def show_end(address: Multiaddr) -> str:
    """`11.0.0.7 port 4001`."""
    host, port = end_of(address)
    return f"{host} port {port}"


def end_of(address: Multiaddr) -> tuple[str, int]:
    """The IP address and the port."""
    named = dict(parts(address))
    host, port = named.get("ip4") or named.get("ip6"), named.get("tcp") or named.get("udp")
    return str(host), int(port or 0)


def reasons(error: DialError) -> list[tuple[Any, str]]:
    """(address, reason) for every address that was tried in vain."""
    causes = sorted(error.causes, key=lambda each: str(each[0]))  # several may fail at one time
    return [(address, getattr(cause, "message", str(cause))) for address, cause in causes]
