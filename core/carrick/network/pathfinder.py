"""Finds a way to a peer: the connections that are there, and its addresses."""

from __future__ import annotations

import enum
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick import errors
from carrick.addressing import is_relayed, split_peer
from carrick.network.connection import Connection
from carrick.network.connections import Connections
from carrick.network.dial.dialer import Dialer, DialWatch
from carrick.network.firewall import LimitedLog, guarded

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["AddressSource", "Pathfinder", "Search", "Way"]

AddressSource: TypeAlias = "Callable[[PeerId], Awaitable[Iterable[Multiaddr]]]"
"""Where a peer may be dialled: peerstore, DHT, …"""


class Way(enum.Enum):
    """Which connections will do."""

    ANY = "any"
    DIRECT = "direct"
    RELAYED = "relayed"

    def takes(self, relayed: bool) -> bool:
        return self is Way.ANY or (self is Way.RELAYED) == relayed


class Search:
    """What is known of the whereabouts of one peer: what was given, then what each source says.

    Each source is asked once, whoever needs its answer, and only when all before it led nowhere.
    """

    def __init__(
        self, finder: Pathfinder, peer: PeerId, given: Iterable[Multiaddr], force: bool
    ) -> None:
        self.peer = peer
        self.given = tuple(given)
        self._finder = finder
        self._force = force
        self._answers: list[Sequence[Multiaddr]] = [self.given]
        self._asking: trio.Event | None = None

    @property
    def only_relayed(self) -> bool:
        """Addresses were given, and all of them lead over relays."""
        return bool(self.given) and all(map(is_relayed, self.given))

    async def connect(self, way: Way = Way.ANY, *, watch: DialWatch | None = None) -> Connection:
        """A connection that is there, or a new one.

        Args:
            way: other addresses are not dialled.
            watch: is told of each address that is dialled.

        Raises:
            DialError: with one cause per address tried (`NoAddresses` if there were none).
        """
        tried: set[Multiaddr] = set()
        causes: list[tuple[object, BaseException]] = []
        for index in range(1 + len(self._finder.sources)):
            present = self._finder.present(self.peer, way)
            if present is not None:
                return present
            fresh = [
                each
                for each in await self._answer(index)
                if way.takes(is_relayed(each)) and split_peer(each)[0] not in tried
            ]
            tried.update(split_peer(each)[0] for each in fresh)
            if fresh:
                try:
                    return await self.dial(fresh, watch=watch)
                except errors.DialError as error:
                    causes += error.causes or [(self.peer, error)]
        if causes:
            raise errors.DialError("the peer could not be reached", peer=self.peer, causes=causes)
        raise errors.NoAddresses("no address is known", peer=self.peer)

    async def dial(
        self, addresses: Iterable[Multiaddr], *, watch: DialWatch | None = None
    ) -> Connection:
        """Dial exactly these; see `Dialer.dial`."""
        return await self._finder.dialer.dial(self.peer, addresses, force=self._force, watch=watch)

    async def _answer(self, index: int) -> Sequence[Multiaddr]:
        while index >= len(self._answers):
            if self._asking is not None:
                await self._asking.wait()
                continue
            asking = self._asking = trio.Event()
            try:
                source = self._finder.sources[len(self._answers) - 1]
                self._answers.append(await self._finder.ask(source, self.peer))
            finally:
                self._asking = None
                asking.set()
        return self._answers[index]


class Pathfinder:
    """Reaches peers at their addresses.

    Attributes:
        dialer: dials them.
        sources: asked in order for a peer's addresses, when those that are known lead nowhere.
    """

    def __init__(self, local: PeerId, dialer: Dialer, connections: Connections) -> None:
        self.dialer = dialer
        self.sources: list[AddressSource] = []
        self._local = local
        self._connections = connections
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    def search(
        self, peer: PeerId, addresses: Iterable[Multiaddr], *, force: bool = False
    ) -> Search:
        """
        Args:
            addresses: where the peer may be, before any source is asked.
            force: also dial addresses that failed a short while ago.

        Raises:
            DialError: that is us.
        """
        if peer == self._local:
            raise errors.DialError("that is this host itself", peer=peer)
        return Search(self, peer, addresses, force)

    async def reach(
        self,
        peer: PeerId | None,
        addresses: Iterable[Multiaddr],
        way: Way = Way.ANY,
        *,
        force: bool = False,
    ) -> Connection:
        """A connection that is there, or a new one; see `Search.connect`.

        Args:
            peer: None takes whoever answers at `addresses`.
        """
        if peer is None:
            return await self.dialer.dial(None, addresses, force=force)
        return await self.search(peer, addresses, force=force).connect(way)

    def present(self, peer: PeerId, way: Way = Way.ANY) -> Connection | None:
        """The best connection with `peer` that will do."""
        best = self._connections.best(peer)
        if best is None or way.takes(best.is_relayed):
            return best
        others = (each for each in self._connections.usable(peer) if way.takes(each.is_relayed))
        return max(others, key=lambda each: each.opened_at, default=None)

    async def ask(self, source: AddressSource, peer: PeerId) -> Sequence[Multiaddr]:
        """What `source` says; nothing if it fails."""
        found: list[Multiaddr] = []

        async def ask() -> None:
            found.extend(await source(peer))

        def failed(error: Exception) -> None:
            level = logging.DEBUG if isinstance(error, errors.CarrickError) else logging.ERROR
            self._log.log(level, "source", source, "address source: %s", error, error=error)

        await guarded(ask, failed=failed)
        return found
