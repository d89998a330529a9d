"""Services, and the hooks by which they plug into a host that knows no protocol by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import trio

if TYPE_CHECKING:
    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

    from carrick.host.host import Host, Target

__all__ = ["OwnAddressSource", "PeerSource", "PunchAddressSource", "Service"]

OwnAddressSource: TypeAlias = "Callable[[], Iterable[Multiaddr]]"
"""Addresses of ours that are not listen addresses: observed, mapped, relayed."""

PunchAddressSource: TypeAlias = "Callable[[], Awaitable[Iterable[Multiaddr]]]"
"""Where the packets of a hole punch will come from, foretold at the last moment."""


PeerSource: TypeAlias = "Callable[[int], Awaitable[Iterable[Target]]]"
"""Finds peers of whatever network we are in, about so many, others each time; ids, or addresses
with ids."""


class Service(Protocol):
    """A protocol, wired into a host; the builder is given it and the host runs it.

    `host.service(Type)` returns it, so its typed API is its own methods.
    """

    async def run(
        self, host: Host, *, task_status: TaskStatus[Any] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Live inside the host's nursery.

        Register handlers and hooks, call `task_status.started()`, then work or return. Everything
        registered stays until the host closes. The host listens only when all services have
        started.
        """
