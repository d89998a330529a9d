"""The simulated internet, in virtual time; nodes are tasks of this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from carrick.sim import Host, Internet, Link, Router, run
from carrick.testing import on_machine, open_node
from interop.natlab.node import Description, Node
from interop.natlab.stages import PlayedNode, Scenario
from interop.natlab.topology import Router as RouterPlace
from interop.natlab.topology import Topology

T = TypeVar("T")


class SimulatedStage:
    """See ``Stage``."""

    name = "simulated"

    def __init__(self, internet: Internet, topology: Topology) -> None:
        self.internet = internet
        self.topology = topology
        self.milliseconds = 0
        for place in topology.nodes.values():
            behind = None if place.router is None else internet.nodes[place.router.name]
            assert behind is None or isinstance(behind, Router)
            if isinstance(place, RouterPlace):
                (behind or internet).router(
                    place.name,
                    place.kind.name,
                    address=place.address,
                    lan=f"{place.lan}.0/24",
                    ipv6=place.lan_6 is not None,
                )
            elif behind is None:
                host = internet.host(place.name, address=place.address, ipv6=True)
                for more in place.outside[1:]:
                    host.interface.add_address(more)
            else:
                behind.host(place.name, address=place.address)

    @asynccontextmanager
    async def node(self, place: str, description: Description) -> AsyncIterator[PlayedNode]:
        machine = self.internet.nodes[place]
        async with open_node(machine, description.builder(), listen=()) as opened:
            node = _Task(Node(opened.host), machine)
            with on_machine(machine):
                node.addresses = (await node.do("status"))["addresses"]
            yield node

    @asynccontextmanager
    async def delay(self, milliseconds: int) -> AsyncIterator[None]:
        before = [(each, each.link) for each in self._access()]
        for interface, link in before:
            interface.link = replace(link, latency=milliseconds / 2000)
        now, self.milliseconds = self.milliseconds, milliseconds
        yield
        self.milliseconds = now
        for interface, link in before:
            interface.link = link

    async def forget(self) -> None:
        for router in self._routers():
            router.forget()

    async def set_udp_lifetime(self, router: str, seconds: int) -> None:
        there = self.internet.nodes[router]
        assert isinstance(there, Router)
        times = replace(there.behaviour, udp_timeout=seconds, udp_stream_timeout=seconds)
        there.change_behaviour(times)

    async def leaked(self) -> int:
        return self.internet.unroutable

    def _routers(self) -> Iterator[Router]:
        return (each for each in self.internet.nodes.values() if isinstance(each, Router))

    def _access(self) -> list[Any]:
        every = (each.interface for each in self.internet.nodes.values())
        return [each for each in every if each.network is self.internet.core]


class _Task:
    """A node in this process."""

    def __init__(self, node: Node, machine: Host) -> None:
        self.id = str(node.host.id)
        self.addresses: list[str] = []
        self._node = node
        self._machine = machine

    async def do(self, command: str, **arguments: Any) -> Any:
        with on_machine(self._machine):
            return await self._node.do(command, arguments)


def simulate(
    topology: Topology, scenario: Scenario[T], *, seed: int = 0, record: bool = False
) -> T:
    """As ``play``. *record*: keep a trace of every packet."""

    async def main(internet: Internet) -> T:
        return await scenario(SimulatedStage(internet, topology))

    return run(partial(main), seed=seed, access=Link(), record=record)
