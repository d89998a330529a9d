"""UDP sockets of the operating system, with trains of datagrams where it is Linux."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

import trio

from carrick.interfaces import Buffer, Endpoint

__all__ = ["KernelDatagramSocket"]

BUFFER_SIZE = 4 << 20  # bytes; the system may grant less (as quic-go asks: 7 MiB, quinn: none)
UDP_SEGMENT = 103  # linux/udp.h; the socket module has neither
UDP_GRO = 104
MAX_TRAIN = 64  # UDP_MAX_SEGMENTS of Linux
_GRO_ROOM = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0

# What an earlier datagram brought back (ICMP), or a destination that cannot be reached at present:
# as if that datagram was lost.
_LOST = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOBUFS,
    errno.EPERM,
}


class KernelDatagramSocket:
    """A bound UDP socket of the operating system; see `DatagramSocket`."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, option, BUFFER_SIZE)
        self._receives_trains = _try_option(bound, UDP_GRO, 1)
        self.max_train = MAX_TRAIN if _try_option(bound, UDP_SEGMENT, 0) else 1
        self.local: Endpoint = bound.getsockname()[:2]

    def recv_into(self, buffer: memoryview) -> tuple[int, int, Endpoint] | None:
        while True:
            try:
                if not self._receives_trains:
                    received, sender = self._socket.recvfrom_into(buffer)
                    return received, received, sender[:2]
                received, ancillary, _, sender = self._socket.recvmsg_into([buffer], _GRO_ROOM)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                if error.errno in _LOST:
                    continue
                raise
            for level, kind, data in ancillary:
                if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
                    return received, struct.unpack("i", data)[0], sender[:2]
            return received, received, sender[:2]

    def send(self, data: Buffer, segment: int, remote: Endpoint) -> bool:
        try:
            if len(data) <= segment:
                self._socket.sendto(data, remote)
            else:
                train = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", segment))]
                self._socket.sendmsg([data], train, 0, remote)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            if error.errno not in _LOST:
                raise
        return True

    async def wait_readable(self) -> None:
        self._require_open()
        await trio.lowlevel.wait_readable(self._socket.fileno())

    async def wait_writable(self) -> None:
        self._require_open()
        await trio.lowlevel.wait_writable(self._socket.fileno())

    def join(self, group: str, interface: str) -> None:
        ours = ipaddress.ip_address(interface)
        members = socket.inet_pton(self._socket.family, group)
        if ours.version == 4:
            self._socket.setsockopt(
                socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, members + ours.packed
            )
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, ours.packed)
        else:
            index = _interface_index(interface)
            self._socket.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, members + struct.pack("@I", index)
            )
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()

    def _require_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the socket was closed")


def _try_option(target: socket.socket, option: int, value: int) -> bool:
    try:
        target.setsockopt(socket.IPPROTO_UDP, option, value)
    except OSError:
        return False
    return hasattr(target, "recvmsg_into")


def _interface_index(address: str) -> int:
    """The index of the interface that has this IPv6 address; 0 lets the system choose."""
    import psutil

    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address.partition("%")[0] for entry in entries):
            return socket.if_nametoindex(name)
    return 0
