"""TCP ports that the transports of one host share.

One kernel listener serves plain libp2p, HTTP (WebSocket) and TLS (secure WebSocket). Where there
are several, the first bytes of a connection tell them apart, in its upgrade and under its
deadline: the dialer speaks first in all of them.

While a peer is punched towards, what comes from its IP address goes to the punch instead, and so
does what came a moment ago and has not said a word: there it may be us who must speak first.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from carrick.addressing import endpoint_address
from carrick.errors import HandshakeError, ListenError
from carrick.interfaces import Budget, ByteListener, ByteSocket, Endpoint, SocketOpener
from carrick.transports.bytestream.connection import ByteStreamConnection
from carrick.transports.interception import Interceptions

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = [
    "Greeting",
    "PortInbound",
    "PortListener",
    "PrefetchedSocket",
    "Serve",
    "SharedPorts",
    "Take",
]

Serve: TypeAlias = Callable[[ByteSocket, Budget], Awaitable[ByteStreamConnection]]
"""Upgrades an accepted socket, or closes it and raises."""
Take: TypeAlias = Callable[[ByteSocket], bool]
"""Takes an accepted socket, or declines it; must not wait."""

_LONGEST = 4  # bytes that decide


class Greeting(enum.Enum):
    """What a dialer says first."""

    LIBP2P = b""
    """Whatever is none of the others: multistream-select's 0x13, a private network's nonce."""
    HTTP = b"GET "
    TLS = b"\x16\x03"  # a handshake record of any version, RFC 8446 section 5.1


def _recognize(start: bytes) -> Greeting | None:
    """None: more bytes are needed."""
    for greeting in (Greeting.HTTP, Greeting.TLS):
        if start.startswith(greeting.value):
            return greeting
        if greeting.value.startswith(start):
            return None
    return Greeting.LIBP2P


class SharedPorts:
    """The TCP ports that the transports of one host listen on."""

    def __init__(self) -> None:
        self._ports: list[_Port] = []

    async def listen(
        self,
        sockets: SocketOpener,
        address: Multiaddr,
        endpoint: Endpoint,
        greeting: Greeting,
        serve: Serve,
    ) -> PortListener:
        """Listen on `endpoint` for connections that begin with `greeting`.

        A port that a transport of this host listens on already, for another greeting, is shared;
        so is one that was given as port 0 of the same host.

        Raises:
            ListenError: the operating system refuses.
        """
        for port in self._ports:
            if endpoint in (port.asked, port.bound.local) and greeting not in port.routes:
                await trio.lowlevel.checkpoint()
                break
        else:
            try:
                bound = await sockets.listen_tcp(endpoint)
            except OSError as error:
                reason = error.strerror or str(error)
                raise ListenError(f"cannot listen: {reason}", address=address) from error
            port = _Port(endpoint, bound)
            self._ports.append(port)
        port.routes[greeting] = serve
        return PortListener(self, port, greeting)

    def intercept(self, local: Endpoint, remote: Endpoint, take: Take) -> Callable[[], None]:
        """Offer what is accepted at `local` from the IP address of `remote` to `take`, before any
        transport: also what was accepted before, and still waits for the dialer's first words.

        Returns what ends that; nothing is offered then any more.
        """
        port = next((each for each in self._ports if each.bound.local == local), None)
        if port is None:
            return lambda: None
        end = port.interceptions.add(remote, take)
        for inbound in tuple(port.unheard):
            inbound.offer()
        return end

    def leave(self, port: _Port, greeting: Greeting) -> None:
        port.routes.pop(greeting, None)
        if not port.routes and port in self._ports:
            self._ports.remove(port)
            port.bound.close()


class _Port:
    def __init__(self, asked: Endpoint, bound: ByteListener) -> None:
        self.asked = asked
        self.bound = bound
        self.routes: dict[Greeting, Serve] = {}
        self.turn = trio.Lock()
        self.interceptions: Interceptions[Take] = Interceptions()
        self.unheard: dict[PortInbound, None] = {}
        """Those whose dialer has not said a word yet; as many as the swarm lets be pending."""

    def offer(self, socket: ByteSocket) -> bool:
        """Whether a punch took it."""
        return bool(self.interceptions) and self.interceptions.offer(
            socket.remote, lambda take: take(socket)
        )

    async def serve(self, socket: ByteSocket, budget: Budget) -> ByteStreamConnection:
        routes = self.routes
        if len(routes) > 1:
            socket, greeting = await _greeted(socket)
            # Nobody's greeting goes to whoever is there, who says what is wrong with it.
            serve = routes.get(greeting) or routes.get(Greeting.LIBP2P)
        else:
            serve = None
        serve = serve or next(iter(routes.values()), None)
        if serve is None:
            socket.abort()
            raise HandshakeError("the listener was closed")
        return await serve(socket, budget)


class PortListener:
    """A transport's listener on a port, see `carrick.interfaces.Listener`.

    Whichever of a port's listeners accepts a connection, the greeting decides whose it is.
    """

    def __init__(self, ports: SharedPorts, port: _Port, greeting: Greeting) -> None:
        self._ports = ports
        self._port = port
        self._greeting = greeting
        self._closed = False
        self._accepting = trio.CancelScope()
        self.endpoint = port.bound.local
        self.address = endpoint_address(port.bound.local)

    async def accept(self) -> PortInbound:
        if not self._closed:
            with trio.CancelScope() as self._accepting:
                turn = self._port.turn
                try:
                    turn.acquire_nowait()
                except trio.WouldBlock:
                    await turn.acquire()
                try:
                    while self._port.offer(socket := await self._port.bound.accept()):
                        pass
                    return PortInbound(self._port, socket)
                finally:
                    turn.release()
        raise trio.ClosedResourceError("the listener was closed")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._accepting.cancel()
            self._ports.leave(self._port, self._greeting)


class PortInbound:
    """See `carrick.interfaces.InboundConnection`."""

    def __init__(self, port: _Port, socket: ByteSocket) -> None:
        self._port = port
        self._socket = socket
        self._hearing = trio.CancelScope()
        self.local_address = endpoint_address(socket.local)
        self.remote_address = endpoint_address(socket.remote)
        port.unheard[self] = None

    def offer(self) -> None:
        """Leave it to a punch, if one wants it."""
        if self._port.offer(self._socket):
            del self._port.unheard[self]
            self._hearing.cancel()

    async def upgrade(self, budget: Budget) -> ByteStreamConnection:
        unheard = self._port.unheard
        with self._hearing:
            try:
                await self._socket.wait_readable()
            except BaseException:
                if self in unheard:
                    del unheard[self]
                    self._socket.close()
                raise
        if self not in unheard:
            raise HandshakeError("a hole punch took it over")
        del unheard[self]
        return await self._port.serve(self._socket, budget)

    def refuse(self) -> None:
        if self._port.unheard.pop(self, self) is None:
            self._socket.abort()


class PrefetchedSocket:
    """A `ByteSocket` that has some received bytes in hand; once they are taken, it costs nothing.

    Args:
        received: at least one byte.
    """

    def __init__(self, socket: ByteSocket, received: bytes) -> None:
        self._received = received
        self._socket = socket
        self.local, self.remote = socket.local, socket.remote
        self.recv_into: Callable[[memoryview], int | None] = self._take
        self.wait_readable: Callable[[], Coroutine[Any, Any, None]] = trio.lowlevel.checkpoint
        self.send, self.wait_writable = socket.send, socket.wait_writable
        self.close, self.abort = socket.close, socket.abort

    def _take(self, buffer: memoryview) -> int:
        size = min(len(self._received), len(buffer))
        buffer[:size] = self._received[:size]
        self._received = self._received[size:]
        if not self._received:
            self.recv_into, self.wait_readable = self._socket.recv_into, self._socket.wait_readable
        return size


async def _greeted(socket: ByteSocket) -> tuple[ByteSocket, Greeting]:
    """What the peer says first, and a socket that has not read it."""
    start = bytearray()
    try:
        while True:
            piece = memoryview(bytearray(_LONGEST - len(start)))
            size = socket.recv_into(piece)
            if size is None:
                await socket.wait_readable()
            elif size == 0:
                raise HandshakeError("the peer closed the connection without a word")
            else:
                start += piece[:size]
                if (greeting := _recognize(bytes(start))) is not None:
                    return PrefetchedSocket(socket, bytes(start)), greeting
    except OSError as error:
        socket.abort()
        raise HandshakeError(f"the connection was lost: {error}") from error
    except BaseException:
        socket.close()
        raise
