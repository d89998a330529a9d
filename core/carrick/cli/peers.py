"""Reaching the peer that a command is about, and saying how it was reached."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from carrick import Connection, Host, HostBuilder
from carrick.cli.output import human_time, milliseconds
from carrick.cli.targets import Target

__all__ = ["Reached", "path", "reach", "short_protocol"]

_log = logging.getLogger("carrick.cli")


@dataclass(frozen=True, slots=True)
class Reached:
    """A peer, reached.

    Attributes:
        host: our node.
        connect_time: from the first packet to an authenticated, multiplexed connection, in seconds.
        ready_time: until the peer was identified too.
    """

    host: Host
    connection: Connection
    connect_time: float
    ready_time: float

    def fields(self) -> dict[str, Any]:
        """What the JSON of a connection has."""
        connection = self.connection
        return {
            "id": connection.peer_id,
            "path": path(connection),
            "addr": connection.remote_address,
            "local_addr": connection.local_address,
            "transport": connection.transport,
            "security": connection.security,
            "muxer": connection.muxer,
            "connect_ms": milliseconds(self.connect_time),
            "ready_ms": milliseconds(self.ready_time),
        }

    def __str__(self) -> str:
        connection = self.connection
        return ", ".join(
            (
                f"{path(connection)} {connection.remote_address}",
                short_protocol(connection.security),
                short_protocol(connection.muxer),
                human_time(self.connect_time),
            )
        )


@asynccontextmanager
async def reach(
    builder: HostBuilder, target: Target, timeout: float
) -> AsyncGenerator[Reached, None]:
    """Open a node and connect it to `target`, within `timeout` seconds."""
    async with builder.open() as host:
        started = trio.current_time()
        connection = await host.connect(target, timeout=timeout)
        ready = trio.current_time()
        reached = Reached(host, connection, connection.opened_at - started, ready - started)
        _log.info("connected to %s: %s", connection.peer_id, reached)
        yield reached


def path(connection: Connection) -> str:
    """`direct` or `relayed`."""
    return "relayed" if connection.is_limited else "direct"


def short_protocol(name: str) -> str:
    """`/yamux/1.0.0` is `yamux`."""
    return name.strip("/").partition("/")[0]
