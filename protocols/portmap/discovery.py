"""Finds gateways: all protocols at once, on our own network only."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

import trio

from carrick.addressing import Reach, ip_reach
from carrick.errors import PEER_FAILURES, ProtocolError
from carrick.interfaces import DatagramSocket, IPInterface, SocketOpener
from carrick.protocols.portmap.clients import NatPmpClient, PcpClient
from carrick.protocols.portmap.mapping import GatewayClient, NoGateway
from carrick.protocols.portmap.upnp import ssdp
from carrick.protocols.portmap.upnp.client import UpnpClient, open_upnp
from carrick.protocols.portmap.upnp.http import Url

__all__ = ["FAILURES", "Found", "Place", "find_place", "probe", "searching"]

_log = logging.getLogger("carrick.portmap")

FAILURES = (*PEER_FAILURES, OSError)
SEARCH_TIMEOUT = 10.0  # s; go-libp2p p2p/net/nat
SSDP_SEARCHES = 2  # datagrams get lost
SSDP_WINDOW = ssdp.SEARCH_TIME + 0.5  # s, for the answers to one search
MAX_DEVICES = 8  # whose descriptions are read

# What a gateway's client has: a NAT gives private addresses, a provider's NAT shared ones.
_BEHIND_NATS = (Reach.PRIVATE, Reach.CGNAT)


@dataclass(frozen=True, slots=True)
class Place:
    """Where we are on a network with a way out.

    Attributes:
        local: our address and network.
        gateway: the router's address; None: not known.
    """

    local: IPv4Interface
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one protocol: a client, or the reason why there is none."""

    via: str
    client: GatewayClient | None
    external_address: IPv4Address | None
    error: BaseException | None


def find_place(
    interfaces: Sequence[IPInterface], gateways: Sequence[str], gateway: str | None = None
) -> Place | None:
    """Our place towards the default gateway; None if our address there is public, or there is none.

    Args:
        interfaces: our addresses.
        gateways: of the default routes, the preferred one first.
        gateway: a person's word, in place of them.
    """
    ours = [each for each in interfaces if isinstance(each, IPv4Interface)]
    chosen = [gateway] if gateway else gateways
    if not chosen:  # a system whose routes are not asked for
        inside = next((each for each in ours if ip_reach(each.ip) in _BEHIND_NATS), None)
        return None if inside is None else Place(inside, None)
    for candidate in chosen:
        address = IPv4Address(candidate)
        inside = next((each for each in ours if address in each.network), None)
        if inside is not None:
            return Place(inside, str(address)) if ip_reach(inside.ip) in _BEHIND_NATS else None
    return None


@asynccontextmanager
async def searching(
    sockets: SocketOpener, place: Place, protocols: Sequence[str], rng: random.Random
) -> AsyncIterator[trio.MemoryReceiveChannel[Found]]:
    """Within the block, what becomes of each protocol comes out of the channel, the quickest first;
    it ends when all have answered."""
    local, gateway = place.local.ip, place.gateway

    async def upnp() -> GatewayClient:
        return await find_upnp(sockets, place, rng)

    async def pcp() -> GatewayClient:
        return PcpClient(sockets, local, _known(gateway))

    async def nat_pmp() -> GatewayClient:
        return NatPmpClient(sockets, local, _known(gateway))

    sender, receiver = trio.open_memory_channel[Found](len(protocols))
    async with trio.open_nursery() as nursery:
        with sender:
            for via, make in (("pcp", pcp), ("nat-pmp", nat_pmp), ("upnp", upnp)):
                if via in protocols:
                    nursery.start_soon(_try, via, make, sender.clone())
        try:
            yield receiver
        finally:
            nursery.cancel_scope.cancel()


async def _try(
    via: str,
    make: Callable[[], Awaitable[GatewayClient]],
    channel: trio.MemorySendChannel[Found],
) -> None:
    with channel:
        try:
            with trio.fail_after(SEARCH_TIMEOUT):
                client = await make()
                outside = await client.external_address()
        except (*FAILURES, trio.TooSlowError) as error:
            _log.debug("%s: %s", via, error)
            channel.send_nowait(Found(via, None, None, error))
        else:
            channel.send_nowait(Found(via, client, outside, None))


async def probe(
    sockets: SocketOpener, place: Place, protocols: Sequence[str], rng: random.Random
) -> list[Found]:
    """Try every protocol to its end, and map nothing."""
    async with searching(sockets, place, protocols, rng) as channel:
        found = [each async for each in channel]
    return sorted(found, key=lambda each: protocols.index(each.via))


async def find_upnp(sockets: SocketOpener, place: Place, rng: random.Random) -> UpnpClient:
    """A UPnP gateway whose description makes sense. The default gateway's answer is taken at once,
    others' only if it does not answer: on a LAN anybody may.

    Raises:
        NoGateway: nobody answers.
        ProtocolError, MappingRefused, OSError: of the last one that did.
    """
    local = place.local.ip
    failure: BaseException = NoGateway("nobody answers UPnP's search")
    seen: dict[Url, None] = {}
    socket = await sockets.open_udp((str(local), 0))
    try:
        socket.join(ssdp.GROUP, str(local))
        for _ in range(SSDP_SEARCHES):
            for target in ssdp.TARGETS:
                search = ssdp.encode_search(target)
                socket.send(search, len(search), (ssdp.GROUP, ssdp.PORT))
            until = trio.current_time() + SSDP_WINDOW
            while (url := await _next_answer(socket, place, until)) is not None:
                if url in seen or len(seen) >= MAX_DEVICES:
                    continue
                seen[url] = None
                if url.host == place.gateway:
                    try:
                        return await open_upnp(sockets, local, url, rng)
                    except FAILURES as error:
                        failure = error
    finally:
        socket.close()
    for url in seen:
        if url.host != place.gateway:
            try:
                return await open_upnp(sockets, local, url, rng)
            except FAILURES as error:
                failure = error
    raise failure


async def _next_answer(socket: DatagramSocket, place: Place, until: float) -> Url | None:
    """The next usable answer to our search; None when the time is over."""
    buffer = memoryview(bytearray(65535))
    with trio.move_on_at(until):
        while True:
            await socket.wait_readable()
            received = socket.recv_into(buffer)
            if received is None:
                continue
            size, segment, (sender, _) = received
            if IPv4Address(sender) not in place.local.network:
                continue
            try:
                return ssdp.decode_answer(buffer[: min(size, segment or size)], sender)
            except ProtocolError as error:
                _log.debug("SSDP from %s: %s", sender, error)
    return None


def _known(gateway: str | None) -> str:
    if gateway is None:
        raise NoGateway("the default gateway is not known")
    return gateway
