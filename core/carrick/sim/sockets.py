"""Opens sockets on a simulated host: the calls of `SocketOpener`."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

import trio

from carrick.sim.listener import TcpListener
from carrick.sim.packet import Endpoint
from carrick.sim.tcp import TcpConnection
from carrick.sim.udp import UdpSocket

if TYPE_CHECKING:
    from carrick.sim.host import Host

__all__ = ["Sockets"]


class Sockets:
    """The socket opener of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def connect_tcp(
        self, remote: Endpoint, *, local: Endpoint | None = None
    ) -> TcpConnection:
        """Connect, from `local` if it is given, a port that a listener may have too.

        Raises:
            OSError: ECONNREFUSED, ETIMEDOUT (after 127 s), EADDRNOTAVAIL (there is or will be a
                connection between these endpoints), ENETUNREACH.
        """
        connection = self._host.stack.connect(remote, local)
        try:
            await connection.connected()
        except BaseException:
            connection.close()
            raise
        return connection

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> TcpListener:
        """Raises:
        OSError: EADDRINUSE, EADDRNOTAVAIL.
        """
        await trio.lowlevel.checkpoint()
        return self._host.stack.listen(local, backlog)

    async def open_udp(self, local: Endpoint, *, share_port: bool = False) -> UdpSocket:
        """Raises:
        OSError: EADDRINUSE, EADDRNOTAVAIL.
        """
        await trio.lowlevel.checkpoint()
        return self._host.stack.open_udp(local, share_port=share_port)

    def interface_addresses(self) -> list[IPv4Interface | IPv6Interface]:
        """The IP addresses with their networks, loopback included, as they are now."""
        return self._host.interface_addresses()

    def default_gateways(self) -> list[str]:
        """The IPv4 addresses of the routers of the networks that the host is on."""
        return self._host.default_gateways()
