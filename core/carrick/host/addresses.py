"""Our own addresses: what we listen on, what that means to others, what we tell whom."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from carrick.addressing import (
    IPAddress,
    Reach,
    expand_unspecified,
    host_ip,
    is_relayed,
    reach,
)
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.host.service import OwnAddressSource
    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = ["Announcement", "OwnAddresses"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_ADDRESSES = 64  # what peers keep of us at most
_INTERFACES_KEPT = 5.0  # s; interfaces come and go seldom, connections often

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
        clock: the present time in seconds.
    """

    def __init__(
        self,
        listening: Callable[[], Iterable[Multiaddr]],
        announcement: Announcement,
        clock: Callable[[], float],
    ) -> None:
        self._listening = listening
        self._announcement = announcement
        self._clock = clock
        self.reticent: set[PeerId] = set()
        """Peers that are told only relayed addresses over a relay, so that they do not dial us."""
        self._sockets = current_sockets()  # of the context that opens the host
        self._sources: list[OwnAddressSource] = []
        self._filters: list[Callable[[Multiaddr], bool]] = []
        self._interfaces: list[IPAddress] = []
        self._expanded: dict[Multiaddr, list[Multiaddr]] = {}
        self._expanded_until = -math.inf
        self._found: list[Multiaddr] = []
        self.latest: tuple[Multiaddr, ...] = ()
        """What `all` gave when it was last asked."""
        self._told: dict[int, tuple[Multiaddr, ...]] = {}
        """What is told to peers at each width."""

    def add_source(self, source: OwnAddressSource) -> None:
        self._sources.append(source)

    def add_filter(self, keep: Callable[[Multiaddr], bool]) -> None:
        """Tell nobody of an address for which `keep` is false, unless a person announced it."""
        self._filters.append(keep)

    def known(self) -> tuple[Multiaddr, ...]:
        """Every address that we know of, those included that are told to nobody."""
        return tuple(dict.fromkeys([*self._collect(filtered=False), *self._announced()]))

    def all(self) -> tuple[Multiaddr, ...]:
        """Every address that we would tell to somebody, best known first, without duplicates."""
        found = self._collect()
        if found != self._found:
            kept = [address for address in dict.fromkeys(found) if not self.is_withheld(address)]
            self._found, self.latest = found, tuple(kept[:MAX_ADDRESSES])
            self._told.clear()
        return self.latest

    def for_peer_at(self, remote: Multiaddr) -> tuple[Multiaddr, ...]:
        """What a peer that we see at `remote` is told.

        Strangers on the public internet do not learn addresses that mean nothing outside our own
        network, and peers on our network do not learn loopback addresses.
        """
        every, width = self.all(), _width(remote)
        if width not in self._told:
            self._told[width] = tuple(each for each in every if _width(each) >= width)
        return self._told[width]

    def for_connection(self, connection: Connection) -> tuple[Multiaddr, ...]:
        """What the peer of `connection` is told over it."""
        told = self.for_peer_at(connection.remote_address)
        if connection.is_relayed and connection.peer_id in self.reticent:
            told = tuple(filter(is_relayed, told))
        return told

    def _collect(self, *, filtered: bool = True) -> list[Multiaddr]:
        announcement = self._announcement
        if announcement.announce and filtered:
            return self._announced()
        found: list[Multiaddr] = []
        for address in self._listening():
            if reach(address) is Reach.UNSPECIFIED:
                found += self._expand(address)
            else:
                found.append(address)
        for source in self._sources:
            found += source()
        if filtered:
            for keep in self._filters:
                found = [address for address in found if keep(address)]
        return [*found, *announcement.append]

    def _announced(self) -> list[Multiaddr]:
        return [*self._announcement.announce, *self._announcement.append]

    def _expand(self, address: Multiaddr) -> list[Multiaddr]:
        """What an address of all interfaces stands for; asking the system takes a millisecond."""
        now = self._clock()
        if now >= self._expanded_until:
            self._expanded.clear()
            self._interfaces = [own.ip for own in self._sockets.interface_addresses()]
            self._expanded_until = now + _INTERFACES_KEPT
        if address not in self._expanded:
            self._expanded[address] = expand_unspecified(address, self._interfaces)
        return self._expanded[address]

    def is_withheld(self, address: Multiaddr) -> bool:
        """A person does not want it to be told."""
        ip = host_ip(address)
        return ip is not None and any(
            ip in network
            for network in self._announcement.withhold
            if network.version == ip.version
        )


def _width(address: Multiaddr) -> int:
    return _WIDTH.get(reach(address), _EVERYWHERE)
