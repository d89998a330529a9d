"""The upgrade: from a raw byte stream to an authenticated, multiplexed connection.

Round trips of a dial after the TCP connect, with Noise or TLS and the muxer agreed inside the
handshake: one for the security proposal together with the first handshake message, and the rest of
the handshake rides with the application's first bytes (Noise XX: 2 in all until the first answer).

Until the other side's identity is proven, a connection may make us hold at most `Handshake`'s own
bound (64 KiB); the deadline for the whole upgrade is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio

from carrick.errors import (
    CarrickError,
    HandshakeError,
    NegotiationError,
    ProtocolNotSupported,
)
from carrick.interfaces import (
    Budget,
    ByteSocket,
    Handshake,
    Muxer,
    Role,
    Security,
    Session,
)
from carrick.transports import multistream
from carrick.transports.bytestream.connection import ByteStreamConnection
from carrick.transports.bytestream.handshaking import RecordStream, SocketStream
from carrick.transports.bytestream.ports import SharedPorts

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId
    from carrick.transports.bytestream.trace import ConnectionTrace, FrameTrace

__all__ = ["MuxerFactory", "SecurityRefused", "SocketWrapper", "Upgrader"]

MuxerFactory: TypeAlias = Callable[[Role, Budget, float], Muxer]
"""Makes a muxer for one connection from our role, its memory budget and the present time."""

MAX_PROPOSALS = 16  # security or muxer proposals that a listener answers before it gives up


class SocketWrapper(Protocol):
    """Wraps each socket before anything else is sent on it: a private network."""

    def wrap(self, socket: ByteSocket) -> ByteSocket: ...


class SecurityRefused(NegotiationError):
    """The listener does not speak the security protocol that was proposed; there are others.

    The first handshake message went out together with the proposal, so the byte stream is spoilt:
    dial again without that protocol.
    """


class Upgrader:
    """Secures and multiplexes byte streams.

    Args:
        securities: what we speak, best first.
        muxers: protocol id → how to make one, best first.
        wrapper: stands between each socket and its upgrade; None for the public network.
        trace: for debugging, writes down what goes over the connections.
    """

    def __init__(
        self,
        securities: Sequence[Security],
        muxers: Mapping[str, MuxerFactory],
        wrapper: SocketWrapper | None = None,
        *,
        trace: FrameTrace | None = None,
    ) -> None:
        if not securities or not muxers:
            raise ValueError("an upgrade needs at least one security protocol and one muxer")
        self._securities = {security.id: security for security in securities}
        self._muxers = dict(muxers)
        self._wrapper = wrapper
        self._trace = trace
        self.ports = SharedPorts()
        """The TCP ports of the transports that this upgrader is for: one host's."""

    @property
    def securities(self) -> tuple[str, ...]:
        return tuple(self._securities)

    async def upgrade(
        self,
        socket: ByteSocket,
        *,
        role: Role,
        peer: PeerId | None,
        budget: Budget,
        local_address: Multiaddr,
        remote_address: Multiaddr,
        refused: Sequence[str] = (),
        is_limited: bool = False,
    ) -> ByteStreamConnection:
        """Upgrade `socket`, which is closed if that fails or is cancelled.

        Args:
            role: CLIENT proposes.
            peer: who must be there; None takes whoever proves an identity.
            refused: security protocols not to propose, since the peer refused them before.

        Raises:
            SecurityRefused: the listener refused the proposal; dial again without it.
            ProtocolNotSupported: it refused the last one that was left.
            CarrickError: the upgrade failed.
        """
        if self._wrapper is not None:
            socket = self._wrapper.wrap(socket)
        trace: ConnectionTrace | None = None
        if self._trace is not None:
            trace = self._trace.connection(role, local_address, remote_address)
        try:
            stream = SocketStream(socket)
            if role is Role.CLIENT:
                offered = [name for name in self._securities if name not in refused]
                security, session, last = await self._secure_client(stream, offered, peer)
            else:
                security, session, last = await self._secure_server(stream, peer)
            if trace is not None:
                trace.secured(security, session)
            return await self._multiplex(
                socket,
                session,
                last,
                role=role,
                budget=budget,
                security=security,
                local_address=local_address,
                remote_address=remote_address,
                is_limited=is_limited,
                trace=trace,
            )
        except OSError as error:
            socket.abort()
            if trace is not None:
                trace.failed(error)
            raise HandshakeError(f"the connection was lost: {error}") from error
        except BaseException as error:
            socket.close()
            if trace is not None:
                trace.failed(error)
            raise

    # --- security ---------------------------------------------------------------------------------

    async def _secure_client(
        self, stream: SocketStream, offered: list[str], peer: PeerId | None
    ) -> tuple[str, Session, bytes]:
        name = offered[0]
        negotiation = multistream.Dialer([name], lazy=True)
        handshake = self._securities[name].handshake(
            Role.CLIENT, expected_peer=peer, muxers=tuple(self._muxers)
        )
        await stream.send_all(negotiation.take_output() + handshake.take_output())
        while negotiation.selected is None:
            try:
                negotiation.receive(await stream.receive_some())
            except ProtocolNotSupported:
                if len(offered) > 1:
                    raise SecurityRefused(
                        f"the peer does not speak {name}", protocol=name
                    ) from None
                raise ProtocolNotSupported(
                    f"the peer speaks none of our security protocols {', '.join(self._securities)}"
                ) from None
        return name, *await _shake_hands(stream, handshake, negotiation.rest)

    async def _secure_server(
        self, stream: SocketStream, peer: PeerId | None
    ) -> tuple[str, Session, bytes]:
        negotiation = multistream.Listener(
            self._securities.__contains__, max_proposals=MAX_PROPOSALS
        )
        while True:
            received = await stream.receive_some()
            try:
                negotiation.receive(received)
            finally:  # what we refused is answered even if what followed it made no sense
                if negotiation.selected is None:
                    await stream.send_all(negotiation.take_output())
            if (name := negotiation.selected) is not None:
                break
        handshake = self._securities[name].handshake(
            Role.SERVER, expected_peer=peer, muxers=tuple(self._muxers)
        )
        answer = negotiation.take_output()  # leaves with our first handshake message
        return name, *await _shake_hands(stream, handshake, negotiation.rest, answer)

    # --- muxer ------------------------------------------------------------------------------------

    async def _multiplex(
        self,
        socket: ByteSocket,
        session: Session,
        last: bytes,
        *,
        role: Role,
        budget: Budget,
        security: str,
        local_address: Multiaddr,
        remote_address: Multiaddr,
        is_limited: bool,
        trace: ConnectionTrace | None,
    ) -> ByteStreamConnection:
        name, received, plain = session.muxer, session.received, b""
        lazy: multistream.Dialer | None = None
        if name is None and role is Role.CLIENT and len(self._muxers) == 1:
            (name,) = self._muxers
            lazy = multistream.Dialer([name], lazy=True)
        elif name is None:
            plainly = SocketStream(socket)
            await plainly.send_all(last)
            last = b""
            stream = RecordStream(plainly, session.records, session.received)
            if role is Role.CLIENT:
                name, plain = await multistream.dial(stream, tuple(self._muxers))
            else:
                name, plain = await multistream.listen(
                    stream, self._muxers.__contains__, max_proposals=MAX_PROPOSALS
                )
            received = stream.sealed
        if trace is not None:
            session = trace.carry(session, name, lazy=lazy is not None, plain=plain)
        connection = ByteStreamConnection(
            socket,
            session,
            self._muxers[name](role, budget, trio.current_time()),
            role=role,
            security=security,
            local_address=local_address,
            remote_address=remote_address,
            is_limited=is_limited,
            sealed=received,
            plain=plain,
            unsent=last,
        )
        if lazy is not None:
            connection.negotiate_lazily(lazy)
        if trace is not None:
            connection.on_end = trace.closed
        return connection


async def _shake_hands(
    stream: SocketStream, handshake: Handshake, received: bytes, answer: bytes = b""
) -> tuple[Session, bytes]:
    """Run a handshake whose peer has already sent `received`.

    Returns the session, and our last message, for whoever sends the first bytes of the session.

    Args:
        answer: what we have to send before the handshake.
    """
    try:
        while True:
            if received:
                handshake.receive(received)
            output = answer + handshake.take_output()
            if handshake.session is not None:
                return handshake.session, output
            if output:
                await stream.send_all(output)
                answer = b""
            received = await stream.receive_some()
    except CarrickError:
        # Tell the peer why, if the protocol has words for it.
        if alert := answer + handshake.take_output():
            stream.try_send(alert)
        raise
