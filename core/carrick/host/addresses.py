"""Our own addresses: what we listen on, what that means to others, what we tell whom."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import (
    IPAddress,
    Reach,
    expand_unspecified,
    host_ip,
    reach,
)
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.host.service import OwnAddressSource

__all__ = ["Announcement", "OwnAddresses"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES = 64  # what peers keep of us at most

# Who is told addresses of which reach: a peer that we meet at a reach learns those at or beyond it.
_WIDTH = {
    Reach.LOOPBACK: 0,
    Reach.UNSPECIFIED: 0,
    Reach.LINK_LOCAL: 1,
    Reach.PRIVATE: 1,
    Reach.CGNAT: 1,
}
_EVERYWHERE = 2


@dataclass(frozen=True, slots=True)
class Announcement:
    """A person's word on what is advertised.

    Attributes:
        announce: advertise these instead of everything else.
        append: advertise these too.
        withhold: never advertise addresses in these networks.
    """

    announce: Sequence[Multiaddr] = ()
    append: Sequence[Multiaddr] = ()
    withhold: Sequence[Network] = ()


class OwnAddresses:
    """Collects our addresses from listeners, interfaces, services and the announcement.

    Args:
        listening: the bound addresses, at the time of the call.
        announcement: a person's word.
    """

    def __init__(
        self, listening: Callable[[], Iterable[Multiaddr]], announcement: Announcement
    ) -> None:
        self._listening = listening
        self._announcement = announcement
        self._sources: list[OwnAddressSource] = []

    def add_source(self, source: OwnAddressSource) -> None:
        self._sources.append(source)

    def all(self) -> list[Multiaddr]:
        """Every address that we would tell to somebody, best known first, without duplicates."""
        announcement = self._announcement
        if announcement.announce:
            found = list(announcement.announce)
        else:
            found = []
            interfaces: list[IPAddress] | None = None
            for address in self._listening():
                if reach(address) is Reach.UNSPECIFIED:
                    if interfaces is None:
                        interfaces = [own.ip for own in current_sockets().interface_addresses()]
                    found += expand_unspecified(address, interfaces)
                else:
                    found.append(address)
            for source in self._sources:
                found += source()
        found += announcement.append
        kept = (address for address in dict.fromkeys(found) if not self._withheld(address))
        return list(kept)[:MAX_ADDRESSES]

    def for_peer_at(self, remote: Multiaddr) -> list[Multiaddr]:
        """What a peer that we see at `remote` is told.

        Strangers on the public internet do not learn addresses that mean nothing outside our own
        network, and peers on our network do not learn loopback addresses.
        """
        width = _width(remote)
        return [address for address in self.all() if _width(address) >= width]

    def _withheld(self, address: Multiaddr) -> bool:
        ip = host_ip(address)
        return ip is not None and any(
            ip in network
            for network in self._announcement.withhold
            if network.version == ip.version
        )


def _width(address: Multiaddr) -> int:
    return _WIDTH.get(reach(address), _EVERYWHERE)
