"""Perf between whole hosts, in both dialects, and its bounds."""

from __future__ import annotations

import pytest
import trio

from carrick.builder import HostBuilder
from carrick.errors import ProtocolError, ProtocolNotSupported
from carrick.network import Stream
from carrick.protocols.perf import ID, Dialect, Perf, PerfOptions

MEMORY = HostBuilder().transports("memory").listen("/memory/0")


def serving() -> HostBuilder:
    return MEMORY.services(Perf())


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("transport", ["tcp", "memory"])
async def test_both_ways(transport: str, dialect: Dialect) -> None:
    listen = {"tcp": "/ip4/127.0.0.1/tcp/0", "memory": "/memory/0"}[transport]
    builder = HostBuilder().transports(transport).listen(listen)
    alices, bobs = builder.services(Perf()), builder.services(Perf())
    async with alices.open() as alice, bobs.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        seen: list[tuple[int, int]] = []
        result = await alice.service(Perf).measure(
            connection,
            upload=3_000_000,
            download=2_000_000,
            dialect=dialect,
            progress=lambda up, down: seen.append((up, down)),
        )
        assert (result.upload_bytes, result.download_bytes) == (3_000_000, 2_000_000)
        assert result.upload_s > 0 and result.download_s > 0
        assert seen == sorted(seen) and seen[-1] == (3_000_000, 2_000_000)
        assert connection.streams == ()


@pytest.mark.parametrize(("upload", "download"), [(0, 0), (1, 0), (0, 1), (7, 9), (8, 8)])
async def test_small_amounts(upload: int, download: int) -> None:
    async with serving().open() as alice, serving().open() as bob:
        await alice.connect(bob.addresses[0])
        result = await alice.service(Perf).measure(bob.id, upload=upload, download=download)
        assert (result.upload_bytes, result.download_bytes) == (upload, download)


async def test_the_server_sends_only_after_the_upload() -> None:
    async with MEMORY.open() as alice, serving().open() as bob:
        connection = await alice.connect(bob.addresses[0])
        async with await connection.open_stream(ID) as stream:
            await stream.send_all((100).to_bytes(8, "big") + bytes(7))
            with trio.move_on_after(0.1) as waiting:
                await stream.receive_some()
            assert waiting.cancelled_caught
            await stream.send_eof()
            assert await stream.read_exactly(100) == bytes(100)
            assert await stream.receive_some() == b""


async def test_a_reference_client_that_never_ends_its_side() -> None:
    async with MEMORY.open() as alice, serving().open() as bob:
        connection = await alice.connect(bob.addresses[0])
        for head, reply in (((5, 9), 9), ((0, 9), 9), ((5, 0), 0)):
            async with await connection.open_stream(ID) as stream:
                await stream.send_all(b"".join(number.to_bytes(8, "big") for number in head))
                await stream.send_all(bytes(head[0]))
                assert await stream.read_exactly(reply) == bytes(reply)
                assert await stream.receive_some() == b""


async def test_off_by_default() -> None:
    async with serving().open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        assert ID not in bob.protocols
        with pytest.raises(ProtocolNotSupported):
            await alice.service(Perf).measure(connection, upload=1)


@pytest.mark.parametrize(("upload", "download"), [(1001, 0), (0, 1001)])
async def test_the_cap_of_the_server(upload: int, download: int) -> None:
    capped = MEMORY.services(Perf(PerfOptions(max_bytes=1000)))
    async with serving().open() as alice, capped.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        await alice.service(Perf).measure(connection, upload=900, download=1000)
        with pytest.raises(trio.BrokenResourceError):
            await alice.service(Perf).measure(connection, upload=upload, download=download)


@pytest.mark.parametrize(("sent", "reason"), [(99, "99 bytes of 100"), (101, "or more")])
async def test_a_server_that_miscounts(sent: int, reason: str) -> None:
    async with serving().open() as alice, MEMORY.open() as bob:

        async def miscount(stream: Stream) -> None:
            while await stream.receive_some():
                pass
            await stream.send_all(bytes(sent))

        bob.handle(ID, miscount)
        connection = await alice.connect(bob.addresses[0])
        with pytest.raises(ProtocolError, match=reason):
            await alice.service(Perf).measure(connection, download=100)
        assert connection.streams == ()
