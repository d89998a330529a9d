from __future__ import annotations

import pytest
import trio
import trio.testing
from google.protobuf.wrappers_pb2 import StringValue

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.network import Stream, Swarm
from tests.support.swarms import echo, pair
from tests.support.transports import Stack

STACKS = [
    Stack("memory", "plaintext", "yamux"),
    Stack("memory", "noise", "yamux"),
    Stack("tcp", "noise", "yamux"),
    Stack("tcp", "tls", "yamux"),
    Stack("memory", "noise", "mplex"),
]


async def streams(dialer: Swarm, listener: Swarm, *, lazy: bool = False) -> tuple[Stream, Stream]:
    """Both ends of a new stream; the handler of the far end stays until its end is closed."""
    arrived: list[Stream] = []
    there = trio.Event()

    async def serve(stream: Stream) -> None:
        arrived.append(stream)
        there.set()
        while not stream.closed:
            await trio.testing.wait_all_tasks_blocked(0.01)

    listener.unhandle("/pair/1")
    listener.handle("/pair/1", serve)
    connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
    stream = await connection.open_stream("/pair/1", lazy=lazy)
    if lazy:
        await stream.send_all(b"")
    await there.wait()
    return stream, arrived[0]


@pytest.mark.parametrize("lazy", [False, True], ids=["negotiated", "lazy"])
@pytest.mark.parametrize("stack", STACKS, ids=str)
async def test_streams_keep_trios_contract(stack: Stack, lazy: bool) -> None:
    async with pair(stack) as (dialer, listener):
        with trio.fail_after(30):

            async def make() -> tuple[Stream, Stream]:
                return await streams(dialer, listener, lazy=lazy)

            async def make_reversed() -> tuple[Stream, Stream]:
                dialed, accepted = await make()
                return accepted, dialed

            await trio.testing.check_half_closeable_stream(make, None)
            await trio.testing.check_half_closeable_stream(make_reversed, None)


async def test_frames_and_messages() -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        await near.write_frame(b"one")
        await near.write_message(StringValue(value="two"))
        await near.write_frame(b"")
        await near.send_all(b"\x02" + b"4")
        assert await far.read_frame(3) == b"one"
        assert (await far.read_message(StringValue, 100)).value == "two"
        assert await far.read_frame(0) == b""
        with trio.move_on_after(0.01) as scope:
            await far.read_frame(10)
        assert scope.cancelled_caught
        await near.send_all(b"4" + b"rest")  # a cancelled read has lost nothing
        assert await far.read_frame(10) == b"44"
        assert await far.receive_some(2) == b"re"
        assert [bytes(view) for view in await far.receive_views()] == [b"st"]
        await near.send_all(b"views")
        assert b"".join(await far.receive_views()) == b"views"
        await near.aclose()
        await far.aclose()


@pytest.mark.parametrize("stack", [*STACKS, Stack("quic", "tls", "quic")], ids=str)
@pytest.mark.parametrize("size", [0, 100, 1 << 20])
async def test_the_last_bytes_and_the_end_of_file(stack: Stack, size: int) -> None:
    """A handler that answers at once: its bytes follow the answer to the proposal, in order."""
    ended = False

    async def serve(stream: Stream) -> None:
        nonlocal ended
        await stream.send_last(bytes(size))
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"more")
        ended = True
        assert await stream.read_exactly(2) == b"ok"

    async with pair(stack) as (dialer, listener):
        listener.handle("/last/1", serve)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        stream = await connection.open_stream("/last/1")
        received = b"".join([piece async for piece in stream])
        assert received == bytes(size)
        await stream.send_all(b"ok")
        await stream.aclose()
    assert ended


async def test_reads_are_bounded() -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        await near.write_frame(b"x" * 100)
        with pytest.raises(MessageTooLarge, match="100 bytes announced; the limit is 99"):
            await far.read_frame(99)
        for stream in (near, far):
            await stream.aclose()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", "where a message was expected"),
        (b"\x80", "within a message's length"),
        (b"\x05ab", "within a message"),
        (b"\x80\x00", "shortest form"),
        (b"\x02\xff\xff", "malformed"),
    ],
)
async def test_broken_messages(sent: bytes, error: str) -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        await near.send_all(sent)
        await near.aclose()
        with pytest.raises(ProtocolError, match=error):
            await far.read_message(StringValue, 1000)
        await far.aclose()


async def test_iteration_ends_with_the_stream() -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        for number in range(3):
            await near.write_message(StringValue(value=str(number)))
        await near.send_eof()
        assert [message.value async for message in far.messages(StringValue, 100)] == [*"012"]
        await far.write_frame(b"one")
        await far.aclose()
        assert [frame async for frame in near.frames(100)] == [b"one"]
        with pytest.raises(ProtocolError, match="5 bytes too early"):
            await near.read_exactly(5)
        await near.aclose()


async def test_the_buffered_writer_joins_small_writes() -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        writer = near.writer()
        assert near.writer() is writer
        for _ in range(100):
            await writer.write(b"x" * 10)
        assert writer.buffered == 1000
        await writer.flush()
        assert len(await far.receive_some()) == 1000
        async with writer:
            await writer.write(b"y")
        assert await far.receive_some() == b"y"
        await writer.write(b"z" * 65536)
        assert writer.buffered == 0
        assert len(await far.read_exactly(65536)) == 65536
        await writer.write(b"a")
        await near.send_all(b"b")  # behind what was written
        assert await far.read_exactly(2) == b"ab"
        await writer.write(b"c")
        await near.send_eof()
        assert await far.read_exactly(1) == b"c"
        assert await far.receive_some() == b""
        await near.aclose()
        await far.aclose()


async def test_the_buffered_writer_is_flushed_before_a_read_and_at_the_end() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        for lazy in (False, True):
            async with await connection.open_stream("/echo/1", lazy=lazy) as stream:
                await stream.writer().write(b"question")
                assert await stream.read_exactly(8) == b"question"
        near, far = await streams(dialer, listener)
        await near.writer().write(b"last words")
        await near.aclose()
        assert await far.read_exactly(10) == b"last words"
        assert await far.receive_some() == b""
        await far.aclose()


async def test_a_cancelled_flush_loses_nothing_that_was_not_sent() -> None:
    async with pair() as (dialer, listener):
        near, far = await streams(dialer, listener)
        writer = near.writer()
        await writer.write(b"one")
        with trio.CancelScope() as scope:
            scope.cancel()
            await writer.flush()
        await writer.write(b"two")
        await writer.flush()
        assert await far.read_exactly(6) == b"onetwo"
        await near.aclose()
        await far.aclose()


async def test_a_cancelled_first_send_keeps_the_proposal() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        stream = await connection.open_stream("/echo/1", lazy=True)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"never")
        await stream.send_all(b"now")
        assert await stream.read_exactly(3) == b"now"
        await stream.aclose()


async def test_one_task_may_send_while_another_receives_from_the_start() -> None:
    async with pair() as (dialer, listener):
        listener.handle("/echo/1", echo)
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        for _ in range(20):
            stream = await connection.open_stream("/echo/1", lazy=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.read_exactly, 5)
                nursery.start_soon(stream.send_all, b"hello")
            await stream.aclose()
