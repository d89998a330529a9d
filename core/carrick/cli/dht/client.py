"""A node that enters a DHT for one command, and leaves it."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from carrick import Host, HostBuilder
from carrick.addressing import Multiaddr, with_peer
from carrick.cli.dht.flags import DhtFlags
from carrick.cli.dht.trace import LookupTrace
from carrick.cli.node import NodeOptions, make_builder
from carrick.cli.options import Settings
from carrick.cli.output import Output
from carrick.cli.targets import Target
from carrick.errors import CarrickError, DialError, PeerTimeout
from carrick.identity import PeerId
from carrick.protocols.kademlia import Dht, Kademlia, Mode, PeerInfo

__all__ = ["Client", "dht_client", "enter", "peer_fields", "peer_lines"]

_log = logging.getLogger("carrick.cli")


@dataclass(frozen=True, slots=True)
class Client:
    """A node in a DHT.

    Attributes:
        at: the one node that is to be asked; None: all that a lookup leads to.
        trace: what the lookup did; it begins when the DHT is entered.
    """

    host: Host
    kademlia: Kademlia
    trace: LookupTrace
    at: PeerInfo | None = None

    @property
    def dht(self) -> Dht:
        return self.kademlia.networks[0].dht


@asynccontextmanager
async def dht_client(
    settings: Settings,
    output: Output,
    flags: DhtFlags,
    node: NodeOptions,
    *,
    at: Target | None = None,
    builder: HostBuilder | None = None,
) -> AsyncGenerator[Client, None]:
    """A client of the DHT that the flags describe, which has entered it, or is connected to the
    one node `at`. All of the block is to be done within `--timeout`.

    Raises:
        click.UsageError: no bootstrap peer.
        PeerTimeout, DialError: no bootstrap peer answers, or not the one.
    """
    bootstrap = [] if at is not None else flags.bootstrap_peers()
    kademlia = Kademlia(flags.options(Mode.CLIENT))
    builder = (builder or make_builder(settings, node)).services(kademlia)
    with trio.move_on_after(settings.timeout) as patience:
        async with builder.open() as host:
            if at is not None:
                connection = await host.connect(at, timeout=settings.timeout)
                info = PeerInfo.of(connection.peer_id, [connection.remote_address])
                trace = LookupTrace(output, show=settings.verbosity > 0)
                yield Client(host, kademlia, trace, info)
            else:
                await enter(host, kademlia, bootstrap)
                trace = LookupTrace(output, show=settings.verbosity > 0)
                yield Client(host, kademlia, trace)
    if patience.cancelled_caught:
        raise PeerTimeout(f"not done within {settings.timeout:g} s; --timeout gives it longer")


async def enter(host: Host, kademlia: Kademlia, bootstrap: Sequence[PeerInfo]) -> None:
    """Meet the bootstrap peers, all at once; the first that answers is enough. With a full table,
    also wait for its crawl.

    Raises:
        DialError: none of them answers; with one cause for each.
    """
    network = kademlia.networks[0]
    causes: list[tuple[object, BaseException]] = []
    async with trio.open_nursery() as nursery:

        async def meet(peer: PeerInfo) -> None:
            addresses = [with_peer(each, peer.id) for each in peer.addresses]
            try:
                connection = await host.connect(addresses)
                if not await network.upkeep.check(connection.peer_id):
                    raise CarrickError(
                        f"does not answer as a server of {network.settings.protocol}"
                    )
            except CarrickError as error:
                _log.info("bootstrap peer %s: %s", peer.id, error)
                causes.extend(_causes(error, addresses))
            else:
                nursery.cancel_scope.cancel()

        for peer in bootstrap:
            nursery.start_soon(meet, peer)
    if not len(network.dht.table):
        raise DialError("no bootstrap peer answers", causes=causes)
    if kademlia.options.full_table:
        await kademlia.wait_crawled()


def _causes(
    error: CarrickError, addresses: Sequence[Multiaddr]
) -> Sequence[tuple[object, BaseException]]:
    if isinstance(error, DialError) and error.causes:
        return error.causes
    return [(each, error) for each in addresses[:1]]


def peer_fields(peer: PeerInfo) -> dict[str, Any]:
    return {"id": peer.id, "addresses": [str(each) for each in peer.addresses]}


def peer_lines(peer: PeerInfo) -> list[str]:
    """Its addresses with its id; that alone if there are none."""
    return [_full(each, peer.id) for each in peer.addresses] or [f"/p2p/{peer.id}"]


def _full(address: Multiaddr, peer: PeerId) -> str:
    text = str(address)
    return text if text.endswith(f"/p2p/{peer}") else f"{text}/p2p/{peer}"
