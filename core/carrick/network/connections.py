"""Which connections there are, and the events of their coming and going."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from carrick.network import events
from carrick.network.connection import Connection

if TYPE_CHECKING:
    from carrick.identity import PeerId

__all__ = ["Connections"]


class Connections:
    """The connections of a swarm, by peer."""

    def __init__(self, bus: events.EventBus) -> None:
        self._events = bus
        self._peers: dict[PeerId, list[Connection]] = {}
        self._announced: dict[PeerId, set[Connection]] = {}
        self._arrival = trio.Event()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: Connection) -> None:
        self._peers.setdefault(connection.peer_id, []).append(connection)
        self._count += 1
        self._arrival.set()
        self._arrival = trio.Event()

    def announce(self, connection: Connection) -> None:
        """The connection has passed its steps: tell everybody."""
        known = self._announced.setdefault(connection.peer_id, set())
        known.add(connection)
        connection.announced.set()
        self._events.publish(events.ConnectionOpened(connection))
        if len(known) == 1:
            self._events.publish(events.PeerConnected(connection.peer_id))

    def remove(self, connection: Connection) -> None:
        peer = connection.peer_id
        self._peers[peer].remove(connection)
        self._count -= 1
        if not self._peers[peer]:
            del self._peers[peer]
        known = self._announced.get(peer, set())
        if connection in known:
            known.remove(connection)
            self._events.publish(events.ConnectionClosed(connection))
            if not known:
                del self._announced[peer]
                self._events.publish(events.PeerDisconnected(peer))

    @property
    def peers(self) -> tuple[PeerId, ...]:
        return tuple(self._peers)

    def of(self, peer: PeerId | None) -> tuple[Connection, ...]:
        """Those of one peer, or all."""
        lists = self._peers.values() if peer is None else [self._peers.get(peer, [])]
        return tuple(each for connections in lists for each in connections if not each.closed)

    def usable(self, peer: PeerId) -> tuple[Connection, ...]:
        """Those of one peer but for what we are closing: that takes a while, and no stream."""
        return tuple(each for each in self.of(peer) if each.close_reason is None)

    def best(self, peer: PeerId) -> Connection | None:
        """The connection to open a stream on: direct rather than relayed, not limited rather than
        limited, then the one with the most streams, then the newest.

        As go-libp2p's `bestConnToPeer`. When two peers dial each other at once both connections
        stay, as in go, and this settles on one.
        """
        return max(
            self.usable(peer),
            key=lambda each: (
                not each.is_relayed,
                not each.is_limited,
                each.stream_count,
                each.opened_at,
            ),
            default=None,
        )

    async def wait_direct(self, peer: PeerId) -> Connection:
        """Wait for a connection with `peer` that is not limited."""
        while True:
            connection = self.best(peer)
            if connection is not None and not connection.is_limited:
                return connection
            await self._arrival.wait()

    async def wait_unrelayed(self, peer: PeerId) -> Connection:
        """Wait for a connection with `peer` that no relay carries."""
        while True:
            connection = self.best(peer)
            if connection is not None and not connection.is_relayed:
                return connection
            await self._arrival.wait()
