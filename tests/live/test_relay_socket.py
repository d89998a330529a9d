"""A stream as a byte socket: bounds, cuts and ends."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from carrick.builder import HostBuilder
from carrick.network import Stream
from carrick.protocols.relay import Limit, RelayClient, RelayOptions, RelayService
from carrick.protocols.relay.socket import CAPACITY, StreamSocket

if TYPE_CHECKING:
    from carrick.interfaces import ByteSocket

    def fits(socket: StreamSocket) -> ByteSocket:
        return socket


MEMORY = HostBuilder().transports("memory").security("noise")


@asynccontextmanager
async def sockets() -> AsyncIterator[tuple[StreamSocket, StreamSocket]]:
    """Both ends of a stream, pumped."""
    arrived, taken = trio.Event(), []

    async def keep(stream: Stream) -> None:
        taken.append(StreamSocket(stream))
        arrived.set()
        await taken[0].pump()

    listener = MEMORY.listen("/memory/0").handle("/socket/1", keep)
    async with listener.open() as bob, MEMORY.open() as alice:
        near = StreamSocket(await alice.open_stream(bob.addresses[0], "/socket/1"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.pump)
            near.send(memoryview(b"!"))
            await arrived.wait()
            assert await receive(taken[0], 1) == b"!"
            yield near, taken[0]
            nursery.cancel_scope.cancel()


async def receive(socket: StreamSocket, size: int = 1 << 16) -> bytes:
    """What comes next; at most `size` bytes."""
    buffer = bytearray(size)
    while (count := socket.recv_into(memoryview(buffer))) is None:
        await socket.wait_readable()
    return bytes(buffer[:count])


async def test_bytes_in_any_cut() -> None:
    rng = random.Random(1)
    data = rng.randbytes(1_000_000)
    async with sockets() as (near, far):

        async def send() -> None:
            at = 0
            while at < len(data):
                sent = near.send(memoryview(data)[at : at + rng.randrange(1, 100_000)])
                if sent is None:
                    await near.wait_writable()
                else:
                    at += sent
            near.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            received = bytearray()
            while piece := await receive(far, rng.randrange(1, 50_000)):
                received += piece
        assert received == data
        assert near.ended.is_set()  # what was sent before close has left
        with pytest.raises(OSError, match="closed"):
            near.send(memoryview(b"x"))
        with pytest.raises(OSError, match="closed"):
            near.recv_into(memoryview(bytearray(1)))
        with pytest.raises(trio.ClosedResourceError):
            await near.wait_readable()
        with pytest.raises(trio.ClosedResourceError):
            await near.wait_writable()


async def test_what_waits_to_be_sent_is_bounded() -> None:
    async with sockets() as (near, far):
        piece, sent = memoryview(bytes(50_000)), 0
        while True:
            count = near.send(piece)
            if count is not None:
                sent += count
                assert len(near._output) <= CAPACITY
                continue
            with trio.move_on_after(0.1) as waiting:
                await near.wait_writable()
            if waiting.cancelled_caught:
                break
        # The window of the muxer, one buffer on its way, one that waits.
        assert 2 * CAPACITY <= sent <= 2 * CAPACITY + (1 << 20)
        received = 0
        while received < sent:
            received += len(await receive(far))
        await near.wait_writable()
        assert near.send(piece) == len(piece)


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    async with sockets() as (near, far):
        with trio.move_on_after(0.01):
            await near.wait_readable()
        far.send(memoryview(b"later"))
        assert await receive(near) == b"later"


@pytest.mark.parametrize("who", ["near", "far"])
async def test_an_abort_is_a_reset_at_the_other_end(who: str) -> None:
    async with sockets() as (near, far):
        aborted, other = (near, far) if who == "near" else (far, near)
        aborted.abort()
        with pytest.raises(ConnectionResetError):
            await receive(other)
        with pytest.raises(BrokenPipeError):
            other.send(memoryview(b"x"))
        other.close()
        for each in (other, aborted):
            await each.ended.wait()


async def test_closing_wakes_who_waits() -> None:
    async with sockets() as (near, _):

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await near.wait_readable()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            near.close()


async def test_streams_over_a_relay_are_trio_streams() -> None:
    """`trio.testing.check_half_closeable_stream` on a relayed connection."""
    service = RelayService(RelayOptions(limit=Limit()))
    arrived, arrivals = trio.open_memory_channel[Stream](10)
    done = trio.Event()

    async def hand_out(stream: Stream) -> None:
        await arrived.send(stream)
        await done.wait()

    async with (
        MEMORY.listen("/memory/0").services(service).open() as rita,
        MEMORY.services(RelayClient).handle("/check/1", hand_out).open() as bob,
        MEMORY.services(RelayClient).open() as alice,
    ):
        await bob.service(RelayClient).reserve(rita.addresses[0])
        connection = await alice.connect(bob.addresses[0])

        async def make() -> tuple[Stream, Stream]:
            near = await connection.open_stream("/check/1", lazy=False)
            return near, await arrivals.receive()

        await trio.testing.check_half_closeable_stream(make, None)
        done.set()
