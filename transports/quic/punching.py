"""Hole punching: how the side that DCUtR made the server opens its NAT, and is reached through it.

Source: libp2p/specs `relay/DCUtR.md`, "QUIC"; the timing is go-libp2p's.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from carrick.errors import DialError, HandshakeError, PeerTimeout
from carrick.interfaces import Budget, Endpoint
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.endpoint import UdpEndpoint
from carrick.transports.quic.identity import HostIdentity

if TYPE_CHECKING:
    from carrick.identity import PeerId

__all__ = ["PUNCH_TIMEOUT", "Punch"]

PUNCH_TIMEOUT = 5.0  # s (go p2p/transport/quic/transport.go)
_GAP = (0.010, 0.200)  # s between two punching datagrams (the same)
_PUNCH_BYTES = 64  # (the same)


class Punch:
    """One attempt to be reached through our NAT."""

    def __init__(
        self,
        endpoint: UdpEndpoint,
        remote: Endpoint,
        identity: HostIdentity,
        rng: random.Random,
    ) -> None:
        self._endpoint = endpoint
        self._remote = remote
        self._identity = identity
        self._rng = rng
        self._arrived: list[QuicConnection] = []
        self._someone = trio.Event()

    async def run(self, peer: PeerId | None, budget: Budget) -> QuicConnection:
        try:
            release = self._endpoint.intercept(self._remote[0], self._take, self._identity.profile)
        except ValueError as error:
            raise DialError(str(error)) from error
        try:
            with trio.move_on_after(PUNCH_TIMEOUT):
                return await self._wait(peer, budget)
            raise PeerTimeout(f"no connection came within {PUNCH_TIMEOUT:g} s")
        finally:
            release()
            for connection in self._arrived:
                connection.refuse()

    def _take(self, connection: QuicConnection) -> bool:
        self._arrived.append(connection)
        self._someone.set()
        return True

    async def _wait(self, peer: PeerId | None, budget: Budget) -> QuicConnection:
        while True:
            await self._knock()
            connection = self._arrived.pop()
            connection.budget = budget
            try:
                await connection.establish()
            except HandshakeError:
                continue
            if peer is None or connection.peer_id == peer:
                return connection
            connection.abort()

    async def _knock(self) -> None:
        """Send datagrams until a connection arrives."""
        self._someone = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._endpoint.read_for_others)
            while not self._arrived:
                data = self._rng.randbytes(_PUNCH_BYTES)
                self._endpoint.send(data, len(data), self._remote)
                with trio.move_on_after(self._rng.uniform(*_GAP)):
                    await self._someone.wait()
            nursery.cancel_scope.cancel()
