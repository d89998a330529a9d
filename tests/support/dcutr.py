"""Two peers and a relay on the simulated internet, for tests of DCUtR."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import trio

from carrick import Connection, HostBuilder
from carrick.addressing import Multiaddr, parse_address, split_peer
from carrick.host import Nat, NatBehaviour
from carrick.host.nat import Dependence
from carrick.protocols.dcutr import Dcutr, DcutrOptions, Upgrade
from carrick.protocols.relay import RelayClient, RelayService
from carrick.sim import Host, Internet, Link, Router
from carrick.sim import NatBehaviour as Behaviour
from carrick.testing import Node, open_node
from carrick.testing.nodes import on_machine

LISTEN = {"tcp": "/ip4/0.0.0.0/tcp/4001", "quic": "/ip4/0.0.0.0/udp/4001/quic-v1"}

EI, AD, APD = Dependence.NOTHING, Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT
OPEN = NatBehaviour(EI, EI, translates=False)
CONE = NatBehaviour(EI, APD, translates=True)
RESTRICTED = NatBehaviour(EI, AD, translates=True)
SYMMETRIC = NatBehaviour(APD, APD, translates=True)
NATS = {
    None: OPEN,
    "full-cone": NatBehaviour(EI, EI, translates=True),
    "address-restricted": RESTRICTED,
    "port-restricted": CONE,
    "symmetric": SYMMETRIC,
}


@dataclass
class Scene:
    """A (dials over the relay) and B (has a slot there)."""

    internet: Internet
    relay: Node
    a: Node
    b: Node
    transports: tuple[str, ...]

    @property
    def circuit_address(self) -> Multiaddr:
        """B over the relay."""
        place = LISTEN[self.transports[0]].replace("0.0.0.0", str(self.relay.machine.address))
        return parse_address(f"{place}/p2p/{self.relay.id}/p2p-circuit/p2p/{self.b.id}")

    async def dial_over_relay(self) -> Connection:
        with on_machine(self.a.machine):
            return await self.a.host.swarm.connect(self.b.id, [split_peer(self.circuit_address)[0]])

    async def upgrade(self) -> tuple[Upgrade, Upgrade]:
        """Connect over the relay; the records of both sides once they are over: A's, B's."""
        relayed = await self.dial_over_relay()
        of_a = self.a.service(Dcutr).upgrade(relayed)
        (there,) = [each for each in self.b.connections if each.peer_id == self.a.id][:1]
        of_b = self.b.service(Dcutr).upgrade(there)
        await of_a.done.wait()
        await of_b.done.wait()
        return of_a, of_b


def address(text: str) -> Multiaddr:
    return split_peer(parse_address(text))[0]


def place(
    internet: Internet, nat: str | Behaviour | None, name: str, link: Link | None = None
) -> Host:
    """A machine behind a NAT, or on the internet."""
    options = {} if link is None else {"link": link}
    if nat is None:
        return internet.host(name, **options)
    return internet.router(f"{name}-router", nat, **options).host(name)


@asynccontextmanager
async def scene(
    internet: Internet,
    a: str | Behaviour | Router | None,
    b: str | Behaviour | Router | None,
    *transports: str,
    classified: bool = True,
    link: Link | None = None,
    relay_at: str | None = None,
    options: DcutrOptions | None = None,
    builder: Callable[[HostBuilder], HostBuilder] = lambda each: each,
) -> AsyncIterator[Scene]:
    """
    Args:
        a, b: the NAT, None for none, or a router to be behind.
        relay_at: the relay's IP address.
        classified: the two know their own NAT.
    """
    transports = transports or ("quic",)
    listen = tuple(LISTEN[each] for each in transports)
    base = HostBuilder().transports(*transports).security("noise")
    node = builder(base.services(RelayClient, partial(Dcutr, options)))
    async with AsyncExitStack() as exits:

        async def opened(machine: Host, what: HostBuilder) -> Node:
            return await exits.enter_async_context(open_node(machine, what, listen=listen))

        def machine(where: str | Behaviour | Router | None, name: str) -> Host:
            if isinstance(where, Router):
                return where.host(name)
            return place(internet, where, name, link)

        linked = {} if link is None else {"link": link}
        where = internet.host("relay", address=relay_at, **linked)
        relay = await opened(where, base.services(RelayService))
        nodes = {}
        for name, where in (("a", a), ("b", b)):
            each = nodes[name] = await opened(machine(where, name), node)
            if classified and (where is None or isinstance(where, str)):
                each.host.note_nat(Nat(udp=NATS[where], tcp=NATS[where]))
            for transport in transports:
                at = LISTEN[transport].replace("0.0.0.0", str(relay.machine.address))
                await each.host.swarm.dialer.dial_address(relay.id, address(at))
        with on_machine(nodes["b"].machine):
            await nodes["b"].service(RelayClient).reserve(relay.addresses)
        await trio.sleep(2)  # identify has told both where they are seen
        yield Scene(internet, relay, nodes["a"], nodes["b"], transports)
