"""Connections, and the transports that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from carrick.interfaces.basic import Buffer, Direction, Role
from carrick.interfaces.muxers import Budget

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.errors import ConnectionClosed
    from carrick.identity import PeerId, PublicKey

__all__ = [
    "InboundConnection",
    "Listener",
    "MuxedConnection",
    "MuxedStream",
    "PunchingTransport",
    "Transport",
]


class MuxedStream(Protocol):
    """A bare byte stream of a `MuxedConnection`; behaves as a `trio.abc.HalfCloseableStream`."""

    @property
    def id(self) -> int: ...
    @property
    def direction(self) -> Direction: ...

    async def send_all(self, data: Buffer, *, eof: bool = False) -> None:
        """Send all of `data`, and with `eof` the end of file in the same piece."""

    def send_soon(self, data: bytes) -> bool:
        """Have a few bytes leave with the next ones that are sent, or else a moment later.

        No checkpoint, and no error if the stream has ended. False: there is no room for them now.
        """

    async def wait_send_all_might_not_block(self) -> None: ...
    async def send_eof(self) -> None: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes: ...

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """As `receive_some` without waiting, and no checkpoint; None if nothing is there now."""

    async def receive_views(self) -> list[memoryview]:
        """All bytes that are there, without a copy; empty at end of file. For bulk readers."""

    async def aclose(self) -> None:
        """Send FIN, stop reading; never waits for the peer."""

    def reset(self, code: int = 0) -> None:
        """End both directions at once, telling the peer `code` where the muxer can."""


class MuxedConnection(Protocol):
    """An authenticated, multiplexed connection: what every transport makes.

    It lives while its `run` runs. Before `run`, nothing is received, and the end of our handshake
    may not have been sent: it leaves with the first bytes, or when `run` begins.
    """

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def public_key(self) -> PublicKey: ...
    @property
    def local_address(self) -> Multiaddr: ...
    @property
    def remote_address(self) -> Multiaddr: ...
    @property
    def role(self) -> Role: ...
    @property
    def security(self) -> str:
        """The security protocol's id, such as `/noise`."""

    @property
    def muxer(self) -> str: ...
    @property
    def is_limited(self) -> bool:
        """A relay carries it, with limits on time and bytes."""

    @property
    def rtt(self) -> float | None: ...
    @property
    def closed(self) -> bool: ...

    def closed_error(self) -> ConnectionClosed:
        """A fresh error that says how the connection ended."""

    async def run(self) -> None:
        """Carry the connection until it ends. Returns, and never raises, whatever the peer does."""

    async def open_stream(self) -> MuxedStream:
        """Raises: ConnectionClosed, ResourceLimitExceeded."""

    async def accept_stream(self) -> MuxedStream:
        """The next stream of the peer. Raises: ConnectionClosed once the connection has ended."""

    async def aclose(self, code: int = 0) -> None:
        """Tell the peer (GoAway), flush for at most 1 s, end. Idempotent; `run` returns."""

    def abort(self, code: int = 0) -> None:
        """End at once, without a word to the peer."""


class InboundConnection(Protocol):
    """A connection that was accepted, about which nothing is known but its addresses."""

    @property
    def local_address(self) -> Multiaddr: ...
    @property
    def remote_address(self) -> Multiaddr: ...

    async def upgrade(self, budget: Budget) -> MuxedConnection:
        """Secure and multiplex it. The caller sets the deadline; cancelling closes the socket.

        Raises:
            CarrickError: the upgrade failed; the socket is closed.
        """

    def refuse(self) -> None:
        """Close it without an upgrade."""


class Listener(Protocol):
    """Where a transport listens."""

    @property
    def address(self) -> Multiaddr:
        """The bound address: the real port, wildcard hosts as they were given."""

    async def accept(self) -> InboundConnection:
        """Raises: trio.ClosedResourceError once the listener is closed."""

    def close(self) -> None: ...


@runtime_checkable
class Transport(Protocol):
    """From a multiaddr to an authenticated, multiplexed connection."""

    def can_dial(self, address: Multiaddr) -> bool: ...
    def can_listen(self, address: Multiaddr) -> bool: ...

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        role: Role = Role.CLIENT,
        budget: Budget,
    ) -> MuxedConnection:
        """Connect and upgrade. The caller sets the deadline; cancelling leaves nothing behind.

        Args:
            address: where to, without the `/p2p/…` part.
            peer: who must be there; None takes whoever answers.
            role: SERVER when a punched connection's roles say so.
            budget: memory for what the connection buffers beyond its basic share.

        Raises:
            CarrickError: what went wrong; `OSError` from the socket is wrapped.
        """

    async def listen(self, address: Multiaddr) -> Listener:
        """Raises: ListenError (port in use, no such interface, no right to), UnsupportedAddress."""


@runtime_checkable
class PunchingTransport(Transport, Protocol):
    """A transport that can also meet a peer between their two NATs."""

    async def dial_back(
        self, address: Multiaddr, peer: PeerId | None, *, budget: Budget
    ) -> MuxedConnection:
        """As `dial`, of a peer that may have to be punched towards next: nothing that this leaves
        in our NAT is in the way of that."""

    def can_punch(self, address: Multiaddr) -> bool: ...

    async def punch(
        self, address: Multiaddr, peer: PeerId | None, *, role: Role, budget: Budget
    ) -> MuxedConnection:
        """Open a hole in our NAT towards `address`, and connect through it.

        Both peers call this at the same moment, in opposite roles. Meanwhile what arrives from the
        IP address of `address`, from any port, belongs to the punch, which may leave it to the
        listener where that does the same: in the role SERVER. The caller may set a deadline;
        cancelling leaves nothing behind.

        Args:
            address: where the peer was seen, without the `/p2p/…` part.
            role: whether we are the client or the server in all that follows.

        Raises:
            CarrickError: nothing came of it.
        """
