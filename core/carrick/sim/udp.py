"""UDP sockets (RFC 768) of simulated hosts."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.sim.packet import UDP, Endpoint, Packet, canonical, is_multicast
from carrick.sim.waiting import Waiter

if TYPE_CHECKING:
    from carrick.sim.stack import Stack

__all__ = ["UdpSocket"]

Buffer: TypeAlias = bytes | bytearray | memoryview

BUFFER_SIZE = 4 << 20  # bytes that wait to be read; more are dropped
MAX_TRAIN = 64  # datagrams (Linux UDP_MAX_SEGMENTS)
MAX_DATAGRAM = {4: 65_507, 6: 65_527}  # bytes: 65,535 less the headers
MTU_PAYLOAD = {4: 1472, 6: 1452}  # bytes that fit a packet of 1500


class UdpSocket:
    """A bound UDP socket; the calls of `DatagramSocket`.

    Datagrams bigger than the MTU travel, as IP fragments would, unless the link loses them.

    Attributes:
        local: the endpoint that it is bound to.
        remote: only datagrams from there are received; None for all.
        unreachable: whether an ICMP message said that `remote` does not listen.
        on_datagram: takes each datagram and its sender in place of the queue.
    """

    def __init__(self, stack: Stack, local: Endpoint) -> None:
        self.local = local
        self.remote: Endpoint | None = None
        self.unreachable = False
        self.max_train = MAX_TRAIN
        self.multicast_loop = True
        self.multicast_interface: str | None = None
        self.on_datagram: Callable[[bytes, Endpoint], None] | None = None
        self._stack = stack
        self._groups: set[tuple[str, str]] = set()
        self._received: deque[tuple[bytes, int, Endpoint]] = deque()
        self._size = 0
        self._readable = Waiter()
        self._closed = False

    def recv_into(self, buffer: memoryview) -> tuple[int, int, Endpoint] | None:
        self._require_descriptor()
        if not self._received:
            return None
        data, segment, sender = self._received.popleft()
        self._size -= len(data)
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        return size, min(segment or size, size), sender

    def receive_one(self) -> tuple[bytes, Endpoint] | None:
        """The next datagram alone; None if there is none."""
        self._require_descriptor()
        if not self._received:
            return None
        data, segment, sender = self._received.popleft()
        if segment and segment < len(data):
            self._received.appendleft((data[segment:], segment, sender))
            data = data[:segment]
        self._size -= len(data)
        return data, sender

    def send(self, data: Buffer, segment: int, remote: Endpoint) -> bool:
        self._require_descriptor()
        ip = canonical(remote[0])
        version = 6 if ":" in ip else 4
        if (":" in self.local[0]) != (version == 6):
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        payload = bytes(data)
        is_train = 0 < segment < len(payload)
        if is_train and (
            len(payload) > MAX_DATAGRAM[version]
            or segment > MTU_PAYLOAD[version]
            or segment * MAX_TRAIN < len(payload)
        ):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if len(payload) > MAX_DATAGRAM[version]:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        local = self.local
        if is_multicast(ip) and self.multicast_interface is not None:
            source = self.multicast_interface
        else:
            source = self._stack.source_for(ip, local[0])
        packet = Packet(
            UDP,
            (source, local[1]),
            (ip, remote[1]),
            0,
            payload,
            segment=segment if is_train else 0,
        )
        if is_multicast(ip) and self.multicast_loop:
            self._stack.loop_multicast(packet)
        self._stack.send(packet)
        return True

    async def wait_readable(self) -> None:
        self._require_open()
        if self._received or self.unreachable:
            await trio.lowlevel.checkpoint()
        else:
            await self._readable.wait()
        self._require_open()

    async def wait_writable(self) -> None:
        """Returns at once: a datagram that finds no room is lost, not held up."""
        self._require_open()
        await trio.lowlevel.checkpoint()
        self._require_open()

    def join(self, group: str, interface: str) -> None:
        """Receive what is sent to the multicast address `group` on the LAN of `interface`.

        Raises:
            OSError: ENODEV, `interface` is no address of this host.
        """
        self._require_descriptor()
        interface = canonical(interface)
        if not self._stack.owns(interface):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        self._groups.add((canonical(group), interface))
        self.multicast_interface = interface

    def leave(self, group: str) -> None:
        """Undo `join`."""
        group = canonical(group)
        self._groups = {(joined, where) for joined, where in self._groups if joined != group}

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._stack.forget_udp(self)
            self._received.clear()
            self._readable.wake()

    vanish = close

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def has_input(self) -> bool:
        return bool(self._received)

    def joined(self, group: str, interfaces: list[str]) -> bool:
        """Whether a datagram to `group` that came to one of `interfaces` is for this socket."""
        return any((group, interface) in self._groups for interface in interfaces)

    def deliver(self, packet: Packet) -> None:
        """A datagram, or a train, arrived."""
        if self.on_datagram is not None:
            size = packet.segment or len(packet.payload) or 1
            for start in range(0, max(1, len(packet.payload)), size):
                self.on_datagram(packet.payload[start : start + size], packet.source)
            return
        if self._size + len(packet.payload) > BUFFER_SIZE:
            packet.lost("receive buffer full")
            return
        self._size += len(packet.payload)
        self._received.append((packet.payload, packet.segment, packet.source))
        self._readable.wake()

    def refused(self) -> None:
        """An ICMP message came; it concerns only a socket that is connected."""
        self.unreachable = True
        self._readable.wake()

    def _require_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the socket was closed")

    def _require_descriptor(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
