"""The QUIC transport: `/ip4|ip6/…/udp/…/quic-v1`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio

from carrick.addressing import ip_endpoint, names
from carrick.errors import DialError, ListenError, PeerTimeout, UnsupportedAddress
from carrick.identity import PrivateKey
from carrick.interfaces import Budget, Endpoint, Role
from carrick.transports.quic.connection import QuicConnection, quic_address
from carrick.transports.quic.endpoint import Acceptor, UdpEndpoint
from carrick.transports.quic.identity import ALPN, HostIdentity
from carrick.transports.quic.pool import EndpointPool
from carrick.transports.quic.punching import ClientPunch, ServerPunch
from carrick.transports.quic.selftest import require_client_authentication

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["QuicTransport"]

CONNECT_TIMEOUT = 5.0  # s for the whole handshake (quic-go's HandshakeIdleTimeout)


class QuicTransport:
    """See `carrick.interfaces.Transport`.

    Args:
        key: the host key.
        pool: where endpoints are shared with other transports over QUIC; None makes one.
        rng: for the timing and content of punching datagrams.
    """

    def __init__(
        self,
        key: PrivateKey,
        *,
        pool: EndpointPool | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.pool = pool or EndpointPool()
        self._identity = HostIdentity(key)
        self._rng = rng or random.Random()

    def can_dial(self, address: Multiaddr) -> bool:
        return _quic_endpoint(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return _quic_endpoint(address) is not None

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> QuicConnection:
        """See `Transport`. In the role SERVER, wait for the peer's dial: see `punch`."""
        if role is Role.SERVER:
            return await self.punch(address, peer, role=role, budget=budget)
        remote = _require_endpoint(address)
        endpoint = await self._endpoint_for(remote)
        connection = endpoint.dial(remote, self._identity.profile(peer))
        connection.remote_address = address
        connection.budget = budget
        with trio.move_on_after(CONNECT_TIMEOUT) as waiting:
            await connection.establish()
        if waiting.cancelled_caught:
            raise PeerTimeout(f"no answer within {CONNECT_TIMEOUT:g} s")
        return connection

    async def dial_back(
        self, address: Multiaddr, peer: PeerId | None, *, budget: Budget
    ) -> QuicConnection:
        """See `carrick.interfaces.PunchingTransport`."""
        return await self.dial(address, peer, budget=budget)

    def can_punch(self, address: Multiaddr) -> bool:
        return self.can_dial(address)

    async def punch(
        self, address: Multiaddr, peer: PeerId | None, *, role: Role, budget: Budget
    ) -> QuicConnection:
        """See `carrick.interfaces.PunchingTransport`.

        As CLIENT we dial. As SERVER we send datagrams that mean nothing, until the dial arrives.
        The first one leaves before this waits, if a socket is bound already.

        Raises:
            PeerTimeout: nobody was met within `PUNCH_TIMEOUT`.
            DialError: there is no socket to be had.
        """
        remote = _require_endpoint(address)
        endpoint = await self._endpoint_for(remote)
        kind = ClientPunch if role is Role.CLIENT else ServerPunch
        punch = kind(endpoint, remote, self._identity, self._rng, peer=peer, budget=budget)
        return await punch.run()

    async def listen(self, address: Multiaddr) -> QuicListener:
        local = _require_endpoint(address)
        require_client_authentication()
        try:
            endpoint = await self.pool.bind(local)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ListenError(f"cannot listen: {reason}", address=address) from error
        try:
            acceptor = endpoint.accept_protocol(ALPN, self._identity.profile)
        except ValueError:
            raise ListenError("cannot listen: we do already", address=address) from None
        return QuicListener(acceptor)

    async def _endpoint_for(self, remote: Endpoint) -> UdpEndpoint:
        try:
            return await self.pool.for_dial(remote)
        except OSError as error:
            raise DialError(error.strerror or str(error)) from error


class QuicListener:
    """See `carrick.interfaces.Listener`."""

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self.address = quic_address(acceptor.endpoint.local)

    async def accept(self) -> QuicInbound:
        return QuicInbound(await self._acceptor.accept())

    def close(self) -> None:
        self._acceptor.close()


class QuicInbound:
    """See `carrick.interfaces.InboundConnection`."""

    def __init__(self, connection: QuicConnection) -> None:
        self._connection = connection
        self.local_address = connection.local_address
        self.remote_address = connection.remote_address

    async def upgrade(self, budget: Budget) -> QuicConnection:
        self._connection.budget = budget
        await self._connection.establish()
        return self._connection

    def refuse(self) -> None:
        self._connection.refuse()


def _quic_endpoint(address: Multiaddr) -> Endpoint | None:
    if names(address)[-2:] != ("udp", "quic-v1"):
        return None
    endpoint = ip_endpoint(address, "udp")
    return endpoint if len(names(address)) - ("ip6zone" in names(address)) == 3 else None


def _require_endpoint(address: Multiaddr) -> Endpoint:
    endpoint = _quic_endpoint(address)
    if endpoint is None:
        raise UnsupportedAddress("not an address of the QUIC transport", address=address)
    return endpoint
