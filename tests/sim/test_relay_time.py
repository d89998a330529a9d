"""The relay in virtual time: refusals, limits, renewal, and attacks (rows 65 to 67)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.errors import (
    CarrickError,
    DialError,
    LimitedConnection,
    PeerIdMismatch,
    ProtocolError,
    ProtocolNotSupported,
    StreamReset,
)
from carrick.host import Host
from carrick.identity import PeerId, PrivateKey
from carrick.network import Stream
from carrick.network.events import Event
from carrick.protocols.identify import Identify, PeerUpdated
from carrick.protocols.ping import Ping
from carrick.protocols.relay import (
    HOP,
    STOP,
    Capacity,
    CircuitClosed,
    CircuitFailed,
    Limit,
    MessageMalformed,
    MessageUnexpected,
    NoReservation,
    PermissionDenied,
    RelayClient,
    RelayClientOptions,
    RelayOptions,
    RelayRefused,
    RelayRequestRefused,
    RelayResourcesExceeded,
    RelayService,
    ReservationGained,
    ReservationLost,
    ReservationRefused,
    Status,
    Voucher,
    split_relay,
)
from carrick.protocols.relay.errors import refusal
from carrick.protocols.relay.messages import (
    MAX_MESSAGE,
    Connect,
    Grant,
    HopStatus,
    Reserve,
    StopConnect,
    StopStatus,
    decode_hop,
    decode_stop,
)
from carrick.protocols.relay.pb import relay_pb2 as pb
from tests.support.swarms import echo

MEMORY = (
    HostBuilder()
    .transports("memory")
    .security("noise")
    .services(Identify, Ping, defaults=False)  # nobody else asks relays, or is asked
)
LISTENING = MEMORY.listen("/memory/0")
DATA = 1 << 17
STRANGER = PrivateKey.generate().peer_id


def relay(**options: Any) -> HostBuilder:
    """Its peers are all at one place."""
    options.setdefault("capacity", Capacity(reservations_per_ip=128))
    options.setdefault("clock", trio.current_time)
    return LISTENING.services(lambda: RelayService(RelayOptions(**options)))


def client() -> RelayClient:
    return RelayClient(options=RelayClientOptions(clock=trio.current_time))


CLIENT = MEMORY.services(client)


@asynccontextmanager
async def opened(*builders: HostBuilder) -> AsyncIterator[list[Host]]:
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(builder.open()) for builder in builders]


async def reserve(host: Host, on: Host) -> Any:
    return await host.service(RelayClient).reserve(on.addresses[0])


def over(on: Host, to: PeerId) -> str:
    return f"{on.addresses[0]}/p2p-circuit/p2p/{to}"


async def ask(host: Host, on: Host, message: bytes) -> tuple[Stream, HopStatus]:
    """One request by hand."""
    stream = await host.open_stream(on.addresses[0], HOP, allow_limited=True)
    await stream.write_frame(message)
    answer = decode_hop(await stream.read_frame(MAX_MESSAGE))
    assert isinstance(answer, HopStatus)
    return stream, answer


async def status(host: Host, on: Host, message: bytes) -> int:
    stream, answer = await ask(host, on, message)
    stream.reset()
    return answer.status


async def raw_target(stream: Stream) -> None:
    """Take every circuit, and echo what comes over it."""
    await stream.read_frame(MAX_MESSAGE)
    await stream.write_frame(StopStatus(Status.OK).encode())
    await echo(stream)


async def swallow(stream: Stream) -> None:
    await stream.read_frame(MAX_MESSAGE)
    await stream.write_frame(StopStatus(Status.OK).encode())
    async for _ in stream:
        pass


TARGET = MEMORY.handle(STOP, raw_target)


async def event(host: Host, kind: type[Event], host_does: Any) -> Any:
    with host.events.subscribe(kind) as events:
        await host_does()
        return await events.__anext__()


# --- connecting -----------------------------------------------------------------------------------


async def test_two_peers_meet_at_a_relay(autojump_clock: MockClock) -> None:
    bob_builder = CLIENT.handle("/echo/1", echo, allow_limited=True).handle("/direct/1", echo)
    async with opened(relay(), CLIENT, bob_builder) as (rita, alice, bob):
        reservation = await reserve(bob, rita)
        assert reservation.active
        assert reservation.limit == Limit(120, DATA)
        assert reservation.voucher == Voucher(rita.id, bob.id, reservation.voucher.expiration)
        assert [split_relay(each) for each in reservation.addresses] == [
            (split(rita.addresses[0]), rita.id)
        ]
        assert [str(each) for each in bob.addresses] == [over(rita, bob.id)]
        assert bob.swarm.manager.is_protected(rita.id)

        connection = await alice.connect(bob.addresses[0])
        assert connection.peer_id == bob.id  # proven from end to end
        assert connection.is_limited
        assert f"{connection.remote_address}/p2p/{bob.id}" == over(rita, bob.id)
        assert connection.transport == "p2p-circuit"
        assert connection.protocols is not None  # identify went over it
        assert await alice.service(Ping).ping_once(connection) == 0
        [back] = bob.swarm.connections(alice.id)
        assert back.is_limited
        assert str(back.remote_address).endswith(f"{rita.id}/p2p-circuit")

        stream = await alice.open_stream(bob.id, "/echo/1", allow_limited=True)
        await stream.send_all(b"hello")
        assert await stream.read_exactly(5) == b"hello"
        with pytest.raises(LimitedConnection):
            await alice.open_stream(bob.id, "/echo/1")
        refused = await connection.open_stream("/direct/1", lazy=True)
        with pytest.raises(ProtocolNotSupported):
            await refused.receive_some()


async def test_a_relay_without_limits_makes_ordinary_connections(
    autojump_clock: MockClock,
) -> None:
    data = bytes(range(256)) * 8192
    async with opened(relay(limit=Limit()), CLIENT, CLIENT.handle("/echo/1", echo)) as (
        rita,
        alice,
        bob,
    ):
        await reserve(bob, rita)
        connection = await alice.connect(bob.addresses[0])
        assert not connection.is_limited
        await trio.sleep(10_000)
        stream = await alice.open_stream(bob.id, "/echo/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            assert await stream.read_exactly(len(data)) == data
        assert rita.service(RelayService).circuits == 1


async def test_who_is_there_must_be_who_was_asked_for(autojump_clock: MockClock) -> None:
    """The relay connects us with somebody else: the handshake shows it."""
    async with opened(LISTENING, CLIENT, CLIENT) as (rita, alice, bob):

        async def answer(stream: Stream) -> None:
            await stream.read_frame(MAX_MESSAGE)
            grant = Grant(int(trio.current_time()) + 3600)
            await stream.write_frame(HopStatus(Status.OK, grant).encode())
            far = await rita.open_stream(bob.id, STOP)
            await far.write_frame(StopConnect(alice.id).encode())
            decode_stop(await far.read_frame(MAX_MESSAGE))

            async def copy(source: Stream, sink: Stream) -> None:
                async for data in source:
                    await sink.send_all(data)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(copy, stream, far)
                nursery.start_soon(copy, far, stream)

        async def grant_only(stream: Stream) -> None:
            await stream.read_frame(MAX_MESSAGE)
            grant = Grant(int(trio.current_time()) + 3600)
            await stream.write_frame(HopStatus(Status.OK, grant).encode())

        rita.handle(HOP, grant_only)
        await reserve(bob, rita)
        rita.swarm.unhandle(HOP)
        rita.handle(HOP, answer)
        with pytest.raises(DialError) as raised:
            await alice.connect(over(rita, STRANGER))
        assert isinstance(raised.value.causes[0][1], PeerIdMismatch)


# --- refusals -------------------------------------------------------------------------------------


async def test_every_refusal_of_a_circuit(autojump_clock: MockClock) -> None:
    forbidden = PrivateKey.generate()
    rules = relay(allow_circuit=lambda source, address, target: target != forbidden.peer_id)
    async with opened(rules, CLIENT, TARGET) as (rita, alice, bob):
        assert await status(alice, rita, Connect(bob.id).encode()) == Status.NO_RESERVATION
        for nobody in (rita.id, alice.id, forbidden.peer_id):
            assert await status(alice, rita, Connect(nobody).encode()) == Status.PERMISSION_DENIED
        for malformed in (b"", b"\x08\x07", b"\x08\x01", b"\xff"):
            assert await status(alice, rita, malformed) == Status.MALFORMED_MESSAGE
        unexpected = HopStatus(Status.OK).encode()
        assert await status(alice, rita, unexpected) == Status.UNEXPECTED_MESSAGE

        open_circuit = alice.service(RelayClient).open_circuit
        with pytest.raises(NoReservation):
            await open_circuit(rita.id, None, bob.id)
        with pytest.raises(PermissionDenied):
            await open_circuit(rita.id, None, rita.id)
        with pytest.raises(DialError) as raised:
            await alice.connect(over(rita, bob.id))
        assert isinstance(raised.value.causes[0][1], NoReservation)

        # The peer behind the relay does not take it.
        assert await status(bob, rita, Reserve().encode()) == Status.OK
        bob.swarm.unhandle(STOP)

        async def deny(stream: Stream) -> None:
            await stream.read_frame(MAX_MESSAGE)
            await stream.write_frame(StopStatus(Status.PERMISSION_DENIED).encode())

        bob.handle(STOP, deny)
        with pytest.raises(CircuitFailed):
            await open_circuit(rita.id, None, bob.id)
        bob.swarm.unhandle(STOP)  # it does not even speak it
        with pytest.raises(CircuitFailed):
            await open_circuit(rita.id, None, bob.id)
        bob.handle(STOP, lambda stream: trio.sleep_forever())
        started = trio.current_time()
        with pytest.raises(CircuitFailed):
            await open_circuit(rita.id, None, bob.id)
        assert trio.current_time() - started == pytest.approx(30)
        assert rita.service(RelayService).circuits == 0


@pytest.mark.parametrize("code", [each for each in Status if each is not Status.OK])
async def test_each_status_is_its_error_at_the_client(
    autojump_clock: MockClock, code: Status
) -> None:
    async def answer(stream: Stream) -> None:
        await stream.read_frame(MAX_MESSAGE)
        await stream.write_frame(HopStatus(code).encode())

    async with opened(LISTENING.handle(HOP, answer), CLIENT) as (rita, alice):
        with pytest.raises(type(refusal(code))) as raised:
            await reserve(alice, rita)
        assert raised.value.status == code
        assert alice.service(RelayClient).reservations == ()
        with pytest.raises(RelayRefused):
            await alice.service(RelayClient).open_circuit(rita.id, None, STRANGER)


async def test_reservations_are_refused(autojump_clock: MockClock) -> None:
    unwanted: set[PeerId] = set()
    few = relay(
        capacity=Capacity(reservations=1, requests=2),
        allow_reservation=lambda peer, address: peer not in unwanted,
    )
    async with opened(CLIENT, CLIENT, CLIENT) as (alice, bob, carol), few.open() as rita:
        unwanted.add(carol.id)
        with pytest.raises(PermissionDenied):
            await reserve(carol, rita)
        await reserve(alice, rita)
        with rita.events.subscribe(RelayRequestRefused) as refusals:
            with pytest.raises(ReservationRefused):
                await reserve(bob, rita)
            refused = await refusals.__anext__()
        assert (refused.peer, refused.status) == (bob.id, Status.RESERVATION_REFUSED)
        assert await status(alice, rita, Reserve().encode()) == Status.OK
        assert await status(alice, rita, Reserve().encode()) == Status.RESOURCE_LIMIT_EXCEEDED
        assert rita.service(RelayService).reservations == 1
        await alice.disconnect(rita.id)
        await alice.service(RelayClient).reservations[0].wait_lost()
        alice.service(RelayClient).release(rita.id)
        await trio.sleep(1)
        await reserve(bob, rita)  # a reservation ends with the connection


async def test_nothing_is_relayed_over_a_relay(autojump_clock: MockClock) -> None:
    """Bob is a relay too, but reached over one: he gives no reservation and carries nothing."""
    both = CLIENT.services(lambda: RelayService())
    for limit in (Limit(120, DATA), Limit()):
        async with opened(relay(limit=limit), CLIENT, both) as (rita, alice, bob):
            await reserve(bob, rita)
            connection = await alice.connect(bob.addresses[0])
            for message in (Reserve(), Connect(STRANGER)):
                stream = await connection.open_stream(HOP)
                await stream.write_frame(message.encode())
                answer = decode_hop(await stream.read_frame(MAX_MESSAGE))
                assert isinstance(answer, HopStatus)
                assert answer.status == Status.PERMISSION_DENIED
            with pytest.raises(CarrickError):
                await alice.service(RelayClient).reserve(bob.addresses[0])
            assert bob.service(RelayService).reservations == 0


async def test_a_host_without_the_service_is_no_relay(autojump_clock: MockClock) -> None:
    async with opened(LISTENING, CLIENT) as (rita, alice):
        with pytest.raises(ProtocolNotSupported):
            await reserve(alice, rita)
        assert alice.addresses == []


# --- limits (row 66) ------------------------------------------------------------------------------


async def test_exactly_the_bytes_that_are_allowed(autojump_clock: MockClock) -> None:
    """Row 66: 130 KiB; one direction does not count against the other."""
    for excess in (0, 1, 2048):
        async with opened(relay(), CLIENT, MEMORY.handle(STOP, swallow)) as (rita, alice, bob):
            assert await status(bob, rita, Reserve().encode()) == Status.OK
            with rita.events.subscribe(CircuitClosed) as closings:
                stream, answer = await ask(alice, rita, Connect(bob.id).encode())
                assert answer.limit == Limit(120, DATA)
                try:
                    await stream.send_all(bytes(DATA + excess))
                    await stream.send_eof()
                    if excess:
                        with pytest.raises(StreamReset):
                            await stream.receive_some()
                    else:
                        assert await stream.receive_some() == b""
                except StreamReset:
                    assert excess
                closed = await closings.__anext__()
            assert (closed.forward, closed.backward) == (DATA, 0)
            assert ("more bytes" in closed.reason) == bool(excess)
            assert rita.service(RelayService).circuits == 0


async def test_bytes_of_both_directions(autojump_clock: MockClock) -> None:
    async with opened(relay(), CLIENT, TARGET) as (rita, alice, bob):
        await status(bob, rita, Reserve().encode())
        with rita.events.subscribe(CircuitClosed) as closings:
            stream, _ = await ask(alice, rita, Connect(bob.id).encode())
            await stream.send_all(bytes(DATA))
            assert await stream.read_exactly(DATA) == bytes(DATA)
            await stream.send_eof()  # half-close goes through, and the echo's end comes back
            assert await stream.receive_some() == b""
            closed = await closings.__anext__()
        assert (closed.source, closed.target) == (alice.id, bob.id)
        assert (closed.forward, closed.backward, closed.reason) == (DATA, DATA, "")


async def test_exactly_the_time_that_is_allowed(autojump_clock: MockClock) -> None:
    """Row 66: a circuit kept for 121 s."""
    async with opened(relay(), CLIENT, CLIENT) as (rita, alice, bob):
        await reserve(bob, rita)
        started = trio.current_time()
        connection = await alice.connect(bob.addresses[0])
        with trio.fail_after(130):
            await connection.ended.wait()
        assert trio.current_time() - started == pytest.approx(120)
        await trio.sleep(1)
        assert rita.service(RelayService).circuits == 0
        assert bob.swarm.connections(alice.id) == ()
        assert bob.service(RelayClient).reservations[0].active  # the reservation stays


async def test_the_seventeenth_circuit(autojump_clock: MockClock) -> None:
    """Row 66."""
    async with opened(relay(), CLIENT, TARGET, CLIENT) as (rita, alice, bob, carol):
        await status(bob, rita, Reserve().encode())
        streams = [(await ask(alice, rita, Connect(bob.id).encode()))[0] for _ in range(16)]
        with pytest.raises(RelayResourcesExceeded):
            await alice.service(RelayClient).open_circuit(rita.id, None, bob.id)
        await carol.connect(rita.addresses[0])
        with pytest.raises(RelayResourcesExceeded):
            await carol.service(RelayClient).open_circuit(rita.id, None, bob.id)
        closed = await event(rita, CircuitClosed, streams[0].aclose)
        assert closed.forward == 0
        await carol.service(RelayClient).open_circuit(rita.id, None, bob.id)


async def test_a_reset_goes_through(autojump_clock: MockClock) -> None:
    async with opened(relay(), CLIENT, TARGET) as (rita, alice, bob):
        await status(bob, rita, Reserve().encode())
        stream, _ = await ask(alice, rita, Connect(bob.id).encode())
        await stream.send_all(b"x")
        assert await stream.read_exactly(1) == b"x"
        with rita.events.subscribe(CircuitClosed) as closings:
            stream.reset()
            assert "reset" in (await closings.__anext__()).reason


@pytest.mark.parametrize("who", ["source", "target"])
async def test_a_circuit_ends_with_either_connection(autojump_clock: MockClock, who: str) -> None:
    async with opened(relay(), CLIENT, CLIENT) as (rita, alice, bob):
        await reserve(bob, rita)
        connection = await alice.connect(bob.addresses[0])
        [back] = bob.swarm.connections(alice.id)
        gone = alice if who == "source" else bob
        for each in gone.swarm.connections(rita.id):
            each.abort()
        with trio.fail_after(5):
            await connection.ended.wait()
            await back.ended.wait()
        await trio.sleep(1)
        assert rita.service(RelayService).circuits == 0


async def test_a_relay_that_stops_ends_its_circuits(autojump_clock: MockClock) -> None:
    async with opened(CLIENT, CLIENT) as (alice, bob):
        async with relay().open() as rita:
            await reserve(bob, rita)
            connection = await alice.connect(bob.addresses[0])
            closings = rita.events.subscribe(CircuitClosed)
        closed = closings.get_nowait()
        assert closed is not None
        assert closed.reason == "the relay stops"
        with trio.fail_after(5):
            await connection.ended.wait()
            await bob.service(RelayClient).reservations[0].wait_lost()
        assert bob.addresses == []


# --- floods (row 65) ------------------------------------------------------------------------------


async def test_a_flood_of_identities(autojump_clock: MockClock) -> None:
    """Row 65: those behind one address share eight reservations."""
    async with relay(capacity=Capacity()).open() as rita, AsyncExitStack() as exits:
        answers = []
        for _ in range(200):
            host = await exits.enter_async_context(MEMORY.services(defaults=False).open())
            answers.append(await status(host, rita, Reserve().encode()))
        assert answers == [Status.OK] * 8 + [Status.RESERVATION_REFUSED] * 192
        assert rita.service(RelayService).reservations == 8


async def test_a_flood_of_requests(autojump_clock: MockClock) -> None:
    """Row 65: a peer that asks without end has one reservation, and no more signatures.

    A tenth of the row's 10,000 requests; all of them in tests/unit/test_relay_state.py.
    """
    async with opened(relay(), MEMORY) as (rita, mallory):
        answers = [await status(mallory, rita, Reserve().encode()) for _ in range(1000)]
        assert answers == [Status.OK] * 30 + [Status.RESOURCE_LIMIT_EXCEEDED] * 970
        assert rita.service(RelayService).reservations == 1


async def test_a_message_that_is_too_long(autojump_clock: MockClock) -> None:
    """Row 65."""
    async with opened(relay(), MEMORY) as (rita, mallory):
        assert await status(mallory, rita, bytes(MAX_MESSAGE + 1)) == Status.MALFORMED_MESSAGE


async def test_streams_that_are_left_open(autojump_clock: MockClock) -> None:
    """Row 65: 64 of a peer, a minute each; others are served meanwhile."""
    async with opened(relay(), MEMORY, CLIENT) as (rita, mallory, bob):
        started, taken = trio.current_time(), []
        for _ in range(500):
            stream = await mallory.open_stream(rita.addresses[0], HOP)
            try:
                await stream.send_all(b"\x40")
            except trio.BrokenResourceError:
                continue
            taken.append(stream)
        await reserve(bob, rita)
        ends = []

        async def wait(stream: Stream) -> None:
            with pytest.raises((StreamReset, CarrickError)):
                await stream.receive_some()
            ends.append(trio.current_time() - started)

        async with trio.open_nursery() as nursery:
            for stream in taken:
                nursery.start_soon(wait, stream)
        assert sum(59 < end < 61 for end in ends) <= 64
        assert max(ends) < 61


# --- keeping a reservation ------------------------------------------------------------------------


async def test_renewed_before_it_expires(autojump_clock: MockClock) -> None:
    async with opened(relay(), CLIENT) as (rita, bob):
        with bob.events.subscribe(ReservationLost) as losses:
            reservation = await reserve(bob, rita)
            for hours in range(1, 5):
                await trio.sleep(3600)
                assert reservation.active
                assert reservation.renewals >= hours + 1
                assert 0 < reservation.expires - trio.current_time() <= 3600
                assert rita.service(RelayService).reservations == 1
            assert losses.get_nowait() is None
        assert reservation.renewals <= 6  # no more often than needed


async def test_expires_unless_renewed(autojump_clock: MockClock) -> None:
    async with opened(relay(), CLIENT, TARGET) as (rita, alice, bob):
        assert await status(bob, rita, Reserve().encode()) == Status.OK
        await trio.sleep(3599)
        assert rita.service(RelayService).reservations == 1
        await trio.sleep(1)
        assert rita.service(RelayService).reservations == 0
        assert await status(alice, rita, Connect(bob.id).encode()) == Status.NO_RESERVATION
        assert rita.swarm.manager.tags(bob.id, trio.current_time()) == {}


async def test_a_relay_that_refuses_to_renew(autojump_clock: MockClock) -> None:
    """It is asked again until it expires; then its addresses are not advertised any more."""
    welcome = True
    rules = relay(allow_reservation=lambda peer, address: welcome)
    async with opened(rules, CLIENT) as (rita, bob):
        reservation = await reserve(bob, rita)
        with bob.events.subscribe(ReservationLost, ReservationGained) as changes:
            welcome = False
            await reservation.wait_lost()
            assert trio.current_time() == pytest.approx(3600, abs=1)
            assert bob.addresses == []
            welcome = True
            await reservation.wait_active()
            assert bob.addresses
            assert [type(changes.get_nowait()) for _ in range(2)] == [
                ReservationLost,
                ReservationGained,
            ]


async def test_a_relay_that_comes_back(autojump_clock: MockClock) -> None:
    key = PrivateKey.generate()
    stable = relay().identity(key)
    async with CLIENT.open() as bob:
        async with stable.open() as rita:
            place = str(split(rita.addresses[0]))
            reservation = await reserve(bob, rita)
        await reservation.wait_lost()
        assert bob.addresses == []
        await trio.sleep(300)
        assert not reservation.active
        async with (
            MEMORY.services(lambda: RelayService(RelayOptions(clock=trio.current_time)))
            .identity(key)
            .listen(place)
            .open() as rita
        ):
            with trio.fail_after(700):  # the longest back-off is ten minutes
                await reservation.wait_active()
            assert bob.addresses
            assert rita.service(RelayService).reservations == 1


def split(address: Any) -> Any:
    from carrick.addressing import split_peer

    return split_peer(address)[0]


async def test_relays_that_are_given(autojump_clock: MockClock) -> None:
    """Kept from the start, and peers are told by identify."""
    async with relay().open() as rita:
        address = rita.addresses[0]
        given = LISTENING.services(
            lambda: RelayClient([address], RelayClientOptions(clock=trio.current_time))
        )
        async with opened(MEMORY, given) as (alice, bob):
            await bob.service(RelayClient).reservations[0].wait_active()
            [connection] = bob.swarm.connections(rita.id)
            assert connection.protocols  # it was not made before identify ran
            assert [str(each) for each in bob.addresses][1:] == [over(rita, bob.id)]
            with alice.events.subscribe(PeerUpdated) as updates:
                await alice.connect(bob.addresses[0])
                assert any("p2p-circuit" in str(a) for a in alice.peerstore.addresses(bob.id))
                assert bob.service(RelayClient).release(rita.id)
                update = await updates.__anext__()
            assert not any("p2p-circuit" in str(a) for a in update.info.listen_addresses)
            assert not bob.swarm.manager.is_protected(rita.id)
            assert not bob.service(RelayClient).release(rita.id)


async def test_reserving_twice_is_reserving_once(autojump_clock: MockClock) -> None:
    async with opened(relay(), CLIENT) as (rita, bob):
        first = await reserve(bob, rita)
        assert await reserve(bob, rita) is first
        assert first.renewals == 1


# --- relays that lie (row 67) ---------------------------------------------------------------------


async def stop_status(host: Host, on: Host, message: bytes) -> int:
    stream = await host.open_stream(on.id, STOP)
    await stream.write_frame(message)
    answer = decode_stop(await stream.read_frame(MAX_MESSAGE))
    assert isinstance(answer, StopStatus)
    return answer.status


async def test_circuits_of_who_is_no_relay_of_ours(autojump_clock: MockClock) -> None:
    """Row 67."""
    async with opened(relay(), MEMORY, CLIENT.listen("/memory/0")) as (rita, mallory, bob):
        await mallory.connect(bob.addresses[0])
        offer = StopConnect(STRANGER).encode()
        assert await stop_status(mallory, bob, offer) == Status.PERMISSION_DENIED
        await reserve(bob, rita)
        for lie in (StopConnect(bob.id), StopConnect(rita.id)):
            assert await stop_status(rita, bob, lie.encode()) == Status.PERMISSION_DENIED
        assert await stop_status(rita, bob, b"\xff") == Status.MALFORMED_MESSAGE
        unexpected = StopStatus(Status.OK).encode()
        assert await stop_status(rita, bob, unexpected) == Status.UNEXPECTED_MESSAGE
        assert await stop_status(rita, bob, offer) == Status.OK  # but nobody proves to be it
        await trio.sleep(20)
        assert bob.swarm.connections(STRANGER) == ()


@pytest.mark.parametrize(
    "lie", ["forged", "other", "past", "none", "question", "long", "10,000 addresses"]
)
async def test_answers_that_make_no_sense(autojump_clock: MockClock, lie: str) -> None:
    """Row 67."""
    async with opened(LISTENING, CLIENT) as (rita, alice):
        soon = int(trio.current_time()) + 100
        other = PrivateKey.generate()
        forged = bytearray(Voucher(rita.id, alice.id, soon).seal(rita.key))
        forged[-1] ^= 1
        fat = pb.HopMessage(type=2, status=100)
        fat.reservation.expire = soon
        fat.reservation.addrs.extend([bytes([4, 8, 8, 8, 8, 6, 0, 1])] * 10_000)
        answers = {
            "forged": HopStatus(Status.OK, Grant(soon, (), bytes(forged))).encode(),
            "other": HopStatus(
                Status.OK, Grant(soon, (), Voucher(other.peer_id, alice.id, soon).seal(other))
            ).encode(),
            "past": HopStatus(Status.OK, Grant(0)).encode(),
            "none": HopStatus(Status.OK).encode(),
            "question": Reserve().encode(),
            "long": bytes(MAX_MESSAGE + 1),
            "10,000 addresses": fat.SerializeToString(),
        }

        async def answer(stream: Stream) -> None:
            await stream.read_frame(MAX_MESSAGE)
            await stream.write_frame(answers[lie])

        rita.handle(HOP, answer)
        with pytest.raises(ProtocolError):
            await reserve(alice, rita)
        assert alice.addresses == []


async def test_a_relay_that_promises_for_ever(autojump_clock: MockClock) -> None:
    """Row 67: as many addresses as fit, and an expiry at the end of time."""
    async with opened(LISTENING, CLIENT) as (rita, alice):
        message = pb.HopMessage(type=2, status=100)
        message.reservation.expire = 2**64 - 1
        for number in range(500):
            message.reservation.addrs.append(bytes([4, 8, 8, number % 256, number // 256, 6, 0, 1]))

        async def answer(stream: Stream) -> None:
            await stream.read_frame(MAX_MESSAGE)
            await stream.write_frame(message.SerializeToString()[:MAX_MESSAGE])

        while message.ByteSize() > MAX_MESSAGE:
            del message.reservation.addrs[-1]
        rita.handle(HOP, answer)
        reservation = await reserve(alice, rita)
        assert len(reservation.addresses) == 32
        assert reservation.expires - trio.current_time() == pytest.approx(86400)


async def test_a_relay_that_never_answers(autojump_clock: MockClock) -> None:
    async with opened(LISTENING, CLIENT) as (rita, alice):
        rita.handle(HOP, lambda stream: trio.sleep_forever())
        started = trio.current_time()
        with pytest.raises(CarrickError, match="within 60 s"):
            await reserve(alice, rita)
        assert trio.current_time() - started == pytest.approx(60)


def test_the_errors_are_exported() -> None:
    assert issubclass(MessageMalformed, RelayRefused)
    assert issubclass(MessageUnexpected, RelayRefused)
