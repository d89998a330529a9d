"""A QUIC connection under trio: it moves datagrams between its endpoint and its `Backend`, and
wakes whom the events concern. Nothing in it runs per packet but plain calls.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from carrick.addressing import encapsulate, endpoint_address, parse_address
from carrick.errors import (
    ConnectionClosed,
    HandshakeError,
    PeerTimeout,
    ResourceLimitExceeded,
)
from carrick.interfaces import Budget, Direction, Endpoint, Role
from carrick.transports.quic import errors
from carrick.transports.quic.arrivals import Arrivals
from carrick.transports.quic.attendance import Seat
from carrick.transports.quic.backend import (
    Backend,
    Closed,
    ConnectionIdIssued,
    ConnectionIdRetired,
    DatagramReceived,
    Established,
    Event,
    Negotiated,
    PathChanged,
    StopSending,
    StreamData,
    StreamFinished,
    StreamReset,
    StreamsAvailable,
    WindowOpened,
)
from carrick.transports.quic.outbox import Outbox
from carrick.transports.quic.stream import QuicStream
from carrick.transports.quic.unread import Unread

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey
    from carrick.transports.quic.endpoint import UdpEndpoint

__all__ = ["QuicConnection"]

logger = logging.getLogger(__name__)

KEEPALIVE = 15.0  # s of silence (go quicreuse/config.go)
CLOSE_TIMEOUT = 1.0  # s that a graceful close may take to flush
OPEN_TIMEOUT = 10.0  # s that opening a stream waits for the peer to allow one more
EARLY_BYTES = 64 * 1024  # that a peer may send before its certificate was judged
MAX_DATAGRAMS = 64  # unread DATAGRAM frames; the oldest is dropped
_FULL_SOCKET = 0.002  # s until the next try when the system's queue is full


class QuicConnection:
    """A connection of any application protocol; of `libp2p`, see `MuxedConnection`.

    `endpoint.dial` and acceptors make it; then comes `establish`, then `run`.
    """

    security = "/tls/1.0.0"
    muxer = "/quic-v1"
    is_limited = False

    def __init__(
        self, endpoint: UdpEndpoint, backend: Backend, role: Role, remote: Endpoint
    ) -> None:
        self.role = role
        self.remote = remote
        self.alpn: str | None = None
        self.budget: Budget | None = None
        self.ids: set[bytes] = set()
        """Its connection ids, for the endpoint."""
        self.bytes_received = 0
        self.on_end: Callable[[ConnectionClosed], None] | None = None
        self.backend = backend
        self.senders: dict[QuicStream, None] = {}
        """Streams on which a task waits to send."""
        self.keepalive = KEEPALIVE
        """Seconds of silence after which the peer is asked for a sign of life."""
        self.flush_pending = False
        """Something was written, and waits for the end of the tick."""
        self.accepts_uni_streams = False
        """Whether unidirectional streams of the peer are wanted; libp2p refuses them."""
        self._endpoint = endpoint
        self._remote_address: Multiaddr | None = None
        self._established = False
        self._streams: dict[int, QuicStream] = {}
        self._arrivals = Arrivals(role)
        self._inbound: tuple[deque[QuicStream], deque[QuicStream]] = (deque(), deque())
        self._datagrams: deque[bytes] = deque(maxlen=MAX_DATAGRAMS)
        self._acceptors = trio.lowlevel.ParkingLot()
        self._openers = trio.lowlevel.ParkingLot()
        self._seat = Seat()  # of `establish`, then of `run`
        self._closer = Seat()
        self._closing = False
        self._closed_by: ConnectionClosed | None = None
        self._outbox = Outbox(endpoint, backend)
        self._last_write = -math.inf
        self._keepalive_at = trio.current_time() + self.keepalive
        self._unread = Unread()

    # --- what it is -------------------------------------------------------------------------------

    @property
    def public_key(self) -> PublicKey:
        key = self.backend.peer_key
        if key is None:
            raise RuntimeError("the peer has not proven a libp2p identity")
        return key

    @property
    def peer_id(self) -> PeerId:
        return self.public_key.peer_id

    @property
    def local_address(self) -> Multiaddr:
        return quic_address(self._endpoint.local)

    @property
    def remote_address(self) -> Multiaddr:
        return self._remote_address or quic_address(self.remote)

    @remote_address.setter
    def remote_address(self, address: Multiaddr) -> None:
        self._remote_address = address

    @property
    def bytes_sent(self) -> int:
        return self._outbox.bytes_sent

    @property
    def rtt(self) -> float | None:
        return self.backend.rtt

    @property
    def closed(self) -> bool:
        return self._closed_by is not None

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    def closed_error(self) -> ConnectionClosed:
        """A fresh error that says how the connection ended."""
        by = self._closed_by or ConnectionClosed("the connection is closing")
        peer = self.backend.peer_key and self.backend.peer_key.peer_id
        return ConnectionClosed(by.message, code=by.code, remote=by.remote, peer=peer)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._established else "half-open"
        return f"<{type(self).__name__} {state} {self.role.value} of {self.remote}>"

    # --- life -------------------------------------------------------------------------------------

    async def establish(self) -> None:
        """Complete the handshake. The caller sets the deadline; failing, or cancelled, it ends.

        Raises:
            HandshakeError: it failed (`PeerIdMismatch`: another identity was proven).
            PeerTimeout: the peer fell silent.
        """
        try:
            await self.wait_established()
        except BaseException:
            self.abort()
            raise

    async def wait_established(self) -> None:
        """As `establish`, but when this is cancelled, the handshake goes on if anybody reads."""
        await trio.lowlevel.checkpoint()
        while not (self._established or self.closed):
            await self._wait()
        if not self._established or self.closed:
            raise self._handshake_error()

    def _handshake_error(self) -> Exception:
        if self.backend.failure is not None:
            return self.backend.failure
        by = self._closed_by
        assert by is not None
        if by.message == errors.SILENT:
            return PeerTimeout("the peer fell silent during the handshake")
        return HandshakeError(by.message)

    async def run(self) -> None:
        """Carry the connection until it ends; never raises, whatever the peer does."""
        try:
            await trio.lowlevel.checkpoint()
            while not self.closed:
                await self._wait()
        except Exception as error:
            # A defect of ours in one connection must not end the node.
            logger.error("connection %s failed", self, exc_info=error)
            self._shut("internal error", errors.PROTOCOL_BROKEN)
        finally:
            self._shut("the connection was closed", 0)

    async def carry(self) -> None:
        """As `run`, but when this is cancelled, the connection stays open."""
        while not self.closed:
            await self._wait()

    async def _wait(self) -> None:
        """Sleep until the next timer, or until called; then act on it."""
        await self._endpoint.attend(self._seat, self._deadline())
        if not self.closed:
            self._on_time(trio.current_time())

    def _deadline(self) -> float:
        now = trio.current_time()
        if self._outbox.more or self.flush_pending:
            return now
        deadline = self._keepalive_at
        if (timer := self.backend.next_timer()) is not None:
            deadline = min(deadline, timer)
        if self._outbox.waiting:
            deadline = min(deadline, now + _FULL_SOCKET)
        return deadline

    def _on_time(self, now: float) -> None:
        timer = self.backend.next_timer()
        due = timer is not None and timer <= now
        if due:
            self.backend.on_timer(now)
        if self._keepalive_at <= now:
            self._keepalive_at = now + self.keepalive
            if self._established:
                self.backend.ping()
                due = True
        if due or self.flush_pending or self._outbox.more or self._outbox.waiting:
            self.flush()

    async def aclose(self, code: int = 0) -> None:
        """Flush for at most a second, tell the peer, end."""
        await trio.lowlevel.checkpoint()
        if self.closed or self._closing:
            return
        self._closing = True
        try:
            deadline = trio.current_time() + CLOSE_TIMEOUT
            while self._has_output() and trio.current_time() < deadline:
                await self._endpoint.attend(self._closer, min(deadline, self._deadline()))
                if self.closed:
                    return
                self._on_time(trio.current_time())
        finally:
            self._shut("we closed the connection", code)

    def repeat_opening(self) -> None:
        """Send a client's first datagrams once more, as a network may, if nothing came back yet."""
        self._outbox.repeat_opening(self.remote)

    def abort(self, code: int = 0) -> None:
        """End at once. One datagram tells the peer, as a reset does for TCP."""
        self._shut("the connection was aborted", code)

    def refuse(self) -> None:
        """End a connection that was not established."""
        self._shut("refused", errors.CONNECTION_REFUSED, application=False)

    def vanish(self, reason: str) -> None:
        """End without a word."""
        self._end(ConnectionClosed(reason), None)

    def _has_output(self) -> bool:
        if self._outbox.waiting or self.backend.unsent():
            return True
        # What may have got lost is sent again only while the connection is there.
        recently = trio.current_time() - self._last_write < CLOSE_TIMEOUT
        return recently and not self.backend.all_acknowledged

    def _shut(self, reason: str, code: int, *, application: bool = True) -> None:
        if self.closed:
            return
        self.backend.close(code, application=application)
        self._outbox.waiting.clear()
        self._end(ConnectionClosed(reason, code=code if application else 0), self._farewell())

    def _farewell(self) -> bytes | None:
        """Tell the peer why it ends; the datagram that does."""
        return self._outbox.farewell(trio.current_time(), self.remote)

    def _end(self, by: ConnectionClosed, farewell: bytes | None) -> None:
        if self.closed:
            return
        self._closed_by = by
        self._outbox.opening = None
        for stream in tuple(self._streams.values()):
            stream.abandon()
        self._streams.clear()
        self._unread.give_back(self.budget)
        self._acceptors.unpark_all()
        self._openers.unpark_all()
        self._endpoint.forget(self, farewell)
        self._seat.call()
        self._closer.call()
        if self.on_end is not None:
            self.on_end(by)

    # --- streams ----------------------------------------------------------------------------------

    async def open_stream(self, *, unidirectional: bool = False) -> QuicStream:
        """Raises: ConnectionClosed; ResourceLimitExceeded if the peer allows no more."""
        await trio.lowlevel.checkpoint()
        if self.closed or self._closing:
            raise self.closed_error()
        number = self.backend.open_stream(unidirectional=unidirectional)
        if number is None:
            with trio.move_on_after(OPEN_TIMEOUT):
                while number is None:
                    await self._openers.park()
                    if self.closed or self._closing:
                        raise self.closed_error()
                    number = self.backend.open_stream(unidirectional=unidirectional)
        if number is None:
            raise ResourceLimitExceeded(
                scope=f"connection to {self.remote_address}",
                limit="streams that the peer allows",
                maximum=self.stream_count,
                present=self.stream_count,
            )
        return self._add_stream(number, Direction.OUTBOUND)

    async def accept_stream(self, *, unidirectional: bool = False) -> QuicStream:
        await trio.lowlevel.checkpoint()
        inbound = self._inbound[unidirectional]
        while True:
            if inbound:
                return inbound.popleft()
            if self.closed:
                raise self.closed_error()
            await self._acceptors.park()

    def _add_stream(self, number: int, direction: Direction) -> QuicStream:
        settings = self._endpoint.settings
        stream = QuicStream(
            self, number, direction, settings.stream_window, settings.max_stream_window
        )
        self._streams[number] = stream
        return stream

    def _stream_of(self, number: int) -> QuicStream | None:
        """The stream, a new one if the peer has just opened it; None if it is over."""
        stream = self._streams.get(number)
        if stream is None and self._arrivals.is_new(number):
            stream = self._add_stream(number, Direction.INBOUND)
            unidirectional = number & 2 != 0
            if unidirectional and not self.accepts_uni_streams:
                stream.reset(0)
            else:
                self._inbound[unidirectional].append(stream)
                self._acceptors.unpark_all()
        return stream

    # --- datagrams (RFC 9221) ---------------------------------------------------------------------

    def send_datagram(self, data: bytes) -> bool:
        """Send one unreliable datagram; False if the peer takes none, or none so long."""
        sent = self.backend.send_datagram(data)
        self.flush()
        return sent

    async def receive_datagram(self) -> bytes:
        """The next datagram; some may be lost. Raises: ConnectionClosed."""
        await trio.lowlevel.checkpoint()
        while not self._datagrams:
            if self.closed:
                raise self.closed_error()
            await self._acceptors.park()
        return self._datagrams.popleft()

    # --- receiving --------------------------------------------------------------------------------

    def receive(self, train: bytes, segment: int, source: Endpoint) -> None:
        """Take datagrams; whoever calls also calls `flush`, once for all of a turn."""
        now = trio.current_time()
        self._keepalive_at = now + self.keepalive
        self.bytes_received += len(train)
        self._outbox.opening = None
        if not self._established and self.bytes_received > EARLY_BYTES:
            self.vanish("too much was sent before the handshake was complete")
            return
        self.backend.receive(train, segment, (source[0].partition("%")[0], source[1]), now)
        self._process()

    def _process(self) -> None:
        while not self.closed and (event := self.backend.next_event()) is not None:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case StreamData(number, data, fin):
                if (stream := self._stream_of(number)) is not None:
                    stream.on_data(data, fin)
            case WindowOpened():
                pass  # `flush` looks at all senders
            case StreamReset(number, code):
                if (stream := self._stream_of(number)) is not None:
                    stream.on_reset(code)
            case StopSending(number, code):
                if (stream := self._stream_of(number)) is not None:
                    stream.on_stop(code)
            case StreamFinished(number):
                self._streams.pop(number, None)
            case StreamsAvailable():
                self._openers.unpark_all()
            case DatagramReceived(data):
                if self.accepts_uni_streams:
                    self._datagrams.append(data)
                    self._acceptors.unpark_all()
            case PathChanged(remote):
                zone = self.remote[0].partition("%")[1:]
                self.remote = remote[0] + "".join(zone), remote[1]
                self._remote_address = None
            case ConnectionIdIssued(id):
                self._endpoint.add_id(self, id)
            case ConnectionIdRetired(id):
                self._endpoint.remove_id(self, id)
            case Negotiated(alpn):
                self.alpn = alpn
                if self.role is Role.SERVER and not self._endpoint.negotiated(self, alpn):
                    self.refuse()
            case Established(alpn):
                self.alpn = alpn
                self._established = True
                self._endpoint.established(self)
                self._seat.call()
            case Closed():
                self._on_closed(event)

    def _on_closed(self, event: Closed) -> None:
        farewell = self._farewell()
        self._end(errors.ending(event), None if event.remote else farewell)

    def fail(self, code: int, reason: str) -> None:
        """The peer broke the protocol in a way that the backend does not see."""
        self.backend.close(code, reason, application=False)
        self._end(ConnectionClosed(reason, code=1), self._farewell())

    def count_unread(self, change: int) -> None:
        """Account for data that was received, or read."""
        if not self._unread.count(change, self.budget):
            self._shut("memory is short", errors.RESOURCE_LIMIT_EXCEEDED)

    # --- sending ----------------------------------------------------------------------------------

    def wrote(self, *, soon: bool = False) -> None:
        """A stream has written.

        Args:
            soon: flush at the end of this tick, if nobody does before: what the task does next,
                perhaps ending the stream, shares the packets.
        """
        self._last_write = trio.current_time()
        if soon:
            self.flush_pending = True
            self._seat.hasten(self._last_write)
        else:
            self.flush()

    def flush(self) -> None:
        """Send what there is, up to one turn's share; wake who waited for that."""
        if self.closed:
            return
        hastened, self.flush_pending = self.flush_pending, False
        self._outbox.transmit(trio.current_time(), self.remote)
        self._process()
        for stream in tuple(self.senders):
            stream.on_sent()
        if self._closing and not self._has_output():
            self._closer.call()
        if not self.closed:
            deadline = self._deadline()
            if hastened:
                self._seat.delay(deadline)
            else:
                self._seat.hasten(deadline)
            if self._closing:
                self._closer.hasten(deadline)


_QUIC = parse_address("/quic-v1")


def quic_address(endpoint: Endpoint) -> Multiaddr:
    """`/ip4|ip6/…/udp/…/quic-v1`."""
    return encapsulate(endpoint_address(endpoint, "udp"), _QUIC)
