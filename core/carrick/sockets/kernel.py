"""Opens sockets of the operating system."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

import trio

from carrick.interfaces import Endpoint, IPInterface
from carrick.sockets.routes import default_gateways
from carrick.sockets.tcp import KernelListener, KernelSocket
from carrick.sockets.udp import KernelDatagramSocket

__all__ = ["KernelSockets"]

_MAX_ROUTES = 1 << 20  # characters of the routing table, 128 a route


class KernelSockets:
    """Opens sockets of the operating system; see `SocketOpener`."""

    def __init__(self) -> None:
        self._interfaces: list[IPInterface] = []

    async def connect_tcp(self, remote: Endpoint, *, local: Endpoint | None = None) -> KernelSocket:
        connecting = socket.socket(_family(remote), socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            if local is not None:
                _share_port(connecting)
                connecting.bind(local)
            code = connecting.connect_ex(remote)
            if code == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(connecting.fileno())
                code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            connected = KernelSocket(connecting)
            if connected.local == connected.remote:
                # TCP lets a socket open simultaneously with itself when it dials its own port.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
            return connected
        except BaseException:
            connecting.close()
            raise

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> KernelListener:
        listening = socket.socket(_family(local), socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listening.family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(local)
            listening.listen(backlog)
            # Only after the bind: so a port that another listener holds is still an error, while
            # our own dials may leave from this port.
            _share_port(listening)
            return KernelListener(listening)
        except BaseException:
            listening.close()
            raise

    async def open_udp(self, local: Endpoint, *, share_port: bool = False) -> KernelDatagramSocket:
        bound = socket.socket(_family(local), socket.SOCK_DGRAM)
        try:
            bound.setblocking(False)
            if bound.family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if share_port:
                _share_port(bound)
            bound.bind(local)
            return KernelDatagramSocket(bound)
        except BaseException:
            bound.close()
            raise

    def interface_addresses(self) -> list[IPInterface]:
        """See `SocketOpener`; as they were when last asked, while no descriptor is free to ask."""
        try:
            self._interfaces = _ask_interfaces()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        return list(self._interfaces)

    def default_gateways(self) -> list[str]:
        """From the routing table of Linux; elsewhere none is known."""
        try:
            with open("/proc/net/route", encoding="ascii", errors="replace") as table:
                return default_gateways(table.read(_MAX_ROUTES))
        except OSError:  # another system, or a sandbox
            return []


def _ask_interfaces() -> list[IPInterface]:
    import psutil  # some ms, and most programs never ask

    states = psutil.net_if_stats()
    return [
        ipaddress.ip_interface(f"{entry.address}/{_prefix_length(entry.netmask)}")
        for name, entries in psutil.net_if_addrs().items()
        if name not in states or states[name].isup
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    ]


def _family(endpoint: Endpoint) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET


def _share_port(target: socket.socket) -> None:
    target.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        target.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _prefix_length(netmask: str | None) -> str:
    """The length of the network's prefix in bits, or nothing: the network is the address alone."""
    if not netmask:
        return ""
    return str(int(ipaddress.ip_address(netmask.partition("%")[0])).bit_count())
