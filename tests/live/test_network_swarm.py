from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from carrick.addressing import parse_address
from carrick.errors import (
    CarrickError,
    ConnectionClosed,
    DialError,
    LimitedConnection,
    NoAddresses,
    PeerIdMismatch,
    ProtocolNotSupported,
    ResourceLimitExceeded,
    StreamReset,
    UnsupportedAddress,
)
from carrick.identity import PrivateKey
from carrick.network import BlockList, Connection, ConnectionCode, Stream, StreamCode, Swarm
from carrick.network.events import (
    ConnectionClosed as ConnectionClosedEvent,
)
from carrick.network.events import (
    ConnectionOpened,
    ConnectionRefused,
    DialFailed,
    ListenAddressesChanged,
    PeerConnected,
    PeerDisconnected,
    StreamClosed,
    StreamOpened,
)
from tests.support.swarms import Detour, echo, exchange, make_swarm, pair, running
from tests.support.waiting import until

NOBODY = PrivateKey.generate().peer_id


def held(swarm: Swarm) -> int:
    """Everything that is reserved."""
    return sum(sum(counts.values()) for counts in swarm.resources.stat().values())


async def connected(dialer: Swarm, listener: Swarm) -> Connection:
    return await dialer.connect(listener.peer_id, listener.listen_addresses)


@pytest.mark.parametrize("stack", ["memory", "tcp"])
async def test_connect_and_talk(stack: str) -> None:
    async with pair(stack) as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await connected(dialer, listener)
        assert connection.peer_id == listener.peer_id
        assert dialer.peers == (listener.peer_id,)
        assert connection is await connected(dialer, listener)
        async with await dialer.open_stream(listener.peer_id, ["/no/1", "/echo/1"]) as stream:
            assert stream.protocol == "/echo/1"
            assert await exchange(stream, b"hello") == b"hello"
            await stream.send_eof()
            assert await stream.receive_some() == b""
        assert connection.streams == ()
        await dialer.disconnect(listener.peer_id)
        await until(lambda: held(dialer) == held(listener) == 0)


async def test_whoever_answers() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await dialer.connect(None, listener.listen_addresses)
        assert connection.peer_id == listener.peer_id
        async with await dialer.open_stream(
            None, "/echo/1", addresses=listener.listen_addresses
        ) as stream:
            assert await exchange(stream, b"x") == b"x"


async def test_an_unreachable_peer_has_a_cause_for_each_address() -> None:
    async with pair() as (dialer, listener):
        addresses = [
            *listener.listen_addresses,
            parse_address("/memory/77"),
            parse_address("/ip4/192.0.2.1/udp/1/quic-v1"),
            parse_address(f"/memory/78/p2p/{listener.peer_id}"),
            parse_address("/dns4/example.com/tcp/1"),
        ]
        with dialer.events.subscribe(DialFailed) as failures, pytest.raises(DialError) as caught:
            await dialer.connect(NOBODY, addresses)
        causes = {str(address): type(cause) for address, cause in caught.value.causes}
        assert causes == {
            str(listener.listen_addresses[0]): PeerIdMismatch,
            "/memory/77": DialError,
            "/ip4/192.0.2.1/udp/1/quic-v1": UnsupportedAddress,
            f"/memory/78/p2p/{listener.peer_id}": PeerIdMismatch,
            "/dns4/example.com/tcp/1": UnsupportedAddress,
        }
        assert "/memory/77: connection refused" in str(caught.value)
        assert failures.get_nowait() is not None
        with pytest.raises(DialError, match="tried again in 5 s"):
            await dialer.connect(NOBODY, [parse_address("/memory/77")])
        with pytest.raises(DialError, match="connection refused"):
            await dialer.connect(NOBODY, [parse_address("/memory/77")], force=True)
        with pytest.raises(NoAddresses):
            await dialer.connect(NOBODY)
        with pytest.raises(DialError, match="this host itself"):
            await dialer.connect(dialer.peer_id, listener.listen_addresses)
        await until(lambda: held(dialer) == held(listener) == 0)


async def test_address_sources_are_asked_in_turn() -> None:
    async with pair() as (dialer, listener):
        asked: list[str] = []

        async def nothing(peer: object) -> list[object]:
            asked.append("nothing")
            return []

        async def broken(peer: object) -> list[object]:
            asked.append("broken")
            raise RuntimeError("a defect of a source ends nothing")

        async def right(peer: object) -> object:
            asked.append("right")
            return listener.listen_addresses if peer == listener.peer_id else []

        dialer.add_address_source(nothing)
        dialer.add_address_source(broken)
        dialer.add_address_source(right)  # type: ignore[arg-type]
        await dialer.connect(listener.peer_id, [parse_address("/memory/77")])
        assert asked == ["nothing", "broken", "right"]
        with pytest.raises(NoAddresses):
            await dialer.connect(NOBODY)


async def test_an_unsupported_protocol() -> None:
    async with pair() as (dialer, listener):
        connection = await connected(dialer, listener)
        with pytest.raises(ProtocolNotSupported) as caught:
            await connection.open_stream("/no/1")
        assert caught.value.peer == listener.peer_id
        stream = await connection.open_stream("/no/1", lazy=True)
        with pytest.raises(ProtocolNotSupported):
            await exchange(stream, b"x")
        assert stream.closed
        await until(lambda: not connection.streams)


async def test_protocols_that_the_peer_is_known_to_speak_are_negotiated_lazily() -> None:
    async with pair() as (dialer, listener):
        served = trio.Event()

        async def serve(stream: Stream) -> None:
            served.set()
            await echo(stream)

        listener.handle("/echo/1", serve)
        connection = await connected(dialer, listener)
        connection.protocols = frozenset({"/echo/1"})
        stream = await connection.open_stream(["/echo/2", "/echo/1"])
        assert stream.protocol == "/echo/1"
        await trio.testing.wait_all_tasks_blocked()
        assert not served.is_set()  # nothing is on the wire before the first bytes
        assert await exchange(stream, b"x") == b"x"
        await stream.aclose()


@pytest.mark.parametrize("size", [1, 100_000])
async def test_what_was_sent_lazily_arrives_though_nobody_reads_an_answer(size: int) -> None:
    """As with identify push, or a DHT's ADD_PROVIDER."""
    async with pair() as (dialer, listener):
        received: list[bytes] = []
        done = trio.Event()

        async def collect(stream: Stream) -> None:
            await trio.testing.wait_all_tasks_blocked()  # a slow reader
            async for chunk in stream:
                received.append(chunk)
            done.set()

        listener.handle("/push/1", collect)
        connection = await connected(dialer, listener)
        async with await connection.open_stream("/push/1", lazy=True) as stream:
            await stream.send_all(b"x" * size)
        with trio.fail_after(5):
            await done.wait()
        assert sum(map(len, received)) == size
        await until(lambda: not connection.streams and not listener.connections()[0].streams)


async def test_reading_first_sends_the_proposal() -> None:
    async with pair() as (dialer, listener):

        async def greet(stream: Stream) -> None:
            await stream.send_all(b"hello")

        listener.handle("/hello/1", greet)
        connection = await connected(dialer, listener)
        async with await connection.open_stream("/hello/1", lazy=True) as stream:
            assert await stream.read_exactly(5) == b"hello"
            assert await stream.receive_some() == b""


async def test_match_functions_and_unhandle() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo, match=lambda name: name.startswith("/echo/1."))
        connection = await connected(dialer, listener)
        async with await connection.open_stream("/echo/1.7") as stream:
            assert await exchange(stream, b"x") == b"x"
        assert listener.unhandle("/echo/1")
        assert not listener.unhandle("/echo/1")
        with pytest.raises(ProtocolNotSupported):
            await connection.open_stream("/echo/1.7")


async def test_a_handler_that_raises_ends_its_stream_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair() as (dialer, listener):

        async def broken(stream: Stream) -> None:
            await stream.receive_some()
            raise RuntimeError("a defect")

        listener.handle("/echo/1", echo)
        listener.handle("/broken/1", broken)
        connection = await connected(dialer, listener)
        healthy = await connection.open_stream("/echo/1")
        for _ in range(30):
            stream = await connection.open_stream("/broken/1", lazy=True)
            await stream.send_all(b"x")
            with pytest.raises(StreamReset):
                await stream.read_exactly(1)
            await stream.aclose()
        assert await exchange(healthy, b"x") == b"x"
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(errors) == 10
        assert errors[0].exc_info is not None
        await healthy.aclose()


async def test_a_peer_that_breaks_its_protocol_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair() as (dialer, listener):

        async def read(stream: Stream) -> None:
            await stream.read_frame(10)

        listener.handle("/frames/1", read)
        connection = await connected(dialer, listener)
        stream = await connection.open_stream("/frames/1")
        await stream.send_all(b"\xff\x7f")
        with pytest.raises(StreamReset) as caught:
            await stream.receive_some()
        assert caught.value.code == StreamCode.PROTOCOL_VIOLATION
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        await stream.aclose()


@pytest.mark.parametrize(
    "garbage",
    [b"\x05\xff\xfe\xfd\xfc\n", b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n", b"\xff" * 20],
)
async def test_garbage_instead_of_a_protocol_ends_one_stream_only(garbage: bytes) -> None:
    """ATTACKS row 32."""
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await connected(dialer, listener)
        healthy = await connection.open_stream("/echo/1")
        raw = await connection.muxed.open_stream()
        await raw.send_all(garbage)
        with pytest.raises(StreamReset):
            while await raw.receive_some():
                pass
        assert await exchange(healthy, b"x") == b"x"
        await healthy.aclose()
        await until(lambda: not listener.connections()[0].streams)


async def test_a_handler_that_swallows_its_cancellation_and_raises() -> None:
    async with pair() as (dialer, listener):

        async def cancelled(stream: Stream) -> None:
            await stream.receive_some()
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.sleep_forever()
            raise trio.ClosedResourceError

        listener.handle("/cancel/1", cancelled)
        connection = await connected(dialer, listener)
        stream = await connection.open_stream("/cancel/1")
        await stream.send_all(b"x")
        with pytest.raises(StreamReset):
            await stream.receive_some()
        await stream.aclose()


async def test_slots_are_free_a_second_after_the_end_even_if_a_handler_hangs() -> None:
    async with pair() as (dialer, listener):
        ended = trio.Event()

        async def hang(stream: Stream) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        listener.handle("/hang/1", hang)
        connection = await connected(dialer, listener)
        await connection.open_stream("/hang/1")
        connection.abort()
        await until(lambda: held(listener) == 0, within=0.5)
        with trio.fail_after(1.5):
            await ended.wait()


async def test_streams_beyond_the_limit_are_reset() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo, streams_per_peer=3)
        connection = await connected(dialer, listener)
        streams = [await connection.open_stream("/echo/1") for _ in range(3)]
        with pytest.raises(StreamReset) as caught:
            await connection.open_stream("/echo/1")
        assert caught.value.code == StreamCode.RESOURCE_LIMIT_EXCEEDED
        await streams[0].aclose()
        await until(lambda: len(listener.connections()[0].streams) == 2)
        assert await exchange(await connection.open_stream("/echo/1"), b"x") == b"x"
        for stream in connection.streams:
            await stream.aclose()


async def test_too_many_violations_end_the_connection() -> None:
    async with pair(limits={"violations_per_connection": 50}) as (dialer, listener):
        connection = await connected(dialer, listener)
        with pytest.raises(ConnectionClosed) as caught:
            for _ in range(1000):
                raw = await connection.muxed.open_stream()
                await raw.send_all(b"garbage")
                await trio.testing.wait_all_tasks_blocked()
        assert caught.value.code == 1
        assert caught.value.remote
        await until(lambda: held(listener) == 0)


async def test_eight_connections_per_peer() -> None:
    """ATTACKS row 50."""
    async with pair() as (dialer, listener):
        address = listener.listen_addresses[0]
        for _ in range(20):
            try:
                await dialer.dialer.dial_address(listener.peer_id, address)
            except CarrickError:
                break
        await until(lambda: len(dialer.connections()) == len(listener.connections()) == 8)
        stranger = make_swarm()
        async with running(stranger, listen=False):
            await connected(stranger, listener)


async def test_a_thousand_connections_that_ended_in_every_way() -> None:
    """ATTACKS row 49: the last is served like the first."""
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        address = listener.listen_addresses[0]
        for number in range(1000):
            if number % 50 == 4:  # cut within the upgrade
                with trio.move_on_after(0.001):
                    await dialer.dialer.dial_address(listener.peer_id, address)
            connection = await dialer.connect(listener.peer_id, [address], force=True)
            stream = await connection.open_stream("/echo/1", lazy=True)
            assert await exchange(stream, b"x") == b"x"
            match number % 4:
                case 0:
                    await connection.aclose()
                case 1:
                    connection.abort()
                case 2:
                    stream.reset()
                    listener.connections()[0].abort()
                case 3:
                    await listener.connections()[0].aclose()
            await dialer.disconnect(listener.peer_id)
        await until(lambda: held(listener) == held(dialer) == 0)


@pytest.mark.parametrize("stack", ["memory", "tcp"])
async def test_a_connection_that_is_being_closed_takes_no_stream(stack: str) -> None:
    """There is a new one: closing may take a second, of which nobody else knows."""
    async with pair(stack) as (dialer, listener):
        listener.handle("/echo/1", echo)
        for _ in range(20):
            closing = await connected(dialer, listener)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(closing.aclose)
                while closing.close_reason is None:
                    await trio.lowlevel.checkpoint()
                assert dialer.connection(listener.peer_id) is None
                stream = await dialer.open_stream(
                    listener.peer_id, "/echo/1", addresses=listener.listen_addresses
                )
                assert await exchange(stream, b"x") == b"x"
                assert stream.connection is not closing
            await dialer.disconnect(listener.peer_id)


async def test_two_that_dial_each_other_keep_both_and_use_one() -> None:
    alice, bob = make_swarm(), make_swarm()
    for swarm in (alice, bob):
        swarm.handle("/echo/1", echo)
    async with running(alice, bob):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connected, alice, bob)
            nursery.start_soon(connected, bob, alice)
        for one, other in ((alice, bob), (bob, alice)):
            async with await one.open_stream(other.peer_id, "/echo/1") as stream:
                assert await exchange(stream, b"x") == b"x"


async def test_callers_who_want_the_same_peer_share_a_dial() -> None:
    async with pair() as (dialer, listener):
        slow = parse_address("/ip4/192.0.2.1/tcp/1")
        detour = Detour(dialer.transports[0], {slow: (0.05, listener.listen_addresses[0])})
        dialer.transports = dialer.dialer.transports = [detour]
        found: list[Connection] = []

        async def want() -> None:
            found.append(await dialer.connect(listener.peer_id, [slow]))

        async with trio.open_nursery() as nursery:
            impatient = trio.CancelScope()

            async def leave() -> None:
                with impatient:
                    await want()

            nursery.start_soon(leave)
            for _ in range(5):
                nursery.start_soon(want)
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel()
        assert len(detour.started) == 1
        assert len(found) == 5
        assert len(set(found)) == 1


async def test_a_dial_ends_with_its_last_waiter() -> None:
    async with pair() as (dialer, listener):
        slow = parse_address("/ip4/192.0.2.1/tcp/1")
        detour = Detour(dialer.transports[0], {slow: (60, listener.listen_addresses[0])})
        dialer.dialer.transports = [detour]
        with trio.move_on_after(0.05):
            await dialer.connect(listener.peer_id, [slow])
        await until(lambda: detour.ended == [slow])
        assert held(dialer) == 0


async def test_a_closed_swarm_says_goodbye() -> None:
    async with pair() as (dialer, listener):

        async def wait(stream: Stream) -> None:
            await trio.sleep_forever()

        listener.handle("/wait/1", wait)
        connection = await connected(dialer, listener)
        stream = await connection.open_stream("/wait/1")
        await listener.aclose()
        with pytest.raises(ConnectionClosed) as caught, trio.fail_after(2):
            await stream.receive_some()
        assert caught.value.code == ConnectionCode.SHUTDOWN
        assert held(listener) == 0
        assert listener.listen_addresses == ()
        with pytest.raises(RuntimeError, match="not running"):
            await listener.listen(parse_address("/memory/0"))


async def test_listening() -> None:
    async with pair() as (dialer, listener):
        with listener.events.subscribe(ListenAddressesChanged) as changes:
            second = await listener.listen(parse_address("/memory/0"))
            assert listener.listen_addresses[1] == second
            assert changes.get_nowait() == ListenAddressesChanged(listener.listen_addresses)
            await dialer.connect(listener.peer_id, [second])
            assert listener.unlisten(second)
            assert not listener.unlisten(parse_address("/memory/12345"))
            await until(lambda: len(listener.listen_addresses) == 1)
        with pytest.raises(DialError):
            await dialer.connect(NOBODY, [second])
        with pytest.raises(UnsupportedAddress):
            await listener.listen(parse_address("/ip4/127.0.0.1/udp/0/quic-v1"))
        assert len(listener.connections()) == 1


async def test_events_come_in_pairs() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        with listener.events.subscribe(
            PeerConnected,
            PeerDisconnected,
            ConnectionOpened,
            ConnectionClosedEvent,
            StreamOpened,
            StreamClosed,
        ) as events:
            first = await connected(dialer, listener)
            address = listener.listen_addresses[0]
            second = await dialer.dialer.dial_address(listener.peer_id, address)
            await second.announced.wait()
            async with await first.open_stream("/echo/1") as stream:
                await exchange(stream, b"x")
            await until(lambda: not listener.connections()[0].streams)
            await dialer.disconnect(listener.peer_id)
            await until(lambda: not listener.connections())
            await trio.testing.wait_all_tasks_blocked()
            seen = []
            while (event := events.get_nowait()) is not None:
                seen.append(type(event).__name__)
        assert seen.count("PeerConnected") == seen.count("PeerDisconnected") == 1
        assert seen.count("ConnectionOpened") == seen.count("ConnectionClosed") == 2
        assert seen.count("StreamOpened") == seen.count("StreamClosed") == 1
        assert seen[-1] == "PeerDisconnected"


async def test_connection_steps_come_before_the_announcement() -> None:
    async with pair() as (dialer, listener):
        steps: list[str] = []
        gate = trio.Event()

        async def identify(connection: Connection) -> None:
            steps.append("identify")
            await gate.wait()

        async def broken(connection: Connection) -> None:
            steps.append("broken")
            raise RuntimeError("a defect of a step does not end the connection")

        dialer.add_connection_step(identify)
        dialer.add_connection_step(broken)
        listener.handle("/echo/1", echo)
        with dialer.events.subscribe(PeerConnected) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connected, dialer, listener)
                await until(lambda: steps == ["identify"])
                # Streams are there before the announcement.
                async with await dialer.open_stream(listener.peer_id, "/echo/1") as stream:
                    assert await exchange(stream, b"x") == b"x"
                assert events.get_nowait() is None
                gate.set()
            assert steps == ["identify", "broken"]
            assert events.get_nowait() == PeerConnected(listener.peer_id)


async def test_a_connection_that_ends_within_its_steps_fails_connect() -> None:
    async with pair() as (dialer, listener):

        async def cut(connection: Connection) -> None:
            connection.abort()

        dialer.add_connection_step(cut)
        with dialer.events.subscribe(PeerConnected) as events:
            with pytest.raises(DialError, match="ended at once"):
                await connected(dialer, listener)
            assert events.get_nowait() is None


async def test_the_gater_of_the_dialer() -> None:
    gater = BlockList()
    dialer, listener = make_swarm(gater=gater), make_swarm()
    async with running(dialer, listener):
        gater.block_peer(listener.peer_id)
        with pytest.raises(DialError, match="gater refused the peer"):
            await connected(dialer, listener)
        with pytest.raises(DialError, match="gater refused the peer"):
            await dialer.connect(None, listener.listen_addresses)
        await until(lambda: held(listener) == held(dialer) == 0)


async def test_the_gater_of_the_listener() -> None:
    gater = BlockList()
    dialer, listener = make_swarm(), make_swarm(gater=gater)
    gater.block_peer(dialer.peer_id)
    async with running(dialer, listener):
        with listener.events.subscribe(ConnectionRefused) as refusals:
            connection = await dialer.dialer.dial(listener.peer_id, listener.listen_addresses)
            with pytest.raises(ConnectionClosed):
                await connection.open_stream("/echo/1")
            await until(lambda: refusals.get_nowait() is not None)
        await until(lambda: held(listener) == held(dialer) == 0)


async def test_limited_connections_are_opt_in() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        relayed = parse_address("/ip4/192.0.2.1/tcp/1")
        direct = listener.listen_addresses[0]
        detour = Detour(dialer.transports[0], {relayed: (0, direct)}, limited=True)
        dialer.dialer.transports = [detour, *dialer.transports]
        connection = await dialer.connect(listener.peer_id, [relayed])
        assert connection.is_limited
        async with await dialer.open_stream(
            listener.peer_id, "/echo/1", allow_limited=True
        ) as stream:
            assert await exchange(stream, b"x") == b"x"
        async with trio.open_nursery() as nursery:

            async def want_direct() -> None:
                async with await dialer.open_stream(listener.peer_id, "/echo/1") as stream:
                    assert not stream.connection.is_limited
                    assert await exchange(stream, b"x") == b"x"

            nursery.start_soon(want_direct)
            await trio.testing.wait_all_tasks_blocked()
            await dialer.dialer.dial_address(listener.peer_id, direct)
        await dialer.disconnect(listener.peer_id)
        impatient = make_swarm(limits={"stream_timeout": 0.05})
        async with running(impatient, listen=False):
            impatient.dialer.transports = [
                Detour(impatient.transports[0], {relayed: (0, direct)}, limited=True)
            ]
            with pytest.raises(LimitedConnection):
                await impatient.open_stream(listener.peer_id, "/echo/1", addresses=[relayed])


async def test_a_limited_connection_offers_only_protocols_that_opted_in() -> None:
    async with pair() as (dialer, listener):
        dialer.handle("/echo/1", echo)
        dialer.handle("/ping/1", echo, allow_limited=True)
        relayed = parse_address("/ip4/192.0.2.1/tcp/1")
        dialer.dialer.transports = [
            Detour(dialer.transports[0], {relayed: (0, listener.listen_addresses[0])}, limited=True)
        ]
        await dialer.connect(listener.peer_id, [relayed])
        await until(lambda: bool(listener.connections()))
        back = listener.connections()[0]
        async with await back.open_stream("/ping/1") as stream:
            assert await exchange(stream, b"x") == b"x"
        with pytest.raises(ProtocolNotSupported):
            await back.open_stream("/echo/1")


async def test_outbound_streams_are_bounded_too() -> None:
    async with pair() as (dialer, listener):
        limited = make_swarm(limits={"streams_per_connection": 2})
        listener.handle("/echo/1", echo)
        async with running(limited, listen=False):
            connection = await connected(limited, listener)
            streams = [await connection.open_stream("/echo/1") for _ in range(2)]
            with pytest.raises(ResourceLimitExceeded, match="streams_per_connection"):
                await connection.open_stream("/echo/1")
            await streams[0].aclose()
            await connection.open_stream("/echo/1")


async def test_the_greediest_connection_goes_when_memory_runs_out() -> None:
    async with pair(limits={"memory": 4 << 20}) as (dialer, listener):
        await connected(dialer, listener)
        modest = make_swarm()
        async with running(modest, listen=False):
            await connected(modest, listener)
            await until(lambda: len(listener.connections()) == 2)
            greedy = listener.connections(dialer.peer_id)[0]
            assert greedy.reservation.budget.try_reserve(3 << 20)
            other = listener.connections(modest.peer_id)[0]
            assert not other.reservation.budget.try_reserve(1 << 20)
            await until(lambda: greedy.closed)
            assert greedy.close_reason == "the memory budget is used up"
            await until(lambda: other.reservation.budget.try_reserve(1 << 20))
