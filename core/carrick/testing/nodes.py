"""Carrick nodes on simulated machines."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carrick import Connection, Host, HostBuilder, PeerId, PrivateKey, Stream
from carrick.addressing import Reach, Resolver, SystemDns, reach
from carrick.identity import KeyType
from carrick.sockets import use_sockets

if TYPE_CHECKING:
    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

    from carrick.host.host import Target
    from carrick.sim import Host as Machine

__all__ = ["LISTEN", "PORT", "Node", "keep_node", "on_machine", "open_node", "seeded_key"]

PORT = 4001
LISTEN = (f"/ip4/0.0.0.0/tcp/{PORT}",)

S = TypeVar("S")
Whom: TypeAlias = "Node | Target"


@contextmanager
def on_machine(machine: Machine) -> Iterator[None]:
    """Run the block, and the tasks started in it, on a simulated machine: Carrick's sockets, trio's
    and names are the machine's."""
    with machine.enter(), use_sockets(machine.sockets):
        yield


@dataclass(frozen=True, eq=False)
class Node:
    """A Carrick host that runs on a simulated machine.

    What is called here runs there, wherever the caller is. `host` has the rest; what resolves names
    must be called within `on_machine(node.machine)`.

    Attributes:
        host: the Carrick host.
        machine: the simulated host that it runs on.
    """

    host: Host
    machine: Machine

    def __repr__(self) -> str:
        return f"<Node {self.id.short()} on {self.machine.name}>"

    @property
    def id(self) -> PeerId:
        return self.host.id

    @property
    def addresses(self) -> list[Multiaddr]:
        """Our addresses with our id; without those of the loopback interface."""
        with on_machine(self.machine):
            every = self.host.addresses
        return [address for address in every if reach(address) is not Reach.LOOPBACK]

    @property
    def connections(self) -> tuple[Connection, ...]:
        return self.host.connections

    def service(self, type: type[S]) -> S:
        """The running service of that class; see `carrick.Host.service`."""
        return self.host.service(type)

    async def connect(self, target: Whom, **options: Any) -> Connection:
        """As `carrick.Host.connect`. A node stands for its addresses as its machine has them."""
        with on_machine(self.machine):
            return await self.host.connect(_target(target), **options)

    async def open_stream(
        self, target: Whom | Connection, *protocols: str, **options: Any
    ) -> Stream:
        """As `carrick.Host.open_stream`."""
        with on_machine(self.machine):
            whom = target if isinstance(target, Connection) else _target(target)
            return await self.host.open_stream(whom, *protocols, **options)


@asynccontextmanager
async def open_node(
    machine: Machine,
    builder: HostBuilder | None = None,
    *,
    listen: Sequence[str] = LISTEN,
) -> AsyncIterator[Node]:
    """A Carrick node on `machine`. The block itself does not run there; see `on_machine`.

    What the builder leaves open follows the internet's seed: the key, hence the peer id, and the
    host's randomness. Names are asked of the internet's name server only.

    Args:
        listen: where the node listens, in addition to what the builder says.

    Raises:
        ListenError: a port is taken.
    """
    opening = complete(builder or HostBuilder(), machine.internet.rng).listen(*listen).open()
    async with AsyncExitStack() as exits:
        with on_machine(machine):
            host = await exits.enter_async_context(opening)
        yield Node(host, machine)


def complete(builder: HostBuilder, rng: Random) -> HostBuilder:
    """`builder`, with what would differ from run to run taken from `rng`."""
    key, seed = seeded_key(rng), rng.getrandbits(64)  # always: one builder moves no other node
    if builder._key is None:
        builder = builder.identity(key)
    if builder._seed is None:
        builder = builder.seed(seed)
    if builder._resolver is None:
        builder = builder.resolver(Resolver(SystemDns(hosts=Path(os.devnull))))
    return builder


def seeded_key(rng: Random) -> PrivateKey:
    """An Ed25519 key that follows from `rng`. Never for real use: it can be guessed."""
    secret = rng.randbytes(32)
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    body = secret + public
    message = bytes((0x08, KeyType.ED25519, 0x12, len(body))) + body  # peer-ids, "Keys"
    return PrivateKey.from_protobuf(message)


def _target(whom: Whom) -> Target:
    return whom.addresses if isinstance(whom, Node) else whom


async def keep_node(
    machine: Machine,
    builder: HostBuilder | None = None,
    *,
    listen: Sequence[str] = LISTEN,
    task_status: TaskStatus[Node] = trio.TASK_STATUS_IGNORED,
) -> None:
    """For `nursery.start`, which returns the node. It ends when the machine crashes."""

    async def program() -> None:
        async with open_node(machine, builder, listen=listen) as node:
            task_status.started(node)
            await trio.sleep_forever()

    await machine.run(program)
