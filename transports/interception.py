"""Who waits for what arrives from an IP address: the hole punches towards it.

Behind a symmetric NAT a peer comes from another port than the one that it was seen at, so what
arrives from its address belongs to the punch, whatever the port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from carrick.interfaces import Endpoint

__all__ = ["Interceptions"]

T = TypeVar("T")
_Host: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class Interceptions(Generic[T]):
    """The takers of what arrives at one place of ours, by the IP address that it comes from.

    They are as many as our own punches at present, whatever peers do.
    """

    def __init__(self) -> None:
        self._takers: dict[_Host, list[tuple[int, T]]] = {}

    def __bool__(self) -> bool:
        return bool(self._takers)

    def add(self, remote: Endpoint, taker: T) -> Callable[[], None]:
        """Have `taker` asked about whatever comes from the IP address of `remote`, and be the first
        for what comes from that very port. Returns what ends that, and may be called twice."""
        host, entry = _host(remote), (remote[1], taker)
        self._takers.setdefault(host, []).append(entry)

        def end() -> None:
            entries = self._takers.get(host, [])
            if entry in entries:
                entries.remove(entry)
                if not entries:
                    del self._takers[host]

        return end

    def first(self, source: Endpoint) -> T | None:
        """The taker for `source`: one that waits for this port, else the one longest there."""
        entries = self._takers.get(_host(source)) if self._takers else None
        if not entries:
            return None
        return next((taker for port, taker in entries if port == source[1]), entries[0][1])

    def offer(self, source: Endpoint, take: Callable[[T], bool], *, in_turn: bool = True) -> bool:
        """Ask the takers for `source` one by one, until one takes. Returns whether one did.

        Args:
            in_turn: the one that took is asked last the next time: several peers may be behind one
                address.
        """
        entries = self._takers.get(_host(source)) if self._takers else None
        for entry in sorted(entries or (), key=lambda entry: entry[0] != source[1]):
            if take(entry[1]):
                if in_turn and entries and entry in entries:
                    entries.remove(entry)
                    entries.append(entry)
                return True
        return False


def _host(endpoint: Endpoint) -> _Host:
    return ipaddress.ip_address(endpoint[0].partition("%")[0])
