"""Reaching the peer that a command is about, and saying how it was reached."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import trio

from carrick import Connection, Host, HostBuilder
from carrick.cli.output import human_time, milliseconds
from carrick.cli.targets import Target
from carrick.host import STRATEGIES, ConnectTrace, Result

if TYPE_CHECKING:
    from carrick.cli.dialling import Dialling

__all__ = ["Reached", "path", "reach", "short_protocol"]

_log = logging.getLogger("carrick.cli")


@dataclass(frozen=True, slots=True)
class Reached:
    """A peer, reached.

    Attributes:
        host: our node.
        trace: what was tried.
        started: when that began, in seconds of `trio.current_time()`.
        ready_time: until the peer was identified, in seconds.
    """

    host: Host
    connection: Connection
    trace: ConnectTrace
    started: float
    ready_time: float

    @property
    def connect_time(self) -> float:
        """From the first packet to an authenticated, multiplexed connection, in seconds."""
        return self.connection.opened_at - self.started

    @property
    def strategy(self) -> str:
        """By which the connection came about."""
        if self.connection.is_relayed:
            return "relay"
        succeeded = [step.strategy for step in self.trace.steps if step.result is Result.OK]
        return next((name for name in reversed(succeeded) if name != "relay"), "reverse")

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The punches."""
        return [
            attempt.to_json(self.trace.started)
            for step in self.trace.steps
            if step.strategy == "punch"
            for attempt in step.attempts
        ]

    async def upgraded(self, patience: float) -> Reached:
        """This, or the direct connection in its place if there is one within `patience` seconds."""
        if self.connection.is_relayed:
            with trio.move_on_after(patience):
                await self.trace.settled()
        best = self.host.swarm.connection(self.connection.peer_id)
        if best is None or best is self.connection or best.is_relayed:
            return self
        await best.announced.wait()
        return replace(self, connection=best, ready_time=trio.current_time() - self.started)

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
        way = f"{path(connection)} {connection.remote_address}"
        if self.strategy in ("reverse", "punch"):
            way += f" via {self.strategy}"
        text = ", ".join(
            (
                way,
                short_protocol(connection.security),
                short_protocol(connection.muxer),
                human_time(self.connect_time),
            )
        )
        if self.strategy == "punch" and (attempts := len(self.attempts)):
            text += f" (attempt {attempts})"
        return text


@asynccontextmanager
async def reach(
    builder: HostBuilder,
    target: Target,
    timeout: float,
    *,
    dialling: Dialling | None = None,
    trace: ConnectTrace | None = None,
) -> AsyncGenerator[Reached, None]:
    """Open a node and connect it to `target`, within `timeout` seconds.

    Args:
        dialling: in which ways.
        trace: takes what was tried.
    """
    trace = trace or ConnectTrace()
    async with builder.open() as host:
        if dialling is not None:
            await dialling.listen(host, target)
        started = trio.current_time()
        connection = await host.connect(
            target if dialling is None else dialling.places(target),
            timeout=timeout,
            strategies=STRATEGIES if dialling is None else dialling.strategies,
            trace=trace,
        )
        reached = Reached(host, connection, trace, started, trio.current_time() - started)
        _log.info("connected to %s: %s", connection.peer_id, reached)
        yield reached


def path(connection: Connection) -> str:
    """`direct` or `relayed`."""
    return "relayed" if connection.is_relayed else "direct"


def short_protocol(name: str) -> str:
    """`/yamux/1.0.0` is `yamux`."""
    return name.strip("/").partition("/")[0]
