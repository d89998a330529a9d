"""Ping between whole hosts, and against peers that do it wrong."""

from __future__ import annotations

from contextlib import aclosing

import pytest
import trio

from carrick.builder import HostBuilder
from carrick.errors import ProtocolError, ProtocolNotSupported
from carrick.identity import PeerId
from carrick.network import Connection, Stream
from carrick.protocols.ping import ID, PAYLOAD_SIZE, Ping

MEMORY = HostBuilder().transports("memory").listen("/memory/0")
BARE = MEMORY.services(defaults=False)


@pytest.mark.parametrize("transport", ["tcp", "memory"])
async def test_ping(transport: str) -> None:
    listen = {"tcp": "/ip4/127.0.0.1/tcp/0", "memory": "/memory/0"}[transport]
    builder = HostBuilder().transports(transport).listen(listen)
    async with builder.open() as alice, builder.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        ping = alice.service(Ping)
        assert 0 < await ping.ping_once(connection) < 5
        times = [rtt async for rtt in ping.ping(bob.id, count=5, interval=0)]
        assert len(times) == 5 and all(0 < rtt < 5 for rtt in times)
        assert connection.streams == ()


async def test_one_stream_whoever_pings() -> None:
    """The specification: not more than one outbound stream per peer."""
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        ping = alice.service(Ping)
        most = 0

        async def pings(target: Connection | PeerId) -> None:
            nonlocal most
            async for _ in ping.ping(target, count=10, interval=0):
                most = max(most, len(connection.streams))

        async with trio.open_nursery() as nursery:
            for target in (connection, bob.id, connection):
                nursery.start_soon(pings, target)
        assert most == 1
        assert connection.streams == ()


async def test_leaving_the_iteration_closes_the_stream() -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        async with aclosing(alice.service(Ping).ping(connection)) as times:
            async for _ in times:
                break
            assert connection.stream_count == 1
        assert connection.stream_count == 0


async def test_a_stream_that_the_peer_ends_is_opened_again() -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:
        streams = 0

        async def three_echoes(stream: Stream) -> None:
            nonlocal streams
            streams += 1
            for _ in range(3):
                await stream.send_all(await stream.read_exactly(PAYLOAD_SIZE))
            if streams % 2:
                stream.reset()

        bob.handle(ID, three_echoes)
        connection = await alice.connect(bob.addresses[0])
        times = [rtt async for rtt in alice.service(Ping).ping(connection, count=10, interval=0)]
        assert (len(times), streams) == (10, 4)


async def test_a_peer_that_ends_every_stream() -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:

        async def nothing(stream: Stream) -> None: ...

        bob.handle(ID, nothing)
        connection = await alice.connect(bob.addresses[0])
        with pytest.raises(ProtocolError, match="instead of an echo"):
            await alice.service(Ping).ping_once(connection)


async def test_a_wrong_echo() -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:

        async def invent(stream: Stream) -> None:
            await stream.send_all(bytes(PAYLOAD_SIZE))
            await stream.receive_some()

        bob.handle(ID, invent)
        connection = await alice.connect(bob.addresses[0])
        with pytest.raises(ProtocolError, match="not what was sent"):
            await alice.service(Ping).ping_once(connection)
        assert connection.streams == ()


async def test_a_peer_without_ping() -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        with pytest.raises(ProtocolNotSupported):
            await alice.service(Ping).ping_once(connection)


async def test_whole_payloads_are_echoed_and_remnants_dropped() -> None:
    """ATTACKS row 33."""
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        payload = bytes(range(PAYLOAD_SIZE))
        async with await connection.open_stream(ID) as stream:
            for byte in payload:
                await stream.send_all(bytes([byte]))
            assert await stream.read_exactly(PAYLOAD_SIZE) == payload
            await stream.send_all(payload + b"!")  # 33 bytes
            assert await stream.read_exactly(PAYLOAD_SIZE) == payload
            await stream.send_all(payload * 1000)  # the rest of one, and many more ahead
            expected = (b"!" + payload * 1000)[: 1000 * PAYLOAD_SIZE]
            assert await stream.read_exactly(1000 * PAYLOAD_SIZE) == expected
            await stream.send_eof()
            assert await stream.receive_some() == b""


async def test_a_peer_has_two_streams() -> None:
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        async with await connection.open_stream(ID), await connection.open_stream(ID):
            with pytest.raises(trio.BrokenResourceError):
                third = await connection.open_stream(ID)
                await third.send_all(bytes(PAYLOAD_SIZE))
                await third.receive_some()
