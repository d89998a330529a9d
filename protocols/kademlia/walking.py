"""Drives a lookup: asks the peers that it names, all at once, until it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

import trio

from carrick.errors import PEER_FAILURES
from carrick.identity import PeerId
from carrick.protocols.kademlia.lookup import PeerState

__all__ = ["AnyLookup", "Ask", "walk"]

Ask: TypeAlias = Callable[[PeerId], Awaitable[Iterable[PeerId]]]
"""Asks a peer, and returns the nearer ones that it named; raises one of `PEER_FAILURES`."""


class AnyLookup(Protocol):
    """Says whom to ask, and when it is done: see `carrick.protocols.kademlia.lookup.Lookup`."""

    key: int
    k: int

    def to_ask(self, now: float) -> list[PeerId]: ...
    def answered(self, peer: PeerId, closer: Iterable[PeerId], now: float) -> list[PeerId]: ...
    def failed(self, peer: PeerId, now: float) -> None: ...
    def stop(self) -> None: ...
    def widen(self, k: int) -> None: ...
    def state(self, peer: PeerId) -> PeerState | None: ...
    @property
    def requests(self) -> int: ...
    @property
    def hops(self) -> int: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def spent(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def wake_at(self) -> float: ...
    @property
    def closest(self) -> list[PeerId]: ...
    @property
    def nearest(self) -> list[PeerId]: ...


async def walk(lookup: AnyLookup, ask: Ask) -> None:
    """Go on until `lookup` is done. Who has not answered by then is not waited for."""

    def step() -> None:
        peers = lookup.to_ask(trio.current_time())
        for peer in peers:
            nursery.start_soon(visit, peer)
        if not peers and lookup.done:
            nursery.cancel_scope.cancel()
        elif (moment := lookup.wake_at) < nap.deadline:
            nap.deadline = moment

    async def visit(peer: PeerId) -> None:
        try:
            closer = await ask(peer)
        except PEER_FAILURES:
            lookup.failed(peer, trio.current_time())
        else:
            lookup.answered(peer, closer, trio.current_time())
        step()

    async with trio.open_nursery() as nursery:
        while True:
            nap = trio.CancelScope()
            step()
            with nap:
                await trio.sleep_forever()
