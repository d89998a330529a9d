"""What every transport × security × muxer must do. A new transport joins in tests/support."""

from __future__ import annotations

import hashlib
import random

import pytest
import trio
import trio.testing

from carrick.errors import CarrickError, ConnectionClosed, PeerIdMismatch, StreamReset
from carrick.identity import PrivateKey
from carrick.interfaces import Direction, MuxedConnection, MuxedStream, Role
from tests.support.transports import MIB, STACKS, Pair, Stack, Unlimited, connect, connected

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=STACKS, ids=str)
def stack(request: pytest.FixtureRequest) -> Stack:
    return request.param


@pytest.fixture
async def pair(stack: Stack):
    async with connected(stack) as pair:
        with trio.fail_after(50):
            yield pair


async def streams(pair: Pair) -> tuple[MuxedStream, MuxedStream]:
    """A stream from the dialer to the listener; a byte has crossed it."""
    return await stream_between(pair.dialer, pair.listener)


async def stream_between(
    opener: MuxedConnection, accepter: MuxedConnection
) -> tuple[MuxedStream, MuxedStream]:
    there = await opener.open_stream()
    await there.send_all(b"!")
    back = await accepter.accept_stream()
    assert await back.receive_some(1) == b"!"
    return there, back


async def read_all(stream: MuxedStream) -> bytes:
    pieces = []
    while piece := await stream.receive_some():
        pieces.append(piece)
    return b"".join(pieces)


async def echo(connection: MuxedConnection, nursery: trio.Nursery) -> None:
    """Serve every stream of the peer: send back what comes."""

    async def serve(stream: MuxedStream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)
        await stream.aclose()

    while True:
        nursery.start_soon(serve, await connection.accept_stream())


async def test_both_sides_know_each_other(stack: Stack, pair: Pair) -> None:
    assert pair.dialer.peer_id == pair.listener_key.peer_id
    assert pair.listener.peer_id == pair.dialer_key.peer_id
    assert pair.dialer.public_key == pair.listener_key.public_key
    assert (pair.dialer.role, pair.listener.role) == (Role.CLIENT, Role.SERVER)
    assert pair.dialer.remote_address == pair.listening.address
    assert pair.dialer.local_address == pair.listener.remote_address
    assert pair.dialer.muxer == pair.listener.muxer
    assert pair.dialer.security == pair.listener.security
    assert not pair.dialer.is_limited


async def test_big_transfers_both_ways_at_once(pair: Pair) -> None:
    there, back = await streams(pair)
    data = {
        stream: random.Random(seed).randbytes(8 * MIB) for seed, stream in enumerate((there, back))
    }
    got: dict[MuxedStream, bytes] = {}

    async def send(stream: MuxedStream) -> None:
        view = memoryview(data[stream])
        for at in range(0, len(view), 100_000):
            await stream.send_all(view[at : at + 100_000])
        await stream.send_eof()

    async def receive(stream: MuxedStream) -> None:
        got[stream] = await read_all(stream)

    async with trio.open_nursery() as nursery:
        for stream in (there, back):
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, stream)
    assert hashlib.sha256(got[back]).digest() == hashlib.sha256(data[there]).digest()
    assert hashlib.sha256(got[there]).digest() == hashlib.sha256(data[back]).digest()


async def test_one_write_larger_than_every_buffer(pair: Pair) -> None:
    there, back = await streams(pair)
    data = random.Random(1).randbytes(5 * MIB + 7)
    got = b""

    async def send() -> None:
        await there.send_all(data)
        await there.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        got = await read_all(back)
    assert got == data


async def test_views_are_received_without_loss(pair: Pair) -> None:
    there, back = await streams(pair)
    data = random.Random(2).randbytes(MIB)
    got = bytearray()

    async def receive() -> None:
        while views := await back.receive_views():
            for view in views:
                got.extend(view)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await there.send_all(data)
        await there.send_eof()
    assert got == data


async def test_half_close(pair: Pair) -> None:
    there, back = await streams(pair)
    await there.send_all(b"question")
    await there.send_eof()
    assert await read_all(back) == b"question"
    await back.send_all(b"answer")
    await back.aclose()
    assert await read_all(there) == b"answer"


async def test_streams_open_from_both_sides(pair: Pair) -> None:
    there, back = await stream_between(pair.listener, pair.dialer)
    assert (there.direction, back.direction) == (Direction.OUTBOUND, Direction.INBOUND)
    await back.send_all(b"from the dialer")
    assert await there.receive_some() == b"from the dialer"


async def test_reset_reaches_the_peer(stack: Stack, pair: Pair) -> None:
    there, back = await streams(pair)
    there.reset(0x1234)
    with pytest.raises(StreamReset) as caught:
        await back.receive_some()
    assert caught.value.remote
    if stack.has_error_codes:
        assert caught.value.code == 0x1234
    with pytest.raises(StreamReset) as caught:
        await there.send_all(b"x")
    assert not caught.value.remote
    await streams(pair)  # the connection is unharmed


async def test_data_before_a_reset_is_not_taken_for_a_whole_stream(pair: Pair) -> None:
    there, back = await streams(pair)
    await there.send_all(b"part")
    there.reset()
    with pytest.raises(StreamReset):
        await read_all(back)


async def test_backpressure(stack: Stack, pair: Pair) -> None:
    """A sender stops when the receiver does not read; other streams go on; nothing is lost."""
    if not stack.has_flow_control:
        pytest.skip("mplex has no flow control")
    there, back = await streams(pair)
    total, piece = 32 * MIB, bytes(64 * 1024)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < total:
            await there.send_all(piece)
            sent += len(piece)
        await there.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        other, other_back = await streams(pair)
        for _ in range(200):
            await other.send_all(b"ping")
            assert await other_back.receive_some() == b"ping"
            await other_back.send_all(b"pong")
            assert await other.receive_some() == b"pong"
        assert sent <= MIB
        assert len(await read_all(back)) == total


async def test_both_sides_upload_and_read_slowly(pair: Pair, stack: Stack) -> None:
    """Two peers that both upload never stop each other for good."""
    if not stack.has_flow_control:
        pytest.skip("mplex has no flow control")
    there, back = await streams(pair)
    total = 4 * MIB

    async def send(stream: MuxedStream) -> None:
        await stream.send_all(bytes(total))

    async def receive(stream: MuxedStream) -> None:
        left = total
        while left:
            left -= len(await stream.receive_some(10_000))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for stream in (there, back):
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, stream)


async def test_a_thousand_streams_at_once(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, pair.listener, nursery)
        opened = []
        for number in range(1000):
            stream = await pair.dialer.open_stream()
            await stream.send_all(number.to_bytes(4, "big"))
            opened.append(stream)
        for number, stream in enumerate(opened):
            await stream.send_eof()
            assert await read_all(stream) == number.to_bytes(4, "big")
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_many_streams_one_after_another(pair: Pair) -> None:
    """Ended streams are forgotten: more than any bound of concurrent streams can follow."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, pair.listener, nursery)
        for _ in range(1500):
            stream = await pair.dialer.open_stream()
            await stream.send_all(b"x")
            await stream.send_eof()
            assert await read_all(stream) == b"x"
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_send_breaks_only_its_stream(pair: Pair, stack: Stack) -> None:
    if not stack.has_flow_control:
        pytest.skip("mplex has no flow control")
    there, back = await streams(pair)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await there.send_all(bytes(8 * MIB))

        nursery.start_soon(send)
        assert await back.receive_some(1)  # it is under way
        nursery.cancel_scope.cancel()
    with pytest.raises(StreamReset):
        await there.send_all(b"more")
    with pytest.raises(StreamReset):
        await read_all(back)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(echo, pair.listener, nursery)
        stream = await pair.dialer.open_stream()
        await stream.send_all(b"still here")
        assert await stream.receive_some() == b"still here"
        nursery.cancel_scope.cancel()


async def test_a_cancelled_receive_loses_nothing(pair: Pair) -> None:
    there, back = await streams(pair)
    with trio.CancelScope() as scope:
        scope.cancel()
        await back.receive_some()
    await there.send_all(b"late")
    assert await back.receive_some() == b"late"


async def test_a_peer_that_vanishes(pair: Pair) -> None:
    there, back = await streams(pair)
    pair.dialer.abort()
    with pytest.raises(ConnectionClosed):
        await read_all(back)
    with pytest.raises(ConnectionClosed):
        await pair.listener.accept_stream()
    with pytest.raises(ConnectionClosed):
        await pair.listener.open_stream()
    with pytest.raises(ConnectionClosed):
        await there.send_all(b"x")
    assert pair.listener.closed and pair.dialer.closed


async def test_a_graceful_close_tells_the_peer(stack: Stack, pair: Pair) -> None:
    there, back = await streams(pair)
    await there.send_all(b"last words")
    await there.send_eof()
    await pair.dialer.aclose(7)
    assert await read_all(back) == b"last words"
    with pytest.raises(ConnectionClosed) as caught:
        await pair.listener.accept_stream()
    assert caught.value.remote
    if stack.has_error_codes:
        assert caught.value.code == 7
    await pair.dialer.aclose()  # again: no effect


async def test_a_listener_that_closes(pair: Pair) -> None:
    pair.listening.close()
    with pytest.raises(trio.ClosedResourceError):
        await pair.listening.accept()
    with pytest.raises(CarrickError):
        await pair.dialer_transport.dial(pair.listening.address, None, budget=Unlimited())
    await streams(pair)  # what was accepted before lives on


async def test_the_wrong_peer_is_refused(stack: Stack) -> None:
    listener_key, other = PrivateKey.generate(), PrivateKey.generate()
    listener = await stack.make(listener_key).listen(stack.listen_on)
    outcome: list[CarrickError | MuxedConnection] = []

    async def accept() -> None:
        inbound = await listener.accept()
        try:
            outcome.append(await inbound.upgrade(Unlimited()))
        except CarrickError as error:
            outcome.append(error)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            with pytest.raises(PeerIdMismatch):
                await stack.make(PrivateKey.generate()).dial(
                    listener.address, other.peer_id, budget=Unlimited()
                )
    listener.close()
    if isinstance(outcome[0], CarrickError):
        return
    # The listener may finish first (TLS 1.3): then its connection ends before anything else.
    await outcome[0].run()
    assert outcome[0].closed


async def test_an_upgrade_that_is_cancelled_leaves_no_socket(stack: Stack) -> None:
    listener = await stack.make(PrivateKey.generate()).listen(stack.listen_on)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            dialing = stack.make(PrivateKey.generate())

            async def dial() -> None:
                # It may be done in the very moment in which it is cancelled.
                (await dialing.dial(listener.address, None, budget=Unlimited())).abort()

            nursery.start_soon(dial)
            inbound = await listener.accept()
            nursery.cancel_scope.cancel()
        with pytest.raises(CarrickError):
            await inbound.upgrade(Unlimited())
    listener.close()


async def test_the_memory_budget_is_given_back(stack: Stack) -> None:
    async with connected(stack) as pair:
        there, back = await streams(pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(there.send_all, bytes(8 * MIB))
            left = 8 * MIB
            while left:
                left -= len(await back.receive_some())
        budgets = [pair.dialer, pair.listener]
        await there.aclose()
        await back.aclose()
        pair.dialer.abort()
        with pytest.raises(ConnectionClosed):
            await pair.listener.accept_stream()
    assert [connection.stream_count for connection in budgets] == [0, 0]  # type: ignore[attr-defined]


async def test_trio_stream_contract(stack: Stack) -> None:
    async with trio.open_nursery() as nursery:

        async def make() -> tuple[MuxedStream, MuxedStream]:
            return await streams(await connect(stack, nursery))

        async def make_clogged() -> tuple[MuxedStream, MuxedStream]:
            there, back = await streams(await connect(stack, nursery))
            # The first byte is in already.
            await there.send_all(bytes(stack.initial_window - stack.stream_header - 1))
            await back.send_all(bytes(stack.initial_window))
            return there, back

        clogged = make_clogged if stack.has_flow_control else None
        await trio.testing.check_half_closeable_stream(make, clogged)
        nursery.cancel_scope.cancel()
