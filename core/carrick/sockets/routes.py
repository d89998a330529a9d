"""The routing table of Linux, as /proc/net/route has it. No I/O."""

from __future__ import annotations

import ipaddress
import sys

__all__ = ["default_gateways"]

_UP, _GATEWAY = 0x1, 0x2  # linux/route.h: RTF_UP, RTF_GATEWAY


def default_gateways(table: str) -> list[str]:
    """The IPv4 addresses of the gateways of the default routes, that of the lowest metric first.

    Args:
        table: a line of names, then a line for each route: interface, destination, gateway, flags,
            two counters, metric, mask. Addresses are hexadecimal, in the machine's byte order.
            Lines that are something else are passed over.
    """
    found: list[tuple[int, str]] = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        try:
            destination, gateway, flags, mask = (int(fields[i], 16) for i in (1, 2, 3, 7))
            address = ipaddress.IPv4Address(gateway.to_bytes(4, sys.byteorder))
            metric = int(fields[6])
        except (ValueError, IndexError, OverflowError):
            continue
        if not destination and not mask and gateway and flags & _UP and flags & _GATEWAY:
            found.append((metric, str(address)))
    return list(dict.fromkeys(address for _, address in sorted(found, key=lambda each: each[0])))
