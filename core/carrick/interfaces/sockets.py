"""Sockets: the one seam between Carrick and an operating system or a simulated internet."""

from __future__ import annotations

import ipaddress
from typing import Protocol, TypeAlias

from carrick.interfaces.basic import Buffer, Endpoint

__all__ = ["ByteListener", "ByteSocket", "DatagramSocket", "IPInterface", "SocketOpener"]

IPInterface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class ByteSocket(Protocol):
    """A connected byte stream. Calls never wait; only the two `wait_` methods do.

    Errors of the operating system come out as `OSError`.
    """

    @property
    def local(self) -> Endpoint: ...
    @property
    def remote(self) -> Endpoint: ...

    def recv_into(self, buffer: memoryview) -> int | None:
        """Receive into `buffer`. Returns the count, 0 at end of file, None if it would wait."""

    def send(self, data: memoryview) -> int | None:
        """Send a prefix of `data`. Returns its length, None if it would wait.

        After a partial send the next call must offer the bytes that follow the ones sent: a
        stream cipher may stand below.
        """

    async def wait_readable(self) -> None: ...
    async def wait_writable(self) -> None: ...

    def close(self) -> None:
        """Close in order: what was sent still arrives. Idempotent.

        Tasks in a `wait_` method get `trio.ClosedResourceError`.
        """

    def abort(self) -> None:
        """Close at once (RST); unsent bytes are dropped. Idempotent."""


class ByteListener(Protocol):
    """A listening socket."""

    @property
    def local(self) -> Endpoint: ...

    async def accept(self) -> ByteSocket:
        """The next connection. Survives EMFILE and aborted connections by itself.

        Raises:
            trio.ClosedResourceError: the listener was closed.
        """

    def close(self) -> None: ...


class DatagramSocket(Protocol):
    """A bound UDP socket. Calls never wait; only the two `wait_` methods do.

    Datagrams of one peer travel in trains where the system can (GSO and GRO on Linux): several of
    one size, the last perhaps shorter, joined in one buffer, for one call. Errors of the operating
    system come out as `OSError`; what an ICMP message says of one destination is not raised.
    """

    @property
    def local(self) -> Endpoint: ...

    @property
    def max_train(self) -> int:
        """How many datagrams `send` takes in one call; 1 where the system knows no trains."""

    def recv_into(self, buffer: memoryview) -> tuple[int, int, Endpoint] | None:
        """Receive one train into `buffer`, which should hold 65535 bytes.

        Returns:
            the bytes received, the size of each datagram but the last, the sender; None if it would
            wait. An empty datagram is (0, 0, sender).
        """

    def send(self, data: Buffer, segment: int, remote: Endpoint) -> bool:
        """Send `data` to `remote` as datagrams of `segment` bytes: at most `max_train` of them, and
        65,000 bytes together.

        Returns:
            False if it would wait: nothing was sent. Datagrams may get lost at any later point.
        """

    async def wait_readable(self) -> None: ...
    async def wait_writable(self) -> None: ...

    def join(self, group: str, interface: str) -> None:
        """Receive what is sent to the multicast address `group` too.

        Args:
            interface: an address of the interface to join on, which then also carries what is sent
                to `group`.
        """

    def close(self) -> None:
        """Idempotent. Tasks in a `wait_` method get `trio.ClosedResourceError`."""


class SocketOpener(Protocol):
    """Makes sockets: kernel sockets, or those of a simulated host."""

    async def connect_tcp(self, remote: Endpoint, *, local: Endpoint | None = None) -> ByteSocket:
        """Connect, from `local` if it is given (a port that may be shared with a listener).

        Raises:
            OSError: as the operating system says.
        """

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> ByteListener: ...

    async def open_udp(self, local: Endpoint, *, share_port: bool = False) -> DatagramSocket:
        """Bind a UDP socket.

        Args:
            share_port: others may bind the same port too, as every mDNS responder does.

        Raises:
            OSError: as the operating system says.
        """

    def interface_addresses(self) -> list[IPInterface]:
        """The IP addresses, with their networks, of the interfaces that are up, as they are now,
        loopback included. A link-local IPv6 address carries its zone as `scope_id`."""

    def default_gateways(self) -> list[str]:
        """The IPv4 addresses of the routers that lead elsewhere, the preferred one first; empty
        where there is none, or where the system is not asked."""
