"""The WebSocket transport: HTTP upgrade, then libp2p's own upgrade within binary frames."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING

import trio

from carrick.addressing import encapsulate, endpoint_address
from carrick.addressing.address import join_parts
from carrick.errors import (
    DialError,
    HandshakeError,
    KeyFileError,
    ListenError,
    PeerTimeout,
    UnsupportedAddress,
)
from carrick.interfaces import Budget, ByteSocket, Role, SocketOpener
from carrick.sockets import current_sockets
from carrick.transports.bytestream import (
    ByteStreamConnection,
    Greeting,
    PortListener,
    SecurityRefused,
    Upgrader,
)
from carrick.transports.bytestream.handshaking import SocketStream
from carrick.transports.websocket.address import Place, find_place
from carrick.transports.websocket.http import ClientUpgrade, ServerUpgrade
from carrick.transports.websocket.socket import WebSocket
from carrick.transports.websocket.tls import CertificateFiles, TlsSocket, client_context

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["WebSocketTransport"]

CONNECT_TIMEOUT = 5.0  # s for TCP's own connect, as the TCP transport
HANDSHAKE_TIMEOUT = 15.0  # s for TLS and the HTTP upgrade (go p2p/transport/websocket)
_PLAIN = (("ws", None),)
_SECURE = (("tls", None), ("ws", None))


class WebSocketTransport:
    """See `carrick.interfaces.Transport`. Dials and listens on `/ws`, `/wss` and `/tls/ws`.

    Args:
        upgrader: what secures and multiplexes.
        certificate: PEM file with the certificate chain; without one, `/wss` is only dialled.
        key: PEM file with its private key; None: it is in `certificate`.
        trust: PEM file of certificates to trust when dialling, instead of the system's.
        verify: False takes any certificate of a server. Peers prove their identity all the same.
        sockets: opens sockets; None takes those of the context that makes it.

    Raises:
        KeyFileError: a file cannot be used.
    """

    def __init__(
        self,
        upgrader: Upgrader,
        *,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        trust: str | os.PathLike[str] | None = None,
        verify: bool = True,
        sockets: SocketOpener | None = None,
    ) -> None:
        if key is not None and certificate is None:
            raise KeyFileError(f"there is no certificate for the key {os.fspath(key)}")
        self.upgrader = upgrader
        self._files = None
        if certificate is not None:
            self._files = CertificateFiles(certificate, certificate if key is None else key)
        self._trust = trust
        self._verify = verify
        self._context: ssl.SSLContext | None = None
        self._sockets = sockets or current_sockets()

    def can_dial(self, address: Multiaddr) -> bool:
        return find_place(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return find_place(address) is not None

    # --- dialling ---------------------------------------------------------------------------------

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> ByteStreamConnection:
        place = _place(address)
        refused: list[str] = []
        while True:
            socket = await self._connect(place)
            web = await _within_deadline(self._open(socket, place), socket)
            try:
                return await self.upgrader.upgrade(
                    web,
                    role=role,
                    peer=peer,
                    budget=budget,
                    local_address=_extend(endpoint_address(socket.local), place.suffix),
                    remote_address=address,
                    refused=refused,
                )
            except SecurityRefused as error:
                assert error.protocol is not None
                refused.append(error.protocol)

    async def _connect(self, place: Place) -> ByteSocket:
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                return await self._sockets.connect_tcp(place.endpoint)
        except trio.TooSlowError:
            raise PeerTimeout(f"no answer within {CONNECT_TIMEOUT:g} s") from None
        except OSError as error:
            raise DialError(error.strerror or str(error)) from error

    async def _open(self, socket: ByteSocket, place: Place) -> WebSocket:
        if place.secure:
            if self._context is None:
                self._context = client_context(self._trust, verify=self._verify)
            name = place.server_name or place.endpoint[0].partition("%")[0]
            socket = tls = TlsSocket(socket, self._context, server_name=name)
            await tls.handshake()
        upgrade = ClientUpgrade(place.host, place.path, os.urandom(16))
        await _exchange(socket, upgrade)
        return WebSocket(socket, client=True, received=upgrade.rest)

    # --- listening --------------------------------------------------------------------------------

    async def listen(self, address: Multiaddr) -> PortListener:
        place = _place(address)
        if place.secure and self._files is None:
            raise ListenError("a secure WebSocket needs a certificate", address=address)
        listener = await self.upgrader.ports.listen(
            self._sockets,
            address,
            place.endpoint,
            Greeting.TLS if place.secure else Greeting.HTTP,
            partial(self._serve, secure=place.secure),
        )
        listener.address = _extend(listener.address, place.suffix)
        return listener

    async def _serve(
        self, socket: ByteSocket, budget: Budget, *, secure: bool
    ) -> ByteStreamConnection:
        suffix = _SECURE if secure else _PLAIN
        return await self.upgrader.upgrade(
            await _within_deadline(self._accept(socket, secure), socket),
            role=Role.SERVER,
            peer=None,
            budget=budget,
            local_address=_extend(endpoint_address(socket.local), suffix),
            remote_address=_extend(endpoint_address(socket.remote), suffix),
        )

    async def _accept(self, socket: ByteSocket, secure: bool) -> WebSocket:
        if secure:
            assert self._files is not None
            socket = tls = TlsSocket(socket, self._files.context())
            await tls.handshake()
        upgrade = ServerUpgrade()
        await _exchange(socket, upgrade)
        return WebSocket(socket, client=False, received=upgrade.rest)


async def _exchange(socket: ByteSocket, upgrade: ClientUpgrade | ServerUpgrade) -> None:
    """Carry out the HTTP upgrade. Raises: HandshakeError, OSError."""
    stream = SocketStream(socket)
    try:
        while True:
            if output := upgrade.take_output():
                await stream.send_all(output)
            if upgrade.done:
                return
            upgrade.receive(await stream.receive_some(upgrade.room))
    except HandshakeError:
        if output := upgrade.take_output():  # an HTTP error for a client that is none of ours
            stream.try_send(output)
        raise


async def _within_deadline(opening: Awaitable[WebSocket], socket: ByteSocket) -> WebSocket:
    """Await `opening`; if it fails, `socket` is closed."""
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT):
            return await opening
    except trio.TooSlowError:
        socket.abort()
        raise PeerTimeout(f"no WebSocket within {HANDSHAKE_TIMEOUT:g} s") from None
    except OSError as error:
        socket.abort()
        raise HandshakeError(f"the connection was lost: {error}") from error
    except BaseException:
        socket.close()
        raise


def _place(address: Multiaddr) -> Place:
    place = find_place(address)
    if place is None:
        raise UnsupportedAddress("not an address of the WebSocket transport", address=address)
    return place


def _extend(address: Multiaddr, suffix: tuple[tuple[str, str | None], ...]) -> Multiaddr:
    return encapsulate(address, join_parts(suffix))
