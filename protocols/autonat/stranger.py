"""Dialling a peer as a stranger would: from another port, with another identity."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr, host_ip
from carrick.errors import PEER_FAILURES
from carrick.host import Host
from carrick.interfaces import SocketOpener
from carrick.sockets import use_sockets

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = ["Stranger", "Visit"]

_log = logging.getLogger("carrick.autonat")


@dataclass(frozen=True, slots=True)
class Visit:
    """How it went.

    Attributes:
        reached: the address at which the peer was; None if it was at none.
        talked: what was to be done there was done.
    """

    reached: Multiaddr | None
    talked: bool


class Stranger:
    """Dials back.

    Each dial has a swarm of its own, so that it leaves from a port that nobody knows: a NAT that
    lets only those in whom its host has talked to keeps it out, and nothing is punched.

    Args:
        sockets: those of the host.
    """

    def __init__(self, host: Host, sockets: SocketOpener) -> None:
        self._host = host
        self._sockets = sockets

    def can_dial(self, address: Multiaddr) -> bool:
        """Whether a transport, and the network that we are on, lead to `address`."""
        if not any(each.can_dial(address) for each in self._host.swarm.transports):
            return False
        ip = host_ip(address)
        if ip is None or ip.is_loopback:
            return True
        return any(
            own.version == ip.version and not own.ip.is_loopback and not own.ip.is_link_local
            for own in self._sockets.interface_addresses()
        )

    async def visit(
        self,
        peer: PeerId,
        addresses: Sequence[Multiaddr],
        talk: Callable[[Connection], Awaitable[None]] | None = None,
        *,
        timeout: float,
    ) -> Visit:
        """Dial `peer` at one of `addresses`, do `talk` there, and leave.

        Args:
            timeout: for the dial, in seconds.
        """
        with use_sockets(self._sockets):
            swarm = self._host.detached_swarm()
        reached: Multiaddr | None = None
        talked = False
        async with trio.open_nursery() as nursery:
            await nursery.start(swarm.run)
            try:
                connection = await swarm.connect(peer, addresses, force=True, timeout=timeout)
                reached = connection.remote_address
                if talk is not None:
                    await talk(connection)
                talked = True
            except (*PEER_FAILURES, trio.TooSlowError) as error:
                _log.debug("%s at %s: %s", peer, reached or addresses, error or type(error))
            nursery.cancel_scope.cancel()
        return Visit(reached, talked)
