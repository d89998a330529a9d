"""Perf transfers that stall end; slow ones do not. In virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.errors import PeerTimeout
from carrick.network import Stream
from carrick.protocols.perf import ID, Perf

MEMORY = HostBuilder().transports("memory").listen("/memory/0")


async def test_a_server_that_stalls(autojump_clock: MockClock) -> None:
    async with MEMORY.services(Perf()).open() as alice, MEMORY.open() as bob:
        bob.handle(ID, lambda stream: trio.sleep_forever())
        connection = await alice.connect(bob.addresses[0])
        for upload, download in ((1 << 30, 0), (0, 1)):
            started = trio.current_time()
            with pytest.raises(PeerTimeout, match="30 s"):
                await alice.service(Perf).measure(connection, upload=upload, download=download)
            assert trio.current_time() - started == pytest.approx(30, abs=1)
        assert connection.streams == ()


async def test_a_slow_server_is_waited_for(autojump_clock: MockClock) -> None:
    async with MEMORY.services(Perf()).open() as alice, MEMORY.open() as bob:

        async def slow(stream: Stream) -> None:
            while await stream.receive_some():
                pass
            for _ in range(10):
                await trio.sleep(20)
                await stream.send_all(bytes(10))

        bob.handle(ID, slow)
        connection = await alice.connect(bob.addresses[0])
        result = await alice.service(Perf).measure(connection, download=100)
        assert result.download_s == pytest.approx(200)


@pytest.mark.parametrize("sent", [bytes(3), bytes(8), (1 << 40).to_bytes(8, "big") + bytes(9)])
async def test_a_client_that_stalls(autojump_clock: MockClock, sent: bytes) -> None:
    async with MEMORY.open() as alice, MEMORY.services(Perf()).open() as bob:
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(ID)
        started = trio.current_time()
        await stream.send_all(sent)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        assert trio.current_time() - started == pytest.approx(30, abs=1)


async def test_a_client_that_does_not_read(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, MEMORY.services(Perf()).open() as bob:
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(ID)
        await stream.send_all((1 << 40).to_bytes(8, "big"))
        await stream.send_eof()
        await trio.sleep(40)
        (other,) = bob.connections
        assert other.streams == ()
        with pytest.raises(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
