"""The transport `/p2p-circuit`: connections over a relay, authenticated from end to end.

Addresses: `[<address of the relay>]/p2p/<relay>/p2p-circuit`, followed by `/p2p/<peer>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carrick.addressing import Multiaddr, encapsulate, names, parse_address, split_peer, with_peer
from carrick.errors import ConnectionClosed, ListenError, UnsupportedAddress
from carrick.interfaces import Budget, Role
from carrick.network import Connection, Stream
from carrick.protocols.relay.messages import Limit, Status, StopStatus
from carrick.protocols.relay.socket import StreamSocket
from carrick.transports.bytestream import ByteStreamConnection, SecurityRefused, Upgrader

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.interfaces import Listener

__all__ = ["CircuitInbound", "CircuitOpener", "CircuitTransport", "circuit_address", "split_relay"]

_CIRCUIT = parse_address("/p2p-circuit")


def circuit_address(relay_address: Multiaddr, relay: PeerId) -> Multiaddr:
    """`<relay_address>/p2p/<relay>/p2p-circuit`."""
    return encapsulate(with_peer(relay_address, relay), _CIRCUIT)


def split_relay(address: Multiaddr) -> tuple[Multiaddr | None, PeerId] | None:
    """The relay of `…/p2p/<relay>/p2p-circuit`: its address, if one is named, and its id.

    None if it is no such address, or leads over several relays.
    """
    present = names(address)
    if present[-1] != "p2p-circuit" or present.count("p2p-circuit") != 1 or len(present) < 2:
        return None
    suffix = len(_CIRCUIT.to_bytes())
    where, relay = split_peer(Multiaddr(address.to_bytes()[:-suffix]))
    if relay is None:
        return None
    return where if where.to_bytes() else None, relay


class CircuitOpener(Protocol):
    """What opens circuits: the relay client."""

    async def open_circuit(
        self, relay: PeerId, address: Multiaddr | None, peer: PeerId
    ) -> tuple[Stream, Limit]: ...


class CircuitTransport:
    """See `carrick.interfaces.Transport`. It listens by reservations, not by `listen`."""

    def __init__(self, opener: CircuitOpener, upgrader: Upgrader) -> None:
        self._opener = opener
        self._upgrader = upgrader

    def can_dial(self, address: Multiaddr) -> bool:
        return split_relay(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        return False

    async def listen(self, address: Multiaddr) -> Listener:
        raise ListenError("relays are listened on by RelayClient.reserve", address=address)

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> ByteStreamConnection:
        relay = split_relay(address)
        if relay is None:
            raise UnsupportedAddress("not an address over a relay", address=address)
        if peer is None:
            raise UnsupportedAddress("the address must end with /p2p/<peer>", address=address)
        if peer == relay[1]:
            raise UnsupportedAddress("a relay is not reached over itself", address=address)
        refused: list[str] = []
        while True:
            stream, limit = await self._opener.open_circuit(relay[1], relay[0], peer)
            connection = stream.connection
            try:
                return await self._upgrader.upgrade(
                    pumped(stream),
                    role=role,
                    peer=peer,
                    budget=budget,
                    local_address=connection.local_address,
                    remote_address=circuit_address(connection.remote_address, relay[1]),
                    refused=refused,
                    is_limited=bool(limit),
                )
            except SecurityRefused as error:
                assert error.protocol is not None
                refused.append(error.protocol)


class CircuitInbound:
    """A circuit that a relay offers; see `carrick.interfaces.InboundConnection`.

    Attributes:
        socket: the circuit, once it is accepted.
    """

    def __init__(self, stream: Stream, peer: PeerId, limit: Limit, upgrader: Upgrader) -> None:
        self._stream = stream
        self._peer = peer
        self._limit = limit
        self._upgrader = upgrader
        self.socket: StreamSocket | None = None
        relay: Connection = stream.connection
        self.local_address = self.remote_address = circuit_address(
            relay.remote_address, relay.peer_id
        )

    async def upgrade(self, budget: Budget) -> ByteStreamConnection:
        await self._stream.write_frame(StopStatus(Status.OK).encode())
        self.socket = pumped(self._stream)
        return await self._upgrader.upgrade(
            self.socket,
            role=Role.SERVER,
            peer=self._peer,
            budget=budget,
            local_address=self.local_address,
            remote_address=self.remote_address,
            is_limited=bool(self._limit),
        )

    def refuse(self) -> None:
        """Nothing to do: whoever offered it to the swarm answers the relay."""


def pumped(stream: Stream) -> StreamSocket:
    """A socket over `stream`, pumped for as long as the connection to the relay lives.

    Raises:
        ConnectionClosed: that connection has ended.
    """
    socket = StreamSocket(stream)
    if not stream.connection.spawn(socket.pump):
        stream.reset()
        raise ConnectionClosed("the connection to the relay has ended", peer=stream.peer_id)
    return socket
