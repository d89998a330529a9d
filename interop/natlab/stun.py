"""The STUN server of `carrick.testing` as a service of a public node."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import trio

from carrick import Host
from carrick.sockets import current_sockets
from carrick.testing.stun import serve_stun

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["StunServer"]


class StunServer:
    """On all public IPv4 addresses of the host."""

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        every = (each.ip for each in current_sockets().interface_addresses())
        public = [
            str(ip) for ip in every if isinstance(ip, ipaddress.IPv4Address) and not ip.is_loopback
        ]
        await serve_stun(public, task_status=task_status)
