"""What Carrick's dialer is asked to do, by Carrick's public interface."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import trio

from carrick import Connection, Host, HostBuilder, Stream
from carrick.protocols.perf import Perf
from carrick.protocols.ping import Ping

__all__ = ["ECHO", "Dialer", "echo"]

ECHO = "/carrick/benchmarks/echo/1.0.0"
PERF = "/perf/1.0.0"
PING = "/ipfs/ping/1.0.0"
SMALL = 32  # bytes, as a ping has

Answer = dict[str, Any]


async def echo(stream: Stream) -> None:
    """Send back whatever comes."""
    async for data in stream:
        await stream.send_all(data)


class Dialer:
    """The commands, and the hosts that they use."""

    def __init__(self, builder: HostBuilder) -> None:
        self._builder = builder
        self._hosts: list[Host] = []
        self._held: list[Connection] = []
        self._streams: list[Stream] = []
        self._stack = AsyncExitStack()
        self.commands: dict[str, Callable[..., Awaitable[Answer]]] = {
            "transfer": self.transfer,
            "upload": self.upload,
            "messages": self.messages,
            "dial": self.dial,
            "connect": self.connect,
            "ping": self.ping,
            "streams": self.streams,
            "hold": self.hold,
            "hold_streams": self.hold_streams,
            "echo_held": self.echo_held,
            "close_held": self.close_held,
            "release": self.release,
        }

    async def __aenter__(self) -> Self:
        await self._grow(1)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _grow(self, count: int) -> list[Host]:
        """The first `count` hosts, each a peer of its own."""
        while len(self._hosts) < count:
            self._hosts.append(await self._stack.enter_async_context(self._builder.open()))
        return self._hosts[:count]

    @asynccontextmanager
    async def _connection(self, address: str) -> AsyncGenerator[tuple[Host, Connection]]:
        host = self._hosts[0]
        connection = await host.connect(address)
        try:
            yield host, connection
        finally:
            await connection.aclose()

    # --- bulk -------------------------------------------------------------------------------------

    async def transfer(self, address: str, up: int, down: int) -> Answer:
        """As the perf service does it, with writes of 256 KiB."""
        async with self._connection(address) as (host, connection):
            cpu = time.process_time()
            result = await host.service(Perf).measure(connection, upload=up, download=down)
            cpu = time.process_time() - cpu
        return {"seconds": result.upload_s + result.download_s, "cpu": cpu}

    async def upload(
        self, address: str, size: int, write: int, buffered: bool = False, streams: int = 1
    ) -> Answer:
        """`size` bytes in writes of `write` bytes, over `streams` streams at once, timed to their
        delivery."""
        piece = bytes(write)
        writes = max(1, size // write // streams)

        async def one(connection: Connection) -> None:
            stream = await connection.open_stream(PERF)
            await stream.send_all(bytes(8))  # nothing is wanted back
            send = stream.writer().write if buffered else stream.send_all
            for _ in range(writes):
                await send(piece)
            await stream.send_eof()
            if await stream.receive_some():
                raise ValueError("bytes that nobody asked for")
            await stream.aclose()

        async with self._connection(address) as (_, connection):
            started, cpu = time.perf_counter(), time.process_time()
            await _at_once(lambda: one(connection), streams)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "bytes": writes * write * streams}

    # --- messages ---------------------------------------------------------------------------------

    async def messages(self, address: str, size: int, count: int, pipelined: bool) -> Answer:
        """`count` requests of `size` bytes, each with a response of that size, on one stream."""
        request = bytes(size)
        async with (
            self._connection(address) as (_, connection),
            await connection.open_stream(ECHO) as stream,
        ):
            await stream.send_all(request)
            await stream.read_exactly(size)
            started, cpu = time.perf_counter(), time.process_time()
            if pipelined:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_send_many, stream, request, count)
                    for _ in range(count):
                        await stream.read_exactly(size)
            else:
                for _ in range(count):
                    await stream.send_all(request)
                    await stream.read_exactly(size)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "count": count}

    async def ping(self, address: str, count: int) -> Answer:
        """`count` pings on one stream."""
        async with self._connection(address) as (host, connection):
            service = host.service(Ping)
            await service.ping_once(connection)
            started, cpu = time.perf_counter(), time.process_time()
            pings = service.ping(connection, count=count, interval=0)
            times = [rtt async for rtt in pings]
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "times": times}

    # --- connections and streams ------------------------------------------------------------------

    async def dial(self, address: str, count: int, at_once: int) -> Answer:
        """`count` times dial, ping and close, by `at_once` hosts at the same time.

        The stream is opened on the fresh dial, which does not wait for identify.
        """

        async def one(host: Host) -> None:
            stream = await host.open_stream(address, PING)
            await _exchange(stream)
            await stream.connection.aclose()

        return await self._share(one, count, at_once)

    async def connect(self, address: str, count: int, at_once: int) -> Answer:
        """`count` times connect, identify included, and close."""

        async def one(host: Host) -> None:
            connection = await host.connect(address)
            await connection.aclose()

        return await self._share(one, count, at_once)

    async def _share(
        self, one: Callable[[Host], Awaitable[None]], count: int, at_once: int
    ) -> Answer:
        hosts = await self._grow(at_once)
        turns = iter(range(count))

        async def work(host: Host) -> None:
            for _ in turns:
                await one(host)

        waiting = itertools.cycle(hosts)
        started, cpu = time.perf_counter(), time.process_time()
        await _at_once(lambda: work(next(waiting)), at_once)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "count": count}

    async def streams(self, address: str, count: int, at_once: int, protocol: str) -> Answer:
        """`count` new streams on one connection, each with 32 bytes there and back.

        Args:
            protocol: `echo`; or `perf`, which asks any peer for 32 bytes.
        """
        once = {"echo": _echo_once, "perf": _perf_once}[protocol]
        async with self._connection(address) as (_, connection):
            turns = iter(range(count))

            async def work() -> None:
                for _ in turns:
                    await once(connection)

            started, cpu = time.perf_counter(), time.process_time()
            await _at_once(work, at_once)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "count": count}

    # --- holding ----------------------------------------------------------------------------------

    async def hold(self, address: str, count: int) -> Answer:
        """Connections by `count` more hosts, which stay."""
        before = len(self._hosts)
        for host in (await self._grow(before + count))[before:]:
            self._held.append(await host.connect(address))
        return {"count": count}

    async def hold_streams(self, address: str, count: int) -> Answer:
        """`count` streams on a new connection, each used once; all stay."""
        connection = await self._hosts[0].connect(address)
        self._held.append(connection)
        self._streams = []
        started, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            stream = await connection.open_stream(ECHO)
            await _exchange(stream)
            self._streams.append(stream)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        return {"seconds": seconds, "cpu": cpu, "count": count}

    async def echo_held(self, count: int) -> Answer:
        """`count` times 32 bytes there and back, each time on a random one of the held streams."""
        times = []
        for _ in range(count):
            stream = random.choice(self._streams)
            started = time.perf_counter()
            await _exchange(stream)
            times.append(time.perf_counter() - started)
        return {"times": times}

    async def close_held(self) -> Answer:
        """Close the held streams, and see that the listener has seen it: it answers behind them."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.aclose()
        await _echo_once(streams[0].connection)
        return {"count": len(streams)}

    async def release(self) -> Answer:
        """Let go of all that is held."""
        held, self._held = self._held, []
        for connection in held:
            await connection.aclose()
        return {"count": len(held)}


async def _at_once(work: Callable[[], Awaitable[None]], count: int) -> None:
    if count == 1:
        return await work()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(work)


async def _send_many(stream: Stream, request: bytes, count: int) -> None:
    for _ in range(count):
        await stream.send_all(request)


async def _exchange(stream: Stream) -> None:
    await stream.send_all(bytes(SMALL))
    await stream.read_exactly(SMALL)


async def _echo_once(connection: Connection) -> None:
    stream = await connection.open_stream(ECHO)
    await _exchange(stream)
    await stream.aclose()


async def _perf_once(connection: Connection) -> None:
    stream = await connection.open_stream(PERF)
    await stream.send_all(SMALL.to_bytes(8, "big"))
    await stream.send_eof()
    await stream.read_exactly(SMALL)
    await stream.aclose()
