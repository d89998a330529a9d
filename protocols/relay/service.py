"""The relay service: gives reservations, and carries circuits."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from carrick.addressing import IPAddress, Multiaddr, host_ip, is_relayed, with_peer
from carrick.errors import PEER_FAILURES, ProtocolError
from carrick.host import Host
from carrick.identity import PeerId
from carrick.network import Connection, Stream, StreamCode
from carrick.protocols.relay.events import (
    CircuitClosed,
    CircuitOpened,
    RelayRequestRefused,
    ReservationGiven,
)
from carrick.protocols.relay.messages import (
    HOP,
    MAX_MESSAGE,
    STOP,
    Connect,
    Grant,
    HopStatus,
    Limit,
    Reserve,
    Status,
    StopConnect,
    StopStatus,
    decode_hop,
    decode_stop,
)
from carrick.protocols.relay.state import Allowance, Capacity, Refused, Slots
from carrick.protocols.relay.voucher import Voucher

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["RelayOptions", "RelayService"]

_log = logging.getLogger("carrick.relay")

_CHUNK = 256 * 1024  # bytes that are carried at once, at most
_SPARE_STREAMS = 48  # of a peer, for requests beside its circuits: 64 in all, with the defaults
_TAG, _TAG_VALUE = "relay", 10  # go-libp2p circuitv2/relay: ReservationTagWeight


def _anybody(*_: object) -> bool:
    return True


def _no_asn(_: IPAddress) -> int | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """What a relay gives, to whom, and how patient it is.

    Attributes:
        limit: of each circuit; `Limit()` for none.
        capacity: how many reservations and circuits.
        request_timeout: for a request to come, in seconds.
        stop_timeout: for the peer behind us to take a circuit, in seconds.
        allow_reservation: asked with the peer and its address.
        allow_circuit: asked with source, its address, and target.
        asn: the autonomous system of an IP address, where it is known.
        clock: the UNIX time, by which peers are told when their reservations end.
    """

    # go-libp2p p2p/protocol/circuitv2/relay: resources.go and relay.go
    limit: Limit = field(default=Limit(duration=120, data=1 << 17))
    capacity: Capacity = field(default_factory=Capacity)
    request_timeout: float = 60.0
    stop_timeout: float = 30.0
    allow_reservation: Callable[[PeerId, Multiaddr], bool] = _anybody
    allow_circuit: Callable[[PeerId, Multiaddr, PeerId], bool] = _anybody
    asn: Callable[[IPAddress], int | None] = _no_asn
    clock: Callable[[], float] = time.time


class RelayService:
    """Relays for others. What it carries is sealed from end to end, and never opened here."""

    def __init__(self, options: RelayOptions | None = None) -> None:
        self.options = options or RelayOptions()
        self._slots = Slots(self.options.capacity)
        self._circuits: set[trio.CancelScope] = set()
        self._watched: set[Connection] = set()
        self._host: Host

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; then take nothing new, and end the circuits."""
        self._host = host
        host.swarm.handle(
            HOP,
            self._serve,
            allow_limited=True,  # to refuse with a status
            service="relay",
            streams_per_peer=self.options.capacity.circuits_per_peer + _SPARE_STREAMS,
        )
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            host.swarm.unhandle(HOP)
            for circuit in tuple(self._circuits):
                circuit.cancel()

    @property
    def reservations(self) -> int:
        """How many peers have a reservation."""
        self._expire()
        return self._slots.reservations

    @property
    def circuits(self) -> int:
        """How many circuits are carried, or being set up."""
        return self._slots.circuits

    # --- requests ---------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        with trio.move_on_after(self.options.request_timeout) as patience:
            try:
                message = decode_hop(await stream.read_frame(MAX_MESSAGE))
            except ProtocolError:
                await self._refuse(stream, Status.MALFORMED_MESSAGE)
                return
            if is_relayed(stream.connection.remote_address):
                await self._refuse(stream, Status.PERMISSION_DENIED)
            elif isinstance(message, Reserve):
                await self._reserve(stream)
            elif isinstance(message, Connect):
                patience.deadline = math.inf
                await self._connect(stream, message.peer)
            else:
                await self._refuse(stream, Status.UNEXPECTED_MESSAGE)
        if patience.cancelled_caught:
            stream.reset()

    async def _refuse(self, stream: Stream, status: Status) -> None:
        self._host.events.publish(RelayRequestRefused(stream.peer_id, status))
        with trio.move_on_after(self.options.request_timeout):
            await stream.write_frame(HopStatus(status).encode())

    # --- reservations -----------------------------------------------------------------------------

    async def _reserve(self, stream: Stream) -> None:
        options, connection, peer = self.options, stream.connection, stream.peer_id
        if not options.allow_reservation(peer, connection.remote_address):
            await self._refuse(stream, Status.PERMISSION_DENIED)
            return
        now, ip = trio.current_time(), host_ip(connection.remote_address)
        self._expire()
        renewed = self._slots.has(peer, now)
        try:
            self._slots.reserve(peer, ip, now, asn=None if ip is None else options.asn(ip))
        except Refused as refused:
            await self._refuse(stream, refused.status)
            return
        self._watch(connection)
        self._host.swarm.manager.tag(peer, _TAG, _TAG_VALUE)
        expire = int(options.clock() + options.capacity.ttl)
        voucher = Voucher(self._host.id, peer, expire).seal(self._host.key)
        grant = Grant(expire, tuple(self._own_addresses(connection)), voucher)
        self._host.events.publish(ReservationGiven(peer, renewed))
        await stream.write_frame(HopStatus(Status.OK, grant, options.limit).encode())

    def _own_addresses(self, connection: Connection) -> list[Multiaddr]:
        own = self._host.own_addresses.for_peer_at(connection.remote_address)
        return [with_peer(each, self._host.id) for each in own if not is_relayed(each)]

    def _expire(self) -> None:
        for peer in self._slots.expire(trio.current_time()):
            self._host.swarm.manager.untag(peer, _TAG)

    def _watch(self, connection: Connection) -> None:
        if connection not in self._watched:
            self._watched.add(connection)
            connection.call_at_end(self._connection_ended)

    def _connection_ended(self, connection: Connection) -> None:
        """A reservation lasts no longer than the connections of its peer."""
        self._watched.discard(connection)
        if self._direct(connection.peer_id) is None and self._slots.drop(connection.peer_id):
            self._host.swarm.manager.untag(connection.peer_id, _TAG)

    def _direct(self, peer: PeerId) -> Connection | None:
        """The newest connection with `peer` that is not itself relayed."""
        for connection in reversed(self._host.swarm.connections(peer)):
            if not is_relayed(connection.remote_address):
                return connection
        return None

    # --- circuits ---------------------------------------------------------------------------------

    async def _connect(self, stream: Stream, target: PeerId) -> None:
        options, source = self.options, stream.peer_id
        address = stream.connection.remote_address
        forbidden = target in (source, self._host.id)
        if forbidden or not options.allow_circuit(source, address, target):
            await self._refuse(stream, Status.PERMISSION_DENIED)
            return
        try:
            self._slots.open_circuit(source, target, trio.current_time())
        except Refused as refused:
            await self._refuse(stream, refused.status)
            return
        try:
            with trio.CancelScope() as circuit:
                self._circuits.add(circuit)
                await self._bridge(stream, target)
            if circuit.cancelled_caught:
                stream.reset(StreamCode.SHUTDOWN)
        finally:
            self._circuits.discard(circuit)
            self._slots.close_circuit(source, target)

    async def _bridge(self, near: Stream, target: PeerId) -> None:
        """Open the way to `target`, tell the source, and carry bytes until it is over."""
        options, far = self.options, None
        with trio.move_on_after(options.stop_timeout):
            far = await self._stop(target, StopConnect(near.peer_id, options.limit))
        if far is None:
            await self._refuse(near, Status.CONNECTION_FAILED)
            return
        try:
            with trio.move_on_after(options.stop_timeout) as answering:
                await near.write_frame(HopStatus(Status.OK, limit=options.limit).encode())
            if not answering.cancelled_caught:
                await self._carry(near, far)
        finally:
            near.reset()
            far.reset()

    async def _stop(self, target: PeerId, request: StopConnect) -> Stream | None:
        """A stream to `target`, which it has taken as a circuit; None if it could not be had."""
        connection, stream = self._direct(target), None
        if connection is None:
            return None
        try:
            stream = await connection.open_stream(STOP)
            await stream.write_frame(request.encode())
            answer = decode_stop(await stream.read_frame(MAX_MESSAGE))
            if isinstance(answer, StopStatus) and answer.status == Status.OK:
                return stream
            _log.debug("%s did not take a circuit: %s", target, answer)
        except PEER_FAILURES as error:
            _log.debug("%s could not be offered a circuit: %s", target, error)
        except BaseException:
            if stream is not None:
                stream.reset()
            raise
        if stream is not None:
            stream.reset()
        return None

    async def _carry(self, near: Stream, far: Stream) -> None:
        limit, events = self.options.limit, self._host.events
        forward, backward = Allowance(limit.data), Allowance(limit.data)
        events.publish(CircuitOpened(near.peer_id, far.peer_id))
        reasons: list[str] = []
        outcome = "the relay stops"

        async def flow(source: Stream, sink: Stream, allowance: Allowance) -> None:
            try:
                await _copy(source, sink, allowance)
            except PEER_FAILURES as error:
                reasons.append(str(error) or type(error).__name__)
            if allowance.exceeded:
                reasons.append("more bytes than its limit")
            if reasons:
                nursery.cancel_scope.cancel()

        try:
            with trio.move_on_after(limit.duration or math.inf) as lifetime:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(flow, near, far, forward)
                    nursery.start_soon(flow, far, near, backward)
            if lifetime.cancelled_caught:
                reasons.append("longer than its limit")
            outcome = reasons[0] if reasons else ""
            if not reasons:
                await near.aclose()
                await far.aclose()
        finally:
            ends = near.peer_id, far.peer_id
            events.publish(CircuitClosed(*ends, forward.passed, backward.passed, outcome))


async def _copy(source: Stream, sink: Stream, allowance: Allowance) -> None:
    """Carry bytes one way, to the end of file or until there are more than allowed."""
    while data := await source.receive_some(allowance.readable(_CHUNK)):
        passed = allowance.take(len(data))
        await sink.send_all(data if passed == len(data) else data[:passed])
        if allowance.exceeded:
            return
    await sink.send_eof()
