"""The relay client: reserves slots on relays, takes circuits, opens them to others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr, is_relayed, split_peer
from carrick.deadlines import deadline
from carrick.errors import (
    PEER_FAILURES,
    CarrickError,
    IdentityError,
    InvalidEnvelope,
    ProtocolError,
)
from carrick.host.host import Host, Target, resolve_target
from carrick.identity import PeerId
from carrick.network import Connection, Stream
from carrick.network.events import ListenAddressesChanged
from carrick.protocols.relay.errors import refusal
from carrick.protocols.relay.events import ReservationGained, ReservationLost
from carrick.protocols.relay.messages import (
    HOP,
    MAX_MESSAGE,
    NO_LIMIT,
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
from carrick.protocols.relay.state import RefreshSchedule, lifetime
from carrick.protocols.relay.transport import CircuitInbound, CircuitTransport, circuit_address
from carrick.protocols.relay.voucher import Voucher

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["RelayClient", "RelayClientOptions", "Reservation"]

_log = logging.getLogger("carrick.relay")

_STREAMS_PER_RELAY = 128  # circuits of one relay to us; go's limit for the stop protocol
_PROTECTION = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayClientOptions:
    """Deadlines in seconds, and the clock.

    Attributes:
        reserve_timeout: of a reservation, connecting included.
        circuit_timeout: until a relay has connected us.
        accept_timeout: within which a relay must say what its stream is for.
        clock: the UNIX time, by which relays say when reservations end.
    """

    # go-libp2p p2p/protocol/circuitv2/client: ReserveTimeout, DialTimeout, AcceptTimeout
    reserve_timeout: float = 60.0
    circuit_timeout: float = 60.0
    accept_timeout: float = 10.0
    clock: Callable[[], float] = time.time


class Reservation:
    """A slot on a relay, which the client keeps until it is released.

    Attributes:
        relay: the relay.
        addresses: where it makes us reachable, `…/p2p/<relay>/p2p-circuit`; empty while the slot
            is not ours.
        limit: what it allows each circuit.
        voucher: its signed word, if it gave one.
        expires: when it ends unless it is renewed, in seconds of `trio.current_time()`.
        renewals: how often it was given.
    """

    def __init__(self, relay: PeerId, hints: Iterable[Multiaddr]) -> None:
        self.relay = relay
        self.addresses: tuple[Multiaddr, ...] = ()
        self.limit = NO_LIMIT
        self.voucher: Voucher | None = None
        self.renewals = 0
        self.schedule = RefreshSchedule()
        self.hints = tuple(hints)
        """Where the relay was said to be."""
        self.connection: Connection | None = None
        self.keeping = trio.CancelScope()
        self.changed = trio.Event()

    @property
    def expires(self) -> float:
        return self.schedule.expires

    @property
    def active(self) -> bool:
        """The slot is ours at this moment."""
        return bool(self.addresses)

    async def wait_active(self) -> None:
        """Wait until the slot is ours."""
        while not self.active:
            await self.changed.wait()

    async def wait_lost(self) -> None:
        """Wait until it is not."""
        while self.active:
            await self.changed.wait()

    def __repr__(self) -> str:
        return f"<Reservation {'active' if self.active else 'inactive'} on {self.relay}>"

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class RelayClient:
    """Makes a host reachable over relays, and lets it reach others over theirs.

    It keeps the slots that it is told to; `AutoRelay` finds relays, and decides when we need them.

    Args:
        relays: keep a slot on each of these, from the start and for ever.
    """

    def __init__(
        self, relays: Iterable[Target] = (), options: RelayClientOptions | None = None
    ) -> None:
        self.options = options or RelayClientOptions()
        self._given = tuple(relays)
        self._kept: dict[PeerId, Reservation] = {}
        self._host: Host
        self._nursery: trio.Nursery

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve circuits and keep reservations, until cancelled."""
        self._host = host
        host.swarm.add_transport(CircuitTransport(self, host.upgrader))
        host.swarm.handle(
            STOP, self._accept, allow_limited=True, streams_per_peer=_STREAMS_PER_RELAY
        )
        host.add_own_addresses(self.addresses)
        for given in self._given:
            peer, hints = resolve_target(given)
            if peer is None:
                raise ValueError(f"a relay's address must end with /p2p/<its id>: {given}")
            self._kept[peer] = Reservation(peer, hints)
        named = tuple(self._kept.values())
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await host.ready.wait()
            for kept in named:
                self._nursery.start_soon(self._keep_up, kept)
            await trio.sleep_forever()

    # --- reservations -----------------------------------------------------------------------------

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """Those that are kept, active or not."""
        return tuple(self._kept.values())

    def addresses(self) -> list[Multiaddr]:
        """Our addresses over relays, without `/p2p/<us>`."""
        return [each for kept in self._kept.values() for each in kept.addresses]

    async def reserve(self, relay: Target) -> Reservation:
        """Reserve a slot on a relay, and keep it: renewed in time, asked for again when lost.

        Raises:
            RelayRefused: the relay refused; its subclass and `status` say why.
            ProtocolNotSupported: it is no relay.
            ProtocolError: its answer makes no sense.
            PeerTimeout, DialError, LimitedConnection, StreamReset, ConnectionClosed.
        """
        peer, hints = resolve_target(relay)
        if peer is None:
            found = await self._host.connect(relay, timeout=self.options.reserve_timeout)
            peer = found.peer_id
        kept = self._kept.get(peer)
        if kept is not None and kept.active:
            return kept
        if kept is not None:
            self.release(peer)
        kept = self._kept[peer] = Reservation(peer, hints)
        try:
            await self._ask(kept)
        except BaseException:
            if self._kept.get(peer) is kept:
                del self._kept[peer]
            raise
        if self._kept.get(peer) is not kept:
            self._drop(kept)
            raise CarrickError("the reservation was released meanwhile", peer=peer)
        self._nursery.start_soon(self._keep_up, kept)
        return kept

    def release(self, relay: PeerId) -> bool:
        """Keep it no longer: not advertised, not renewed. Circuits that are there stay.

        Returns whether it was kept.
        """
        kept = self._kept.pop(relay, None)
        if kept is not None:
            self._drop(kept)
        return kept is not None

    def _drop(self, kept: Reservation) -> None:
        kept.keeping.cancel()
        self._host.swarm.manager.unprotect(kept.relay, _PROTECTION)
        self._set_lost(kept, None)

    async def _keep_up(self, kept: Reservation) -> None:
        """Renew `kept` in time, and ask again when it is lost, for ever."""
        schedule = kept.schedule
        with kept.keeping:
            while True:
                if kept.active and kept.connection is not None:
                    with trio.move_on_at(min(schedule.due, schedule.expires)):
                        await kept.connection.ended.wait()
                        schedule.lost(trio.current_time(), self._host.rng.random())
                        self._set_lost(kept, kept.connection.muxed.closed_error())
                if kept.active and trio.current_time() >= schedule.expires:
                    self._set_lost(kept, None)
                if (wait := schedule.due - trio.current_time()) > 0:
                    if not kept.active:
                        await trio.sleep(wait)
                    continue
                try:
                    await self._ask(kept)
                except PEER_FAILURES as error:
                    _log.debug("no reservation on %s: %s", kept.relay, error)
                    schedule.failed(trio.current_time(), self._host.rng.random())

    async def _ask(self, kept: Reservation) -> None:
        """Ask once, and take the answer over."""
        options, swarm = self.options, self._host.swarm
        with deadline(options.reserve_timeout, "the reservation was not done", peer=kept.relay):
            connection = await self._connect(kept.relay, kept.hints)
            stream = await connection.open_stream(HOP)
            answer = await _request(stream, Reserve())
            await stream.aclose()
        if answer.status != Status.OK:
            raise refusal(answer.status, peer=kept.relay, asked="reservation")
        if answer.grant is None:
            raise ProtocolError("the relay accepted without a reservation", peer=kept.relay)
        grant, now = answer.grant, trio.current_time()
        try:
            seconds = lifetime(grant.expire, options.clock())
        except ValueError as error:
            raise ProtocolError(str(error), peer=kept.relay) from None
        kept.voucher = self._verified(grant, kept.relay)
        kept.limit = answer.limit
        kept.connection = connection
        kept.renewals += 1
        kept.schedule.granted(now, seconds, self._host.rng.random())
        swarm.manager.protect(kept.relay, _PROTECTION)
        before, kept.addresses = kept.addresses, _usable(grant, connection)
        if not before:
            self._host.events.publish(ReservationGained(kept))
        if before != kept.addresses:
            self._addresses_changed()
        kept.notify()

    def _verified(self, grant: Grant, relay: PeerId) -> Voucher | None:
        if grant.voucher is None:
            return None
        try:
            voucher = Voucher.open(grant.voucher)
        except InvalidEnvelope as error:
            raise ProtocolError(f"the relay's voucher: {error.message}", peer=relay) from error
        if (voucher.relay, voucher.peer) != (relay, self._host.id):
            raise ProtocolError("the relay's voucher is for somebody else", peer=relay)
        return voucher

    def _set_lost(self, kept: Reservation, cause: BaseException | None) -> None:
        if kept.active:
            kept.addresses = ()
            self._host.events.publish(ReservationLost(kept, cause))
            self._addresses_changed()
            kept.notify()

    def _addresses_changed(self) -> None:
        # Identify looks at all our addresses when it hears this, and tells the peers.
        self._host.events.publish(ListenAddressesChanged(self._host.swarm.listen_addresses))

    async def _connect(self, relay: PeerId, hints: Iterable[Multiaddr]) -> Connection:
        """A direct connection with the relay."""
        swarm = self._host.swarm
        present = [each for each in swarm.connections(relay) if not is_relayed(each.remote_address)]
        if present:
            return present[-1]
        direct = [address for address in hints if not is_relayed(address)]
        connection = await swarm.connect(relay, direct, allow_limited=False, force=True)
        if is_relayed(connection.remote_address):
            raise CarrickError("the relay itself is only reached over a relay", peer=relay)
        return connection

    # --- circuits ---------------------------------------------------------------------------------

    async def open_circuit(
        self, relay: PeerId, address: Multiaddr | None, peer: PeerId
    ) -> tuple[Stream, Limit]:
        """Have `relay` connect us with `peer`: a stream whose other end is the peer, not secured.

        For the transport; use `host.connect` with an address over a relay.

        Raises:
            RelayRefused: its subclass and `status` say why.
            PeerTimeout, DialError, ProtocolNotSupported, ProtocolError, StreamReset, ….
        """
        with deadline(self.options.circuit_timeout, "the circuit was not done", peer=relay):
            connection = await self._connect(relay, () if address is None else (address,))
            stream = await connection.open_stream(HOP)
            answer = await _request(stream, Connect(peer))
            if answer.status != Status.OK:
                await stream.aclose()
                raise refusal(answer.status, peer=relay, asked=f"circuit to {peer}")
        return stream, answer.limit

    async def _accept(self, stream: Stream) -> None:
        """A relay offers a circuit: take it, and stay until it ends."""
        with deadline(self.options.accept_timeout, "the relay made no offer", peer=stream.peer_id):
            try:
                message = decode_stop(await stream.read_frame(MAX_MESSAGE))
            except ProtocolError:
                await _answer(stream, Status.MALFORMED_MESSAGE)
                return
            if (status := self._judge(stream.connection, message)) is not None:
                await _answer(stream, status)
                return
        assert isinstance(message, StopConnect)
        inbound = CircuitInbound(stream, message.peer, message.limit, self._host.upgrader)
        if not await self._host.swarm.accept(inbound):
            with deadline(
                self.options.accept_timeout, "our answer was not taken", peer=stream.peer_id
            ):
                await _answer(stream, Status.RESOURCE_LIMIT_EXCEEDED)
        elif inbound.socket is not None:
            await inbound.socket.ended.wait()

    def _judge(self, relay: Connection, message: object) -> Status | None:
        """Why an offer is refused; None: it is not."""
        if not isinstance(message, StopConnect):
            return Status.UNEXPECTED_MESSAGE
        if relay.peer_id not in self._kept or is_relayed(relay.remote_address):
            return Status.PERMISSION_DENIED
        if message.peer in (self._host.id, relay.peer_id):
            return Status.PERMISSION_DENIED
        return None


async def _request(stream: Stream, message: Reserve | Connect) -> HopStatus:
    """Ask, and read the answer; a stream on which that fails is reset."""
    try:
        await stream.write_frame(message.encode())
        answer = decode_hop(await stream.read_frame(MAX_MESSAGE))
        if not isinstance(answer, HopStatus):
            raise ProtocolError("the relay answered with a request", peer=stream.peer_id)
    except BaseException:
        stream.reset()
        raise
    return answer


async def _answer(stream: Stream, status: Status) -> None:
    await stream.write_frame(StopStatus(status).encode())


def _usable(grant: Grant, connection: Connection) -> tuple[Multiaddr, ...]:
    """Where others find us: the relay's addresses, or else where we found it."""
    relay, found = connection.peer_id, []
    for address in grant.addresses:
        try:
            where, named = split_peer(address)
        except IdentityError:
            continue
        if named in (None, relay) and where.to_bytes() and not is_relayed(where):
            found.append(circuit_address(where, relay))
    return tuple(dict.fromkeys(found)) or (circuit_address(connection.remote_address, relay),)
