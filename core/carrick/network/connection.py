"""A connection to a peer: opens streams that speak a protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import trio

from carrick import errors
from carrick.addressing import is_relayed, transport_name
from carrick.interfaces import Direction, MuxedConnection, MuxedStream
from carrick.network.codes import StreamCode
from carrick.network.events import EventBus, StreamClosed, StreamOpened
from carrick.network.limits import Limits
from carrick.network.opening import LazyOpening
from carrick.network.resources import ConnectionReservation, StreamReservation
from carrick.network.stream import Stream
from carrick.transports import multistream

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey

__all__ = ["Connection"]


class Surroundings(Protocol):
    """What a connection needs of its swarm."""

    @property
    def limits(self) -> Limits: ...
    @property
    def events(self) -> EventBus: ...


class Connection:
    """An authenticated, multiplexed connection. The swarm makes them."""

    def __init__(
        self,
        muxed: MuxedConnection,
        direction: Direction,
        reservation: ConnectionReservation,
        swarm: Surroundings,
        *,
        opened_at: float,
        protocols: frozenset[str] | None = None,
    ) -> None:
        self.direction = direction
        """Who dialled."""
        self.opened_at = opened_at
        """When it was authenticated, in seconds of `trio.current_time()`."""
        self.protocols = protocols
        """What the peer says it speaks, or said when we last met; None if nothing (identify) has
        ever asked it. Streams of these protocols are negotiated lazily."""
        self.announced = trio.Event()
        """Set once the connection has passed the connection steps, or has ended."""
        self.ended = trio.Event()
        """Set once the connection has ended and given back what it held."""
        self.close_reason: str | None = None
        """Why we closed it, if we did."""
        self.muxed = muxed
        self.reservation = reservation
        self.is_relayed = is_relayed(muxed.remote_address)
        """Another peer carries it, with limits or without."""
        self._swarm = swarm
        self._streams: set[Stream] = set()
        self._at_end: list[Callable[[Connection], None]] = []
        self.nursery: trio.Nursery | None = None
        """Set by the swarm while the connection is carried."""

    # --- what it is -------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        return self.muxed.peer_id

    @property
    def public_key(self) -> PublicKey:
        return self.muxed.public_key

    @property
    def local_address(self) -> Multiaddr:
        return self.muxed.local_address

    @property
    def remote_address(self) -> Multiaddr:
        return self.muxed.remote_address

    @property
    def transport(self) -> str | None:
        """The transport's name in the address: `tcp`, `quic-v1`, `p2p-circuit`, …"""
        return transport_name(self.remote_address)

    @property
    def security(self) -> str:
        return self.muxed.security

    @property
    def muxer(self) -> str:
        return self.muxed.muxer

    @property
    def is_limited(self) -> bool:
        """A relay carries it, with limits on time and bytes."""
        return self.muxed.is_limited

    @property
    def rtt(self) -> float | None:
        """The measured round-trip time in seconds."""
        return self.muxed.rtt

    @property
    def closed(self) -> bool:
        return self.muxed.closed

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are open and have a protocol."""
        return tuple(self._streams)

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def memory(self) -> int:
        """Bytes reserved beyond the basic share."""
        return self.reservation.budget.used

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<Connection {state} {self.direction.value} {self.peer_id} {self.remote_address}>"

    async def wait_announced(self) -> Connection:
        """Wait until it has passed the connection steps; returns itself.

        Raises:
            DialError: it has ended.
        """
        await self.announced.wait()
        if self.closed:
            raise errors.DialError(
                "the connection ended at once",
                peer=self.peer_id,
                causes=[(self.remote_address, self.muxed.closed_error())],
            )
        return self

    # --- streams ----------------------------------------------------------------------------------

    async def open_stream(
        self, protocols: str | Sequence[str], *, lazy: bool | None = None
    ) -> Stream:
        """Open a stream that speaks the first of `protocols` that the peer supports.

        A protocol that the peer is known to speak is negotiated lazily: the stream is there at
        once, its first bytes ride with the proposal, and a refusal shows at the first receive.
        Otherwise the peer's answer is waited for.

        Args:
            lazy: True: propose the first of `protocols` lazily, known or not; False: never.

        Raises:
            ProtocolNotSupported: the peer speaks none of them.
            NegotiationError: the peer broke multistream-select.
            PeerTimeout: no answer within `negotiation_timeout`.
            ResourceLimitExceeded: too many streams.
            ConnectionClosed: the connection has ended.
            StreamReset: the peer refused the stream.
        """
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        raw = await self.muxed.open_stream()
        slot: StreamReservation | None = None
        try:
            slot = self.reservation.open_stream(Direction.OUTBOUND)
            proposal = self._lazy_choice(names, lazy)
            if proposal is not None:
                opening = LazyOpening(raw, multistream.Dialer((proposal,), lazy=True))
                slot.negotiated(proposal)
                return self.adopt(raw, proposal, slot, opening=opening)
            protocol, received = await self._negotiate(raw, names)
            slot.negotiated(protocol)
            return self.adopt(raw, protocol, slot, received=received)
        except BaseException:
            raw.reset(StreamCode.PROTOCOL_NEGOTIATION_FAILED)
            if slot is not None:
                slot.release()
            raise

    def _lazy_choice(self, names: Sequence[str], lazy: bool | None) -> str | None:
        if lazy:
            return names[0]
        if lazy is None and self.protocols is not None:
            if len(names) > 1 and not self.announced.is_set():
                return None  # it may have changed since we last met
            return next((name for name in names if name in self.protocols), None)
        return None

    async def _negotiate(self, raw: MuxedStream, names: Sequence[str]) -> tuple[str, bytes]:
        timeout = self._swarm.limits.negotiation_timeout
        try:
            with trio.move_on_after(timeout):
                return await multistream.dial(raw, names)
            raise errors.PeerTimeout(
                f"no answer to the proposal of {', '.join(names)} within {timeout:g} s",
                peer=self.peer_id,
            )
        except (errors.ProtocolNotSupported, errors.NegotiationError) as error:
            error.peer = self.peer_id
            raise

    def adopt(
        self,
        raw: MuxedStream,
        protocol: str,
        slot: StreamReservation,
        *,
        received: bytes = b"",
        opening: LazyOpening | None = None,
    ) -> Stream:
        """Make a stream of a negotiated one, and keep account of it. For the swarm."""

        def ended(stream: Stream, was_reset: bool) -> None:
            slot.release()
            self._streams.discard(stream)
            if self._swarm.events.wanted(StreamClosed):
                self._swarm.events.publish(StreamClosed(stream, was_reset))

        stream = Stream(raw, self, protocol, received=received, opening=opening, ended=ended)
        self._streams.add(stream)
        if self._swarm.events.wanted(StreamOpened):
            self._swarm.events.publish(StreamOpened(stream))
        return stream

    def spawn(self, function: Callable[[], Awaitable[None]]) -> bool:
        """Run `function` in a task that ends with the connection; False if it has ended."""
        if self.nursery is None:
            return False
        self.nursery.start_soon(function)
        return True

    # --- ending -----------------------------------------------------------------------------------

    def call_at_end(self, function: Callable[[Connection], None]) -> None:
        """Call `function` when the connection has ended; at once if it has."""
        if self.ended.is_set():
            function(self)
        else:
            self._at_end.append(function)

    def mark_ended(self) -> None:
        """The connection has given back what it held. For the swarm."""
        self.ended.set()
        for function in self._at_end:
            function(self)

    async def aclose(self, code: int = 0, *, reason: str = "closed by us") -> None:
        """Tell the peer, flush for at most a second, end. Idempotent."""
        self.close_reason = self.close_reason or reason
        await self.muxed.aclose(code)

    def abort(self, code: int = 0, *, reason: str = "aborted by us") -> None:
        """End at once, without a word to the peer."""
        self.close_reason = self.close_reason or reason
        self.muxed.abort(code)
