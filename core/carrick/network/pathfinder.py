"""Finds a way to a peer: the connections that are there, addresses, strategies."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from carrick import errors
from carrick.addressing import is_relayed, split_peer
from carrick.network.connection import Connection
from carrick.network.connections import Connections
from carrick.network.dial.dialer import Dialer
from carrick.network.firewall import LimitedLog, guarded

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["AddressSource", "DialStrategy", "Pathfinder"]

AddressSource: TypeAlias = "Callable[[PeerId], Awaitable[Iterable[Multiaddr]]]"
"""Where a peer may be dialled: peerstore, DHT, …"""

DialStrategy: TypeAlias = "Callable[[PeerId, Sequence[Multiaddr]], Awaitable[Connection]]"
"""Reaches a peer when none of its addresses (the second argument) could be dialled, or raises a
`CarrickError`."""


class Pathfinder:
    """Reaches peers.

    Attributes:
        sources: asked in order for a peer's addresses, when those that are known lead nowhere.
        strategies: tried in order when no address leads to the peer.
    """

    def __init__(self, local: PeerId, dialer: Dialer, connections: Connections) -> None:
        self.sources: list[AddressSource] = []
        self.strategies: list[DialStrategy] = []
        self._local = local
        self._dialer = dialer
        self._connections = connections
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    async def reach(
        self,
        peer: PeerId | None,
        addresses: Iterable[Multiaddr],
        *,
        allow_limited: bool = True,
        force: bool = False,
    ) -> Connection:
        """A connection that is there, or a new one.

        Args:
            peer: None takes whoever answers at `addresses`.
            allow_limited: a relayed connection will do. Otherwise no relayed address is dialled.
            force: also dial addresses that failed a short while ago.

        Raises:
            DialError: with one cause per address and strategy tried.
        """
        if peer is None:
            return await self._dialer.dial(None, addresses, force=force)
        if peer == self._local:
            raise errors.DialError("that is this host itself", peer=peer)
        tried: dict[Multiaddr, None] = {}
        causes: list[tuple[object, BaseException]] = []
        for source in (None, *self.sources):
            present = self._connections.best(peer)
            if present is not None and (allow_limited or not present.is_limited):
                return present
            found = addresses if source is None else await self._ask(source, peer)
            if not allow_limited:
                found = [each for each in found if not is_relayed(each)]
            fresh = [each for each in found if split_peer(each)[0] not in tried]
            tried.update(dict.fromkeys(split_peer(each)[0] for each in fresh))
            if fresh:
                try:
                    return await self._dialer.dial(peer, fresh, force=force)
                except errors.DialError as error:
                    causes += error.causes or [(peer, error)]
        for strategy in self.strategies:
            try:
                return await strategy(peer, tuple(tried))
            except errors.CarrickError as error:
                causes.append((getattr(strategy, "__qualname__", strategy), error))
        if causes:
            raise errors.DialError("the peer could not be reached", peer=peer, causes=causes)
        raise errors.NoAddresses("no address is known", peer=peer)

    async def _ask(self, source: AddressSource, peer: PeerId) -> Sequence[Multiaddr]:
        found: list[Multiaddr] = []

        async def ask() -> None:
            found.extend(await source(peer))

        def failed(error: Exception) -> None:
            level = logging.DEBUG if isinstance(error, errors.CarrickError) else logging.ERROR
            self._log.log(level, "source", source, "address source: %s", error, error=error)

        await guarded(ask, failed=failed)
        return found
