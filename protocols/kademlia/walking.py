"""Drives a lookup: asks the peers that it names, all at once, until it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import trio

from carrick.errors import PEER_FAILURES
from carrick.identity import PeerId
from carrick.protocols.kademlia.lookup import DisjointLookup, Lookup

__all__ = ["Ask", "walk"]

Ask: TypeAlias = Callable[[PeerId], Awaitable[Iterable[PeerId]]]
"""Asks a peer, and returns the nearer ones that it named; raises one of `PEER_FAILURES`."""


async def walk(lookup: Lookup | DisjointLookup, ask: Ask) -> None:
    """Go on until `lookup` is done. Who has not answered by then is not waited for."""
    wake = trio.Event()

    async def visit(peer: PeerId) -> None:
        try:
            closer = await ask(peer)
        except PEER_FAILURES:
            lookup.failed(peer, trio.current_time())
        else:
            lookup.answered(peer, closer, trio.current_time())
        wake.set()

    async with trio.open_nursery() as nursery:
        while True:
            wake = trio.Event()
            for peer in lookup.to_ask(trio.current_time()):
                nursery.start_soon(visit, peer)
            if lookup.done:
                break
            with trio.move_on_at(lookup.wake_at):
                await wake.wait()
        nursery.cancel_scope.cancel()
