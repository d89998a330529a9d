"""A node under attack, and a healthy peer beside the attack that must not notice it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
from multiaddr import Multiaddr

from carrick.builder import HostBuilder
from carrick.host import Host
from carrick.identity import PrivateKey
from carrick.network import Connection
from carrick.protocols.ping import Ping
from tests.support.attacker import Frames, Wire
from tests.support.waiting import until

LISTEN_ON = {"tcp": "/ip4/127.0.0.1/tcp/0", "memory": "/memory/0"}
PING_EVERY = 0.2  # s
# The bounds of ATTACKS 4.1 are 1 s for a ping and 3 s for a new connection. Attacker, node and
# healthy peer share one process here, and that process shares its cores with others.
PING_WITHIN = 2.0
CONNECT_WITHIN = 3.0


def held(host: Host) -> dict[str, dict[str, int]]:
    """What the host's resource scopes hold, without those that hold nothing."""
    stat = host.swarm.resources.stat()
    return {name: counts for name, counts in stat.items() if any(counts.values())}


def task_count() -> int:
    """The tasks of this trio run."""
    count, waiting = 0, [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            count += 1
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count


@dataclass
class Siege:
    """One node, one healthy peer, and any number of attackers' connections."""

    node: Host
    peer: HostBuilder
    healthy: Host
    connection: Connection
    """Of the healthy peer to the node, opened before the attack."""
    wires: list[Wire] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    records: list[logging.LogRecord] = field(default_factory=list)
    """What the node logged, from warnings upwards."""

    @property
    def address(self) -> Multiaddr:
        return self.node.addresses[0]

    async def wire(self, *, local: str | None = None) -> Wire:
        """A connection of the attacker; closed at the end, if not before."""
        wire = await Wire.connect(self.address, local=local)
        self.wires.append(wire)
        return wire

    async def frames(self, security: str = "noise", key: PrivateKey | None = None) -> Frames:
        """An authenticated connection of the attacker, that speaks yamux."""
        frames = await Frames.open(self.address, security, key)
        self.wires.append(frames.channel.wire)
        return frames

    async def newcomer(self) -> None:
        """A new peer connects, and its ping is answered."""
        async with self.peer.open() as host:
            with trio.fail_after(CONNECT_WITHIN):
                connection = await host.connect(self.address)
                await host.service(Ping).ping_once(connection)
            await connection.aclose()

    def strangers(self) -> list[Connection]:
        """The node's connections with others than the healthy peer."""
        return [each for each in self.node.connections if each.peer_id != self.healthy.id]

    def leave(self) -> None:
        """The attackers are gone."""
        for wire in self.wires:
            wire.rst()
        self.wires.clear()

    async def _ping(self) -> None:
        while True:
            with trio.fail_after(PING_WITHIN):
                self.pings.append(await self.healthy.service(Ping).ping_once(self.connection))
            await trio.sleep(PING_EVERY)


class _Collect(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.WARNING)
        self.emit = records.append  # type: ignore[method-assign]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@asynccontextmanager
async def besieged(
    transport: str = "tcp",
    *,
    healthy_at: str | None = None,
    errors_logged: bool = False,
    settle: float = 5.0,
    node: HostBuilder | None = None,
    **limits: Any,
) -> AsyncIterator[Siege]:
    """A siege: the body attacks, and the rules of ATTACKS 4.1 are checked behind it.

    The healthy peer was never cut and all its pings were answered; a newcomer is served; once the
    attackers are gone, the node has as many tasks, reservations and descriptors as before; and it
    logged no error.

    Args:
        healthy_at: where the healthy peer listens, and thus dials from.
        errors_logged: the attack is a defect of the node's own, which is logged.
        settle: seconds after which everything must be as before.
        node: the node, if it is not the default one.
    """
    builder = (node or HostBuilder()).transports(transport).limits(**limits)
    peer = HostBuilder().transports(transport)
    if healthy_at is not None:
        peer = peer.listen(healthy_at)
    fds = descriptors()
    log = logging.getLogger("carrick")
    async with builder.listen(LISTEN_ON[transport]).open() as host, peer.open() as healthy:
        connection = await healthy.connect(host.addresses[0])
        await healthy.service(Ping).ping_once(connection)
        await until(lambda: not held_streams(host))
        siege = Siege(host, peer, healthy, connection)
        tasks, before = task_count(), held(host)
        handler = _Collect(siege.records)
        log.addHandler(handler)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(siege._ping)
                yield siege
                await siege.newcomer()
                nursery.cancel_scope.cancel()
            siege.leave()
            await until(lambda: held(host) == before, within=settle)
            await until(lambda: task_count() <= tasks, within=settle)
        finally:
            log.removeHandler(handler)
            siege.leave()
        assert siege.pings, "the healthy peer was never served"
        assert not connection.closed
        errors = [record for record in siege.records if record.levelno >= logging.ERROR]
        assert errors_logged or not errors, errors[0].getMessage()
    assert descriptors() <= fds


def held_streams(host: Host) -> int:
    return host.swarm.resources.stat()["system"]["streams"]
