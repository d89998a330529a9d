"""The TCP transport.

It dials from the port that it listens on, so that one NAT mapping serves both directions and
peers observe an address that can be dialled. Racing several addresses (happy eyeballs) is the
swarm's work.
"""

from __future__ import annotations

import errno
import ipaddress
import random
from typing import TYPE_CHECKING

from carrick.addressing import endpoint_address, tcp_endpoint
from carrick.deadlines import deadline
from carrick.errors import BothDialed, DialError, UnsupportedAddress
from carrick.interfaces import (
    Budget,
    ByteSocket,
    Endpoint,
    InboundConnection,
    Role,
    SocketOpener,
)
from carrick.sockets import current_sockets
from carrick.transports.bytestream import (
    ByteStreamConnection,
    Greeting,
    PortListener,
    SecurityRefused,
    Upgrader,
)
from carrick.transports.tcp.punching import Punch

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["TcpTransport"]

CONNECT_TIMEOUT = 5.0  # s (go p2p/transport/tcp/tcp.go)
_PORT_TAKEN = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EPERM, errno.EACCES}


class TcpTransport:
    """See `carrick.interfaces.Transport`.

    Args:
        upgrader: what secures and multiplexes.
        sockets: opens sockets; None takes those of the context that makes it.
        reuse_port: dial from the listening port.
        rng: for the pauses of hole punching.
    """

    def __init__(
        self,
        upgrader: Upgrader,
        *,
        sockets: SocketOpener | None = None,
        reuse_port: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self.upgrader = upgrader
        self._rng = rng or random.Random()
        self._sockets = sockets or current_sockets()
        self._reuse_port = reuse_port
        self._listeners: list[TcpListener] = []

    def can_dial(self, address: Multiaddr) -> bool:
        return tcp_endpoint(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return tcp_endpoint(address) is not None

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> ByteStreamConnection:
        return await self._dial(address, peer, role, budget, reuse_port=self._reuse_port)

    async def dial_back(
        self, address: Multiaddr, peer: PeerId | None, *, budget: Budget
    ) -> ByteStreamConnection:
        """See `carrick.interfaces.PunchingTransport`. Not from the listening port: the NAT would
        remember the SYN, let the peer's SYN in before our next one, and then take our listener's
        answer, which has another sequence number, for one that does not belong to it."""
        return await self._dial(address, peer, Role.CLIENT, budget, reuse_port=False)

    async def _dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        role: Role,
        budget: Budget,
        *,
        reuse_port: bool,
    ) -> ByteStreamConnection:
        remote = _endpoint(address)
        refused: list[str] = []
        while True:
            socket = await self._connect(remote, reuse_port)
            try:
                return await self.upgrader.upgrade(
                    socket,
                    role=role,
                    peer=peer,
                    budget=budget,
                    local_address=endpoint_address(socket.local),
                    remote_address=address,
                    refused=refused,
                )
            except SecurityRefused as error:
                assert error.protocol is not None
                refused.append(error.protocol)
            except BothDialed:
                if not reuse_port:
                    raise
                reuse_port = False  # from another port our two dials do not meet

    def can_punch(self, address: Multiaddr) -> bool:
        return self.can_dial(address)

    async def punch(
        self, address: Multiaddr, peer: PeerId | None, *, role: Role, budget: Budget
    ) -> ByteStreamConnection:
        """See `carrick.interfaces.PunchingTransport`. The first SYN leaves before this waits.

        Raises:
            PeerTimeout: nobody was met within `PUNCH_TIMEOUT`.
            DialError: no network of ours leads there.
        """
        remote = _endpoint(address)
        punch = Punch(
            self.upgrader,
            self._sockets,
            address,
            remote,
            self._local_for(remote),
            peer=peer,
            role=role,
            budget=budget,
            rng=self._rng,
        )
        return await punch.run()

    async def listen(self, address: Multiaddr) -> TcpListener:
        endpoint = _endpoint(address)
        bound = await self.upgrader.ports.listen(
            self._sockets, address, endpoint, Greeting.LIBP2P, self._serve
        )
        listener = TcpListener(self, bound)
        self._listeners.append(listener)
        return listener

    def forget(self, listener: TcpListener) -> None:
        """The listener was closed: its port is not dialled from any more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def _serve(self, socket: ByteSocket, budget: Budget) -> ByteStreamConnection:
        return await self.upgrader.upgrade(
            socket,
            role=Role.SERVER,
            peer=None,
            budget=budget,
            local_address=endpoint_address(socket.local),
            remote_address=endpoint_address(socket.remote),
        )

    async def _connect(self, remote: Endpoint, reuse_port: bool) -> ByteSocket:
        local = self._local_for(remote) if reuse_port else None
        with deadline(CONNECT_TIMEOUT, "no answer"):
            try:
                if local is not None:
                    try:
                        return await self._sockets.connect_tcp(remote, local=local)
                    except OSError as error:
                        if error.errno not in _PORT_TAKEN:
                            raise
                        # That pair of ports is in use, or still waiting to be: any port will do.
                return await self._sockets.connect_tcp(remote)
            except OSError as error:
                raise DialError(error.strerror or str(error)) from error

    def _local_for(self, remote: Endpoint) -> Endpoint | None:
        """The listening address to dial `remote` from, if one is of its family and reach."""
        if not self._reuse_port or not self._listeners:
            return None
        target = ipaddress.ip_address(remote[0].partition("%")[0])
        for listener in self._listeners:
            host, port = listener.endpoint
            local = ipaddress.ip_address(host.partition("%")[0])
            if local.version != target.version or (host, port) == remote:
                continue
            if local.is_unspecified or local.is_loopback == target.is_loopback:
                return host, port
        return None


class TcpListener:
    """See `carrick.interfaces.Listener`."""

    def __init__(self, transport: TcpTransport, bound: PortListener) -> None:
        self._transport = transport
        self._bound = bound
        self.endpoint = bound.endpoint
        self.address = bound.address

    async def accept(self) -> InboundConnection:
        return await self._bound.accept()

    def close(self) -> None:
        self._transport.forget(self)
        self._bound.close()


def _endpoint(address: Multiaddr) -> Endpoint:
    endpoint = tcp_endpoint(address)
    if endpoint is None:
        raise UnsupportedAddress("not an address of the TCP transport", address=address)
    return endpoint
