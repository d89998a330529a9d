"""Who and what there is in the demonstration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from carrick import Connection, HostBuilder
from carrick.addressing import Multiaddr, parse_address
from carrick.cli.demo.timeline import Timeline
from carrick.cli.demo.web import serve_pages
from carrick.host import NatChanged, ReachabilityChanged
from carrick.network.events import Event, Subscription
from carrick.protocols.dcutr import Dcutr, Upgrade
from carrick.protocols.nat import NatDetector, NatOptions
from carrick.protocols.perf import Perf
from carrick.protocols.portmap import PortMapped
from carrick.protocols.relay import ReservationGained
from carrick.sim import Host as Machine
from carrick.sim import Internet, Link, Router
from carrick.testing import PORT, Node, keep_node

if TYPE_CHECKING:
    from carrick.cli.demo.meet import Meeting

__all__ = ["BOTH", "Person", "Stage"]

BOTH = (f"/ip4/0.0.0.0/udp/{PORT}/quic-v1", f"/ip4/0.0.0.0/tcp/{PORT}")
BANDWIDTH = 50e6 / 8  # bytes per second: a common line at home
PATIENCE = 90.0  # virtual s; AutoRelay waits a minute for AutoNAT's verdict

_EVENTS: tuple[type[Event], ...] = (
    NatChanged,
    PortMapped,
    ReachabilityChanged,
    ReservationGained,
)


@dataclass(eq=False)
class Person:
    """Somebody who runs a node.

    Attributes:
        router: that they are behind; None: nothing is between them and the internet.
        events: what their node finds out about its place in the network.
    """

    name: str
    node: Node
    router: Router | None
    events: Subscription[Event]

    @property
    def machine(self) -> Machine:
        return self.node.machine

    @property
    def outside(self) -> str:
        """The IP address that others see."""
        return self.machine.address if self.router is None else self.router.external_address

    def upgrade(self, other: Person) -> Upgrade | None:
        """What DCUtR did about the relayed connection with `other`, while that is open."""
        every = self.node.service(Dcutr).upgrades
        return next((each for each in every if each.peer == other.node.id), None)

    def connection(self, other: Person) -> Connection | None:
        """The best one with `other`."""
        return self.node.host.swarm.connection(other.node.id)

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for events until it is true; False if it does not become so."""
        with trio.move_on_after(PATIENCE):
            while not condition():
                await anext(self.events)
        return condition()


class Stage:
    """The internet, everybody on it, and what is known so far.

    Attributes:
        latency: of a short line to the core of the internet, in seconds, one way.
        size: bytes to transfer.
        public: the public nodes by name; `bootstrap` and `relay` among them.
        stun: where STUN is served.
        people: by name; Ana and Ben first.
        meeting: how Ana reached Ben; None: not, or not yet.
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
        self.stun = ""
        self.people: dict[str, Person] = {}
        self.meeting: Meeting | None = None
        self.facts: dict[str, Any] = {}
        self.nursery = nursery

    @property
    def ana(self) -> Person:
        return self.people["Ana"]

    @property
    def ben(self) -> Person:
        return self.people["Ben"]

    @property
    def addresses_of_ben(self) -> list[Multiaddr]:
        """Where Ana may dial him, as far as she knows."""
        return [parse_address(text) for text in self.facts.get("addresses_of_ben", ())]

    def line(self, distance: float) -> Link:
        """A line to the core of the internet, `distance` times as long as was asked for."""
        return Link(latency=self.latency * distance, bandwidth=BANDWIDTH)

    async def open(
        self, machine: Machine, builder: HostBuilder, listen: Iterable[str] = BOTH
    ) -> Node:
        """A node that lives until the end of the demonstration."""
        keep = partial(keep_node, listen=tuple(listen))
        node: Node = await self.nursery.start(keep, machine, builder)
        return node

    def router_of(self, name: str, nat: str, distance: float = 1.0) -> Router:
        """A router of this kind at somebody's home."""
        return self.internet.router(f"{name}'s router", nat, link=self.line(distance))

    async def enter(
        self,
        name: str,
        nat: str | Router | None,
        *,
        distance: float = 1.0,
        builder: HostBuilder | None = None,
    ) -> Person:
        """Somebody comes on, behind a router or a new one of this kind; None: with a public
        address."""
        router = None
        if nat is None:
            machine = self.internet.host(name, link=self.line(distance))
        else:
            router = nat if isinstance(nat, Router) else self.router_of(name, nat, distance)
            machine = router.host(name)
        detector = partial(NatDetector, NatOptions(stun=(self.stun,)))
        builder = serve_pages(builder or HostBuilder()).services(detector, Perf)
        node = await self.open(machine, builder)
        events = node.host.events.subscribe(*_EVENTS)
        person = self.people[name] = Person(name, node, router, events)
        return person

    def in_words(self, text: str) -> str:
        """With names in the place of our peer ids."""
        nodes = {name: person.node for name, person in self.people.items()} | self.public
        for name, node in nodes.items():
            text = text.replace(str(node.id), name)
        return text

    def focus(self, *lanes: str, start: float | None = None, end: float | None = None) -> None:
        """What the diagram of this scene shows: these machines from left to right, and this time
        instead of that of the scene."""
        self.timeline.focus(lanes, start, end)

    def say(self, person: Person, text: str, **how: Any) -> None:
        self.timeline.say(person.name, text, node=person.machine.name, **how)
