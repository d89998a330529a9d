"""Deadlines and rhythm of ping, in virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.errors import PeerTimeout
from carrick.network import Stream
from carrick.protocols.ping import ID, PAYLOAD_SIZE, Ping

MEMORY = HostBuilder().transports("memory").listen("/memory/0")
BARE = MEMORY.services(defaults=False)


async def test_the_interval_is_from_start_to_start(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:

        async def slow(stream: Stream) -> None:
            while True:
                payload = await stream.read_exactly(PAYLOAD_SIZE)
                await trio.sleep(0.25)
                await stream.send_all(payload)

        bob.handle(ID, slow)
        connection = await alice.connect(bob.addresses[0])
        started = trio.current_time()
        times = [rtt async for rtt in alice.service(Ping).ping(connection, count=4, interval=1)]
        assert times == pytest.approx([0.25] * 4)
        assert trio.current_time() - started == pytest.approx(3.25)


async def test_no_echo_within_ten_seconds(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:
        asked = 0

        async def once_deaf(stream: Stream) -> None:
            nonlocal asked
            asked += 1
            if asked == 1:
                await trio.sleep_forever()
            await stream.send_all(await stream.read_exactly(PAYLOAD_SIZE))

        bob.handle(ID, once_deaf)
        connection = await alice.connect(bob.addresses[0])
        started = trio.current_time()
        with pytest.raises(PeerTimeout, match="10 s"):
            await alice.service(Ping).ping_once(connection)
        assert trio.current_time() - started == pytest.approx(10)
        assert connection.streams == ()
        assert await alice.service(Ping).ping_once(connection) < 1


async def test_a_stream_without_whole_pings_ends_after_a_minute(autojump_clock: MockClock) -> None:
    """ATTACKS row 33: a byte now and then does not renew it."""
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(ID)
        started = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(5)
        assert 60 <= trio.current_time() - started <= 65
        assert not connection.closed


async def test_whole_pings_keep_a_stream(autojump_clock: MockClock) -> None:
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        async with await connection.open_stream(ID) as stream:
            for _ in range(10):
                await stream.send_all(bytes(PAYLOAD_SIZE))
                await stream.read_exactly(PAYLOAD_SIZE)
                await trio.sleep(50)


async def test_an_echo_that_nobody_reads_ends_the_stream(autojump_clock: MockClock) -> None:
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(ID)
        started = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await stream.send_all(bytes(64 * 1024))
        assert trio.current_time() - started < 12
