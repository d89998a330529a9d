"""Where scenarios are played: in the simulator, or in the kernel's network namespaces.

A scenario is an async function of a ``Stage``; it opens nodes there and tells them what to do.
``play`` plays it on either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from interop.natlab.node import Description
from interop.natlab.topology import Topology

T = TypeVar("T")

STAGES = ("simulated", "kernel")


class PlayedNode(Protocol):
    """A Carrick node somewhere on the stage.

    Attributes:
        id: its peer id.
        addresses: with its id; as it knew them when it had begun to listen.
    """

    @property
    def id(self) -> str: ...
    @property
    def addresses(self) -> list[str]: ...

    async def do(self, command: str, **arguments: Any) -> Any:
        """Tell it to do something: a method of ``interop.natlab.node.Node``.

        Raises ``NodeError``: it could not.
        """


class Stage(Protocol):
    """A topology that has been built."""

    @property
    def name(self) -> str:
        """Of ``STAGES``."""

    @property
    def topology(self) -> Topology: ...
    @property
    def milliseconds(self) -> int:
        """The present ``delay``."""

    def node(self, place: str, description: Description) -> AbstractAsyncContextManager[PlayedNode]:
        """A node at a host of the topology, for the block."""

    def delay(self, milliseconds: int) -> AbstractAsyncContextManager[None]:
        """For the block: so long takes a packet from anywhere on the internet to anywhere else
        there, half of it on each access link. LANs have no delay."""

    async def forget(self) -> None:
        """Every router as just switched on: without mappings."""

    async def set_udp_lifetime(self, router: str, seconds: int) -> None:
        """How long a UDP mapping of that router lives in silence; those that are there may end."""

    async def leaked(self) -> int:
        """How many packets with private addresses came onto the internet."""


Scenario = Callable[[Stage], Awaitable[T]]


def play(stage: str, topology: Topology, scenario: Scenario[T], *, seed: int = 0) -> T:
    """Build the topology on that stage, play, and remove it.

    Args:
        seed: of the simulator; the kernel has none.
    """
    if stage == "simulated":
        from interop.natlab.stages.simulated import simulate

        return simulate(topology, scenario, seed=seed)
    import trio

    from interop.natlab.stages.kernel import open_kernel_stage

    async def main() -> T:
        async with open_kernel_stage(topology) as there:
            return await scenario(there)

    return trio.run(main)
