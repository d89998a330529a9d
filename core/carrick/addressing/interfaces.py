"""The IP addresses of this host."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from carrick.addressing.address import IPAddress


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An IP address of a network interface that is up.

    `name` is the interface's name, `prefix_length` the length of its network's prefix in bits, if
    it is known. A link-local IPv6 address carries its zone as `scope_id`.
    """

    name: str
    ip: IPAddress
    prefix_length: int | None


def interface_addresses() -> list[InterfaceAddress]:
    """The IP addresses of all interfaces that are up, loopback included, as they are now."""
    import psutil  # some ms, and most programs never ask

    states = psutil.net_if_stats()
    return [
        InterfaceAddress(name, ipaddress.ip_address(entry.address), _prefix_length(entry.netmask))
        for name, entries in psutil.net_if_addrs().items()
        if name not in states or states[name].isup
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]


def _prefix_length(netmask: str | None) -> int | None:
    if not netmask:
        return None
    mask = int(ipaddress.ip_address(netmask.partition("%")[0]))
    return mask.bit_count()
