"""Two swarms on simulated hosts behind NATs, that punch."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import DialError
from carrick.identity import PrivateKey
from carrick.interfaces import Endpoint, Role, Transport
from carrick.network import Connection, Swarm
from carrick.sim import Host, Internet
from carrick.transports.bytestream import Upgrader
from carrick.transports.quic import EndpointPool, QuicTransport
from carrick.transports.security.noise import Noise
from carrick.transports.tcp import TcpTransport
from tests.support.swarms import echo
from tests.support.transports import MUXERS

PUBLIC = "public"
KINDS = [
    PUBLIC,
    "fc",
    "ar",
    "pr",
    "prhash",
    "pr-input-rst",
    "pr-input-reject",
    "symaddr",
    "sym",
    "pr/pr",
    "sym/pr",
    "pr-udp-blocked",
]
STRICT = {"pr", "prhash", "pr-input-rst", "pr-input-reject", "pr/pr", "pr-udp-blocked"}
CHANGING = {"symaddr", "sym", "sym/pr"}  # another port for each peer
PORT = 4001
ECHO = "/echo/1"
ROLES = [(Role.CLIENT, Role.SERVER), (Role.SERVER, Role.CLIENT)]
both_roles = pytest.mark.parametrize("roles", ROLES, ids=["client first", "server first"])
LISTEN = {"tcp": "/ip4/0.0.0.0/tcp/{}", "udp": "/ip4/0.0.0.0/udp/{}/quic-v1"}


def can_punch(one: str, other: str, protocol: str) -> bool:
    """A mapping that the peer cannot know does not pass a filter that asks for its port."""
    if protocol == "udp" and "pr-udp-blocked" in (one, other):
        return False
    kinds = {one, other}
    return not (kinds & CHANGING and kinds <= CHANGING | STRICT)


def place(internet: Internet, kind: str) -> Host:
    if kind == PUBLIC:
        return internet.host()
    inside: Host | None = None
    outer, _, inner = kind.partition("/")
    router = internet.router(nat=outer, lan="100.64.1.0/24" if inner else None)
    if inner:
        router = router.router(nat=inner)
    inside = router.host()
    return inside


async def observed(server: Host, host: Host, protocol: str, port: int) -> tuple[str, int]:
    """How `server` sees what `host` sends from PORT."""
    if protocol == "tcp":
        listener = await server.sockets.listen_tcp(("0.0.0.0", port))
        dialed = await host.sockets.connect_tcp((server.address, port), local=("0.0.0.0", PORT))
        accepted = await listener.accept()
        dialed.close()
        return accepted.remote
    there = await server.sockets.open_udp(("0.0.0.0", port))
    here = await host.sockets.open_udp(("0.0.0.0", PORT), share_port=True)
    here.send(b"?", 1, (server.address, port))
    here.close()
    with trio.move_on_after(1):
        await there.wait_readable()
        received = there.recv_into(memoryview(bytearray(9)))
        assert received is not None
        return received[2]
    return "11.254.0.1", 1  # nobody


def address(protocol: str, endpoint: Endpoint) -> str:
    return LISTEN[protocol].replace("0.0.0.0", endpoint[0]).format(endpoint[1])


def transport_of(protocol: str, host: Host, key: PrivateKey, seed: int) -> Transport:
    rng = random.Random(seed)
    if protocol == "tcp":
        upgrader = Upgrader([Noise(key)], {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]})
        return TcpTransport(upgrader, sockets=host.sockets, rng=rng)
    return QuicTransport(key, pool=EndpointPool(sockets=host.sockets), rng=rng)


@dataclass
class Peer:
    """A swarm on a host, that listens on PORT."""

    host: Host
    swarm: Swarm
    protocol: str
    seen: Endpoint = ("", 0)
    """Where the others saw it."""

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, host: Host, protocol: str, *, seed: int = 0, port: int = PORT
    ) -> Peer:
        key = PrivateKey.generate()
        swarm = Swarm(key.peer_id, [transport_of(protocol, host, key, seed)])
        swarm.handle(ECHO, echo)
        await nursery.start(swarm.run)
        await swarm.listen(parse_address(LISTEN[protocol].format(port)))
        return cls(host, swarm, protocol)

    async def punch(
        self, other: Peer, role: Role, *, budget: float = 5.0, at: tuple[Endpoint, ...] = ()
    ) -> Connection | None:
        """None if nobody was met."""
        addresses = [parse_address(address(self.protocol, end)) for end in at or (other.seen,)]
        try:
            with trio.move_on_after(budget):
                return await self.swarm.punch(other.swarm.peer_id, addresses, role=role)
        except DialError:
            return None
        return None


async def both(
    one: Peer, other: Peer, roles: tuple[Role, Role], *, offset: float = 0.0, budget: float = 5.0
) -> tuple[Connection | None, Connection | None]:
    """Both punch; `one` starts `offset` seconds earlier, or later if that is negative."""
    found: dict[int, Connection | None] = {}

    async def punch(index: int, peer: Peer, target: Peer, role: Role, wait: float) -> None:
        await trio.sleep(wait)
        found[index] = await peer.punch(target, role, budget=budget)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(punch, 0, one, other, roles[0], max(0.0, -offset))
        nursery.start_soon(punch, 1, other, one, roles[1], max(0.0, offset))
    return found[0], found[1]


@asynccontextmanager
async def two_peers(
    internet: Internet, one: str | Host, other: str | Host, protocol: str
) -> AsyncIterator[tuple[Peer, Peer]]:
    """Peers behind two kinds of NAT, whom a public host has seen."""
    server = internet.host()
    places = [place(internet, each) if isinstance(each, str) else each for each in (one, other)]
    async with trio.open_nursery() as nursery:
        left = await Peer.start(nursery, places[0], protocol, seed=1)
        right = await Peer.start(nursery, places[1], protocol, seed=2)
        right.seen = await observed(server, right.host, protocol, 1)
        left.seen = await observed(server, left.host, protocol, 2)
        yield left, right
        nursery.cancel_scope.cancel()


async def meet(
    internet: Internet,
    one: str,
    other: str,
    *,
    protocol: str,
    roles: tuple[Role, Role] = ROLES[0],
    offset: float = 0.0,
) -> bool:
    """Whether peers behind two kinds of NAT meet: both, or neither."""
    async with two_peers(internet, one, other, protocol) as (left, right):
        here, there = await both(left, right, roles, offset=offset)
        assert (here is None) == (there is None), (here, there)
        if here is None or there is None:
            return False
        assert here.peer_id == right.swarm.peer_id and there.peer_id == left.swarm.peer_id
        await exchange(left, right)
        await exchange(right, left)
    return True


async def exchange(one: Peer, other: Peer) -> None:
    """Say something over the best connection that `one` has with `other`."""
    connection = one.swarm.connection(other.swarm.peer_id)
    assert connection is not None and not connection.is_relayed
    with trio.fail_after(5):
        async with await connection.open_stream(ECHO) as stream:
            await stream.send_all(b"hello")
            assert await stream.read_exactly(5) == b"hello"
