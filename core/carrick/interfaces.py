"""The interfaces between the floors of the house: what a part may expect of its neighbours.

Nothing here does anything. Implementations are on the floors above and satisfy these types
structurally, so anybody can put in their own. The parts, from the wire upwards::

    ByteSocket        bytes in and out, without awaiting       kernel, memory, simulated
    Handshake         proves who the other side is             noise, tls               (no I/O)
    Records           plaintext <-> sealed records             noise, tls               (no I/O)
    Muxer             many streams over one byte stream        yamux, mplex             (no I/O)
    MuxedConnection   authenticated and multiplexed            what a Transport makes
    Service           a protocol, wired into a host            identify, ping, kademlia, …
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.errors import ConnectionClosed
    from carrick.identity import PeerId, PublicKey

__all__ = [
    "Buffer",
    "Budget",
    "ByteListener",
    "ByteSocket",
    "Direction",
    "Endpoint",
    "Handshake",
    "InboundConnection",
    "Listener",
    "MuxedConnection",
    "MuxedStream",
    "Muxer",
    "MuxerStream",
    "Records",
    "Role",
    "Security",
    "Session",
    "SocketOpener",
    "Transport",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
Endpoint: TypeAlias = tuple[str, int]
"""An IP address as text and a port."""


class Role(enum.Enum):
    """Who speaks first in every later step. Apart from punched connections the dialer is CLIENT."""

    CLIENT = "client"
    SERVER = "server"


class Direction(enum.Enum):
    """Who opened a connection or a stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


# --- sockets: the one seam between Carrick and an operating system or a simulated internet ------


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


class SocketOpener(Protocol):
    """Makes sockets: kernel sockets, or those of a simulated host."""

    async def connect_tcp(self, remote: Endpoint, *, local: Endpoint | None = None) -> ByteSocket:
        """Connect, from `local` if it is given (a port that may be shared with a listener).

        Raises:
            OSError: as the operating system says.
        """

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> ByteListener: ...


# --- security: sans-I/O -------------------------------------------------------------------------


class Records(Protocol):
    """The transport phase of a security protocol: one cipher object and one counter a direction."""

    max_plain: int
    """The longest plaintext of one record, in bytes."""
    overhead: int
    """What sealing adds to a record at most, in bytes."""

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        """Hand the plaintext of each complete record in `buffer[lo:hi]` to `sink`, in order.

        Returns where the incomplete rest begins (`hi` if there is none).

        Raises:
            ProtocolError: a record is malformed or does not authenticate.
        """

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        """Write one record of the joined `pieces` (at most `max_plain` bytes) at `out[at:]`.

        Returns the end of what was written. `out` is long enough: length + `overhead`.
        """

    def closing(self) -> bytes:
        """What says goodbye on the wire (TLS close_notify); empty if there is no such thing."""


@dataclass(frozen=True, slots=True)
class Session:
    """The outcome of a handshake: the other side's identity is proven."""

    peer_id: PeerId
    public_key: PublicKey
    records: Records
    muxer: str | None = None
    """The muxer that the handshake agreed on; None: negotiate one."""
    received: bytes = b""
    """Bytes that came behind the last handshake message: the first records."""


class Handshake(Protocol):
    """One side of a security handshake, without I/O.

    Feed received bytes, send what `take_output` gives after each feed (and once at the start),
    until `session` is there. The last output may come with the session: it must be sent.
    """

    @property
    def session(self) -> Session | None: ...

    def receive(self, data: Buffer) -> None:
        """Take received bytes, cut anywhere.

        Raises:
            HandshakeError: the handshake failed (`PeerIdMismatch`: another identity was proven).
                `take_output` may then hold an alert for the peer.
        """

    def take_output(self) -> bytes:
        """Bytes to send now; empty if there are none."""


class Security(Protocol):
    """A security protocol with our identity in it."""

    id: str
    """The protocol id, such as `/noise`."""

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> Handshake:
        """Begin a handshake.

        Args:
            role: CLIENT sends first.
            expected_peer: refuse any other identity; None takes whoever is there.
            muxers: protocol ids of our muxers, best first, offered inside the handshake.
        """


# --- muxers: sans-I/O ---------------------------------------------------------------------------


class Budget(Protocol):
    """Memory that a connection may take beyond its basic share."""

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes; False if that is more than is left."""

    def release(self, size: int) -> None: ...


class MuxerStream(Protocol):
    """One stream of a `Muxer`, without I/O: methods change state, bytes leave by the muxer."""

    id: int
    inbound: bool
    owner: Any
    """For the driver: the object that serves this stream. The muxer does not look at it."""

    @property
    def received(self) -> int:
        """Bytes that came and were not taken yet."""

    @property
    def remote_closed(self) -> bool:
        """The peer sent FIN (bytes may still be queued), and no reset dropped anything."""

    @property
    def reset_code(self) -> int | None:
        """Not None once the stream was reset, by either side, or its connection ended."""

    @property
    def reset_by_remote(self) -> bool: ...

    @property
    def pending(self) -> int:
        """Bytes given to `write` that are not in a record yet."""

    @property
    def may_send(self) -> bool:
        """The send window is open: a write would make progress."""

    def take(self, max_bytes: int) -> bytes:
        """Remove and return up to `max_bytes` received bytes, and grant the peer new window."""

    def take_views(self) -> list[memoryview]:
        """Remove and return all received bytes without copying, and grant the peer new window."""

    def write(self, data: memoryview) -> None:
        """Offer bytes to send, one write at a time. The view stays valid until `pending` is 0."""

    def cancel_write(self) -> int:
        """Forget the bytes still pending; returns how many were dropped."""

    def close_write(self) -> None:
        """Queue FIN, behind what is pending."""

    def close_read(self) -> None:
        """Nobody reads any more: drop what is queued, answer data that still comes by a reset."""

    def reset(self, code: int = 0) -> None:
        """End both directions now and drop what is queued; `remote_closed` is then False, so that
        a reader cannot take a cut stream for a whole one. No effect on an ended stream.
        """


class Muxer(Protocol):
    """Many streams over one record layer, without I/O.

    The driver calls `tick(now)`, feeds plaintext, wakes the owners of `touched()` streams, serves
    `accept()`ed ones, and seals what `take()` gives.
    """

    id: str
    """The protocol id, such as `/yamux/1.0.0`."""

    @property
    def rtt(self) -> float | None:
        """The measured round-trip time in seconds, None before the first measurement."""

    @property
    def overloaded(self) -> bool:
        """Unread input or unsent output is at its bound: the driver stops reading from the peer."""

    @property
    def stream_count(self) -> int: ...

    @property
    def going_away(self) -> bool:
        """The peer sent GoAway, or we did: no new streams."""

    @property
    def remote_close_code(self) -> int | None:
        """The code of the peer's GoAway, once it came."""

    def tick(self, now: float) -> None:
        """Tell the time, in seconds of a monotonic clock. Runs due timers.

        Raises:
            MuxerError: a keepalive went unanswered.
        """

    def next_deadline(self) -> float | None:
        """When `tick` must be called at the latest, None for never."""

    def feed(self, plain: bytes) -> None:
        """Take received plaintext, cut anywhere.

        Raises:
            MuxerError: the peer broke the protocol. The muxer has queued GoAway: send what `take`
                still gives, then close.
        """

    def touched(self) -> list[MuxerStream]:
        """Streams that changed since the last call (bytes, FIN, reset, write done), once each."""

    def accept(self) -> MuxerStream | None:
        """The next stream that the peer opened, None if there is none.

        A stream that can be accepted is in `touched()`, with `owner` None.
        """

    def open(self) -> MuxerStream:
        """Open a stream.

        Raises:
            ResourceLimitExceeded: too many streams.
            ConnectionClosed: either side is going away.
        """

    def has_output(self) -> bool: ...

    def take(self, room: int) -> list[Buffer]:
        """Pieces for the next record, together at most `room` bytes; empty if nothing can be sent.

        Control frames and small writes first, then a data frame of the next stream in turn.
        """

    def on_stall(self) -> None:
        """`overloaded` has lasted for the stall deadline: reset what holds the most unread bytes.

        Raises:
            MuxerError: it is the peer that does not read; close the connection.
        """

    def close(self, code: int = 0) -> None:
        """Queue GoAway with `code`; no stream opens any more."""

    def abandon(self, code: int, *, remote: bool) -> None:
        """The connection is gone: end every stream with `code`, so that the owners wake up.

        Unlike a reset, this leaves received bytes and `remote_closed` readable.
        """


# --- connections --------------------------------------------------------------------------------


class MuxedStream(Protocol):
    """A bare byte stream of a `MuxedConnection`; behaves as a `trio.abc.HalfCloseableStream`."""

    @property
    def id(self) -> int: ...
    @property
    def direction(self) -> Direction: ...

    async def send_all(self, data: Buffer) -> None: ...
    async def wait_send_all_might_not_block(self) -> None: ...
    async def send_eof(self) -> None: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes: ...

    async def receive_views(self) -> list[memoryview]:
        """All bytes that are there, without a copy; empty at end of file. For bulk readers."""

    async def aclose(self) -> None:
        """Send FIN, stop reading; never waits for the peer."""

    def reset(self, code: int = 0) -> None:
        """End both directions at once, telling the peer `code` where the muxer can."""


class MuxedConnection(Protocol):
    """An authenticated, multiplexed connection: what every transport makes.

    It lives while its `run` runs. Before `run`, nothing is received.
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
