"""Hears what a gateway multicasts when it starts, or gets another address."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv4Address

from carrick.interfaces import SocketOpener
from carrick.protocols.portmap.natpmp import ANNOUNCE_GROUP, ANNOUNCE_PORT

__all__ = ["hear_announcements"]

_log = logging.getLogger("carrick.portmap")


async def hear_announcements(
    sockets: SocketOpener, local: IPv4Address, server: str, heard: Callable[[], None]
) -> None:
    """Call `heard` for each announcement of `server`, until cancelled.

    Anybody can forge one, so it says no more than that it is time to ask (RFC 6886 section 3.2.1,
    RFC 6887 section 14.1).
    """
    try:
        socket = await sockets.open_udp(("0.0.0.0", ANNOUNCE_PORT), share_port=True)
    except OSError as error:
        _log.debug("announcements of the gateway are not heard: %s", error)
        return
    buffer = memoryview(bytearray(2048))
    try:
        socket.join(ANNOUNCE_GROUP, str(local))
        while True:
            await socket.wait_readable()
            received = socket.recv_into(buffer)
            if received is not None and received[2][0] == server:
                heard()
    except OSError as error:
        _log.debug("announcements of the gateway are not heard: %s", error)
    finally:
        socket.close()
