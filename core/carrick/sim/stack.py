"""The TCP and UDP of one simulated host: who has which port, and who gets which packet."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Protocol

from carrick.sim.events import EventQueue
from carrick.sim.listener import TcpListener
from carrick.sim.packet import (
    ACK,
    RST,
    SYN,
    TCP,
    UDP,
    UNREACHABLE,
    Endpoint,
    Packet,
    canonical,
    is_multicast,
    is_unspecified,
)
from carrick.sim.tcp import TcpConnection
from carrick.sim.udp import UdpSocket

__all__ = ["Stack"]

WINDOW = 256 * 1024  # bytes of receive buffer per TCP connection
FIRST_EPHEMERAL, LAST_EPHEMERAL = 32768, 60999  # Linux ip_local_port_range


class Network(Protocol):
    """What a stack needs of its host."""

    def emit(self, packet: Packet) -> None: ...
    def source_for(self, destination: str) -> str | None: ...
    def owns(self, ip: str) -> bool: ...
    def bandwidth_from(self, ip: str) -> float: ...


class Stack:
    """Ports, connections and sockets of one host.

    Args:
        window: bytes of receive buffer per TCP connection.
    """

    def __init__(
        self, network: Network, events: EventQueue, rng: Random, *, window: int = WINDOW
    ) -> None:
        self.events = events
        self.window = window
        self.send: Callable[[Packet], None] = network.emit
        self.owns = network.owns
        self.bandwidth_from = network.bandwidth_from
        self._network = network
        self._rng = rng
        self._connections: dict[tuple[Endpoint, Endpoint], TcpConnection] = {}
        self._listeners: dict[Endpoint, TcpListener] = {}
        self._udp: dict[Endpoint, list[UdpSocket]] = {}
        self._ephemeral = rng.randint(FIRST_EPHEMERAL, LAST_EPHEMERAL)

    # --- opening ----------------------------------------------------------------------------------

    def connect(self, remote: Endpoint, local: Endpoint | None = None) -> TcpConnection:
        """Start a connection.

        Raises:
            OSError: EADDRNOTAVAIL, ENETUNREACH, ECONNREFUSED (the socket would meet itself).
        """
        ip = canonical(remote[0])
        if is_unspecified(ip):
            ip = "::1" if ":" in ip else "127.0.0.1"
        remote = (ip, remote[1])
        here = self.source_for(ip, canonical(local[0]) if local else None)
        if local is not None and local[1]:
            source = (here, local[1])
            if not self._is_free(source, remote):
                raise _error(errno.EADDRNOTAVAIL)
        else:
            source = self._ephemeral_port(
                here, lambda endpoint: self._is_free(endpoint, remote) and not self._bound(endpoint)
            )
        if source == remote:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
        connection = TcpConnection(self, source, remote)
        self._connections[source, remote] = connection
        connection.start()
        return connection

    def listen(self, local: Endpoint, backlog: int) -> TcpListener:
        """Raises:
        OSError: EADDRINUSE, EADDRNOTAVAIL.
        """
        local = self._bindable(local)
        if local[1] == 0:
            local = self._ephemeral_port(local[0], lambda endpoint: not self._bound(endpoint))
        elif self._bound(local):
            raise _error(errno.EADDRINUSE)
        listener = TcpListener(self, local, backlog)
        self._listeners[local] = listener
        return listener

    def reserve(self, local: Endpoint) -> Endpoint:
        """The endpoint that a TCP socket is bound to, with a free port if 0 is asked for.

        Several sockets may be bound to one port; only one can listen there.

        Raises:
            OSError: EADDRNOTAVAIL.
        """
        local = self._bindable(local)
        if local[1]:
            return local
        return self._ephemeral_port(local[0], lambda endpoint: not self._bound(endpoint))

    def open_udp(self, local: Endpoint, *, share_port: bool = False) -> UdpSocket:
        """Raises:
        OSError: EADDRINUSE, EADDRNOTAVAIL.
        """
        local = self._bindable(local)
        if local[1] == 0:
            local = self._ephemeral_port(local[0], lambda end: not any(_taken(self._udp, end)))
        elif not share_port and any(_taken(self._udp, local)):
            raise _error(errno.EADDRINUSE)
        socket = UdpSocket(self, local)
        self._udp.setdefault(local, []).append(socket)
        return socket

    def source_for(self, destination: str, local: str | None = None) -> str:
        """The address to send from.

        Raises:
            OSError: EADDRNOTAVAIL, `local` is not ours; ENETUNREACH, no way there.
        """
        if local is not None and not is_unspecified(local):
            if not self.owns(local):
                raise _error(errno.EADDRNOTAVAIL)
            if (":" in local) != (":" in destination):
                raise _error(errno.ENETUNREACH)
            return local
        source = self._network.source_for(destination)
        if source is None:
            raise _error(errno.ENETUNREACH)
        return source

    def initial_sequence(self) -> int:
        return self._rng.getrandbits(32)

    # --- arriving ---------------------------------------------------------------------------------

    def receive(self, packet: Packet, interfaces: list[str]) -> None:
        """A packet for this host, which came to the interface with these addresses, arrived."""
        if packet.protocol == TCP:
            self._receive_tcp(packet)
        elif is_multicast(packet.destination[0]):
            for socket in self._udp_sockets(packet.destination[1]):
                if socket.joined(packet.destination[0], interfaces):
                    socket.deliver(packet)
        else:
            self._receive_udp(packet)

    def loop_multicast(self, packet: Packet) -> None:
        """What this host sends to a group, its own members of the group receive too."""
        self.events.soon(self.receive, packet.copy(), [packet.source[0]])

    def refuse(self, packet: Packet) -> None:
        """Answer a segment for which there is no connection (RFC 9293, section 3.5.2)."""
        self.send(refusal(packet))

    def _receive_tcp(self, packet: Packet) -> None:
        key = packet.destination, packet.source
        connection = self._connections.get(key)
        opens = packet.flags & (SYN | ACK | RST) == SYN
        if connection is not None and not (opens and connection.is_over):
            connection.receive(packet)
            return
        if not opens:
            if not packet.flags & RST:
                self.refuse(packet)
            return
        ip, port = packet.destination
        listener = self._listeners.get(packet.destination) or self._listeners.get((_any(ip), port))
        if listener is None:
            self.refuse(packet)
        elif listener.is_full:
            packet.lost("backlog full")
        else:
            if connection is not None:
                self.forget(connection)
            accepted = TcpConnection(self, packet.destination, packet.source, listener)
            self._connections[key] = accepted
            listener.begin(accepted)
            accepted.answer(packet)

    def _receive_udp(self, packet: Packet) -> None:
        for socket in self._sockets_at(packet.destination):
            if socket.remote is not None and socket.remote != packet.source:
                continue
            if not packet.flags & UNREACHABLE:
                socket.deliver(packet)
            elif socket.remote is not None:
                socket.refused()
            return
        if not packet.flags & UNREACHABLE:
            self.send(refusal(packet))

    # --- ending -----------------------------------------------------------------------------------

    def forget(self, connection: TcpConnection) -> None:
        key = connection.local, connection.remote
        if self._connections.get(key) is connection:
            del self._connections[key]

    def forget_listener(self, listener: TcpListener) -> None:
        if self._listeners.get(listener.local) is listener:
            del self._listeners[listener.local]

    def forget_udp(self, socket: UdpSocket) -> None:
        sockets = self._udp.get(socket.local, [])
        if socket in sockets:
            sockets.remove(socket)
            if not sockets:
                del self._udp[socket.local]

    def vanish(self) -> None:
        """Every socket ends, and nobody on the network is told."""
        ending: list[TcpConnection | TcpListener | UdpSocket] = [
            *self._connections.values(),
            *self._listeners.values(),
            *(socket for sockets in self._udp.values() for socket in sockets),
        ]
        for socket in ending:
            socket.vanish()
        self._connections.clear()
        self._listeners.clear()
        self._udp.clear()

    # --- ports ------------------------------------------------------------------------------------

    def _bindable(self, local: Endpoint) -> Endpoint:
        ip = canonical(local[0])
        if not (is_unspecified(ip) or is_multicast(ip) or self.owns(ip)):
            raise _error(errno.EADDRNOTAVAIL)
        return ip, local[1]

    def _bound(self, local: Endpoint) -> bool:
        return any(_taken(self._listeners, local))

    def _is_free(self, local: Endpoint, remote: Endpoint) -> bool:
        connection = self._connections.get((local, remote))
        return connection is None or connection.is_over

    def _ephemeral_port(self, ip: str, is_free: Callable[[Endpoint], bool]) -> Endpoint:
        for _ in range(FIRST_EPHEMERAL, LAST_EPHEMERAL + 1):
            self._ephemeral += 1
            if self._ephemeral > LAST_EPHEMERAL:
                self._ephemeral = FIRST_EPHEMERAL
            endpoint = ip, self._ephemeral
            if is_free(endpoint):
                return endpoint
        raise _error(errno.EADDRINUSE)

    def _sockets_at(self, local: Endpoint) -> list[UdpSocket]:
        """Those that may receive what is sent to `local`: connected ones first, then the newest."""
        exact = self._udp.get(local)
        others = self._udp.get((_any(local[0]), local[1]))
        if exact is None and others is None:
            return []
        found = [*reversed(exact or ()), *reversed(others or ())]
        return sorted(found, key=lambda socket: socket.remote is None) if len(found) > 1 else found

    def _udp_sockets(self, port: int) -> Iterable[UdpSocket]:
        return [
            socket
            for (_, bound), sockets in self._udp.items()
            if bound == port
            for socket in sockets
        ]


def refusal(packet: Packet) -> Packet:
    """What a closed port answers: RST, or an ICMP message."""
    if packet.protocol == UDP:
        return Packet(UDP, packet.destination, packet.source, UNREACHABLE)
    if packet.flags & ACK:
        return Packet(TCP, packet.destination, packet.source, RST, seq=packet.ack)
    answer = Packet(TCP, packet.destination, packet.source, RST | ACK)
    answer.ack = packet.seq + len(packet.payload) + 1
    return answer


def _any(ip: str) -> str:
    return "::" if ":" in ip else "0.0.0.0"


def _taken(ports: Mapping[Endpoint, object], local: Endpoint) -> list[Endpoint]:
    """The endpoints in `ports` that overlap with `local`."""
    ip, port = local
    if is_unspecified(ip):
        return [other for other in ports if other[1] == port and (":" in other[0]) == (":" in ip)]
    return [other for other in ((ip, port), (_any(ip), port)) if other in ports]


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
