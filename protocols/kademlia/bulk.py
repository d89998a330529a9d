"""Many keys at once: each peer is told all that concerns it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import trio

from carrick.identity import PeerId
from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["send_plan", "spread"]

AT_ONCE = 20  # peers that are told (go-libp2p-kad-dht, fullrt/dht.go and provider/options.go)
_LOOKUPS = 4  # at once
_KEYS = 4096  # planned at once

Send: TypeAlias = "Callable[[PeerInfo, Sequence[bytes]], Awaitable[Iterable[bytes]]]"
"""Tells a peer of some keys; returns which it took."""


async def spread(
    keys: Iterable[bytes], nearest: Callable[[bytes], Awaitable[Sequence[PeerInfo]]], send: Send
) -> dict[bytes, int]:
    """Tell those nearest to each key of it; returns how many took it."""
    told: dict[bytes, int] = {}
    limiter = trio.CapacityLimiter(_LOOKUPS)

    async def find(key: bytes, plan: dict[bytes, Sequence[PeerInfo]]) -> None:
        async with limiter:
            plan[key] = await nearest(key)

    # Keys that are near to each other have the same peers.
    ordered = sorted(set(keys), key=key_of)
    for start in range(0, len(ordered), _KEYS):
        plan: dict[bytes, Sequence[PeerInfo]] = {}
        async with trio.open_nursery() as nursery:
            for key in ordered[start : start + _KEYS]:
                nursery.start_soon(find, key, plan)
        told |= await send_plan(plan, send)
    return told


async def send_plan(plan: Mapping[bytes, Sequence[PeerInfo]], send: Send) -> dict[bytes, int]:
    """Tell all peers of the keys that they are planned for; returns how many took each key."""
    told = dict.fromkeys(plan, 0)
    infos: dict[PeerId, PeerInfo] = {}
    keys_of: dict[PeerId, list[bytes]] = {}
    for key, peers in plan.items():
        for peer in peers:
            infos[peer.id] = peer
            keys_of.setdefault(peer.id, []).append(key)
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def tell(peer: PeerInfo, keys: Sequence[bytes]) -> None:
        async with limiter:
            for key in await send(peer, keys):
                told[key] += 1

    async with trio.open_nursery() as nursery:
        for id, its_keys in keys_of.items():
            nursery.start_soon(tell, infos[id], its_keys)
    return told
