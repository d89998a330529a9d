"""Keeps the peerstore in step with the network, and on disk."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from carrick.errors import PeerstoreError
from carrick.interfaces import Direction
from carrick.network import Connection, Swarm

if TYPE_CHECKING:
    from carrick.peerstore import Peerstore

__all__ = ["Bookkeeper"]

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 5.0  # s; what is known of peers is on disk after that at the latest
FLUSH_PEERS = 256  # at once; others run between two such pieces


class Bookkeeper:
    """Tells the peerstore who is connected, and has it write.

    `note` is the first connection step, so that later steps (identify) find the peer connected.
    """

    def __init__(self, swarm: Swarm, peerstore: Peerstore) -> None:
        self._swarm = swarm
        self._peerstore = peerstore
        self._changed = trio.Event()

    async def note(self, connection: Connection) -> None:
        """`connection` is there: the peer is connected until the last of its connections ends."""
        peer = connection.peer_id
        dialled = connection.direction is Direction.OUTBOUND
        self._peerstore.connected(peer, connection.remote_address if dialled else None)
        connection.call_at_end(self._left)

    def _left(self, connection: Connection) -> None:
        peer = connection.peer_id
        if all(other is connection for other in self._swarm.connections(peer)):
            self._peerstore.disconnected(peer)

    async def run(self) -> None:
        """Write what has changed, a few seconds later; have forgotten what has expired."""
        unwatch = self._peerstore.watch(lambda: self._changed.set())
        self._changed.set()  # something may have changed before
        try:
            while True:
                with trio.move_on_after(self._peerstore.next_expiry()):
                    await self._changed.wait()
                await trio.sleep(FLUSH_INTERVAL)  # more may change meanwhile
                await self._flush()
        finally:
            unwatch()

    async def _flush(self) -> None:
        try:
            while self._peerstore.flush(FLUSH_PEERS):
                await trio.lowlevel.checkpoint()
        except PeerstoreError as error:
            logger.warning("the peerstore was not written: %s", error)
            self._changed.set()  # the next try comes
        else:
            self._changed = trio.Event()
