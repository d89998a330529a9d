"""Swarms over the memory transport or TCP on loopback, for tests of the network room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from multiaddr import Multiaddr

from carrick.addressing import parse_address
from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Budget, Listener, MuxedConnection, Role, Transport
from carrick.network import Limits, Stream, Swarm
from tests.support.transports import LISTEN_ON, Stack


def make_swarm(
    stack: Stack | str = "memory",
    *,
    key: PrivateKey | None = None,
    limits: dict[str, Any] | None = None,
    **parts: Any,
) -> Swarm:
    """A swarm that does not run yet. `memory` is quick: plaintext and yamux."""
    if isinstance(stack, str):
        stack = (
            Stack("memory", "plaintext", "yamux")
            if stack == "memory"
            else Stack(stack, "noise", "yamux")
        )
    key = key or PrivateKey.generate()
    overrides = Limits().with_overrides(**(limits or {}))
    swarm = Swarm(key.peer_id, [stack.make(key)], limits=overrides, **parts)
    swarm.test_listen_on = parse_address(LISTEN_ON[stack.transport])  # type: ignore[attr-defined]
    return swarm


@asynccontextmanager
async def running(*swarms: Swarm, listen: bool = True) -> AsyncIterator[None]:
    """The swarms run, and listen; at the end they are cancelled."""
    async with trio.open_nursery() as nursery:
        for swarm in swarms:
            await nursery.start(swarm.run)
            if listen:
                await swarm.listen(swarm.test_listen_on)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def pair(
    stack: Stack | str = "memory", *, limits: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Swarm, Swarm]]:
    """Two running swarms: one that only dials, and one that listens."""
    dialer, listener = make_swarm(stack), make_swarm(stack, limits=limits)
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(running(listener))
        await exits.enter_async_context(running(dialer, listen=False))
        yield dialer, listener


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def exchange(stream: Stream, data: bytes) -> bytes:
    """Send `data` and read as much."""
    await stream.send_all(data)
    return await stream.read_exactly(len(data))


class Detour:
    """A transport that leads any address to another one, after a delay, or fails.

    Args:
        inner: dials for real.
        routes: from an address to (seconds, target address or the error to raise).
        limited: connections count as relayed.
    """

    def __init__(
        self,
        inner: Transport,
        routes: Mapping[Multiaddr, tuple[float, Multiaddr | Exception]],
        *,
        limited: bool = False,
    ) -> None:
        self.inner = inner
        self.routes = routes
        self.limited = limited
        self.started: list[tuple[float, Multiaddr]] = []
        self.ended: list[Multiaddr] = []

    def can_dial(self, address: Multiaddr) -> bool:
        return address in self.routes

    def can_listen(self, address: Multiaddr) -> bool:
        return False

    async def listen(self, address: Multiaddr) -> Listener:
        raise NotImplementedError

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, *, role: Role = Role.CLIENT, budget: Budget
    ) -> MuxedConnection:
        delay, target = self.routes[address]
        self.started.append((trio.current_time(), address))
        try:
            await trio.sleep(delay)
            if isinstance(target, Exception):
                raise target
            muxed: Any = await self.inner.dial(target, peer, role=role, budget=budget)
            muxed.is_limited = self.limited
            muxed.remote_address = address
            dialled: MuxedConnection = muxed
            return dialled
        finally:
            self.ended.append(address)
