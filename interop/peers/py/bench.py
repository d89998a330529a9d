"""A dialer for the benchmark: a JSON object a line on standard input, each answered with a line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio
from exchange import PING, PING_BYTES, identify, transfer
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.io.utils import read_exactly
from libp2p.peer.id import ID as PeerID
from libp2p.peer.peerinfo import PeerInfo, info_from_p2p_addr
from multiaddr import Multiaddr
from node import ECHO, open_host

SMALL = bytes(PING_BYTES)
READ = 65536

Answer = dict[str, Any]


async def lines() -> AsyncIterator[bytes]:
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
        rest = b""
        async for data in stdin:
            *complete, rest = (rest + data).split(b"\n")
            for line in complete:
                yield line


class Bencher:
    """The hosts that dial, each a peer of its own."""

    def __init__(self, transport: str, security: str, muxer: str) -> None:
        self._stack = (transport, security, muxer)
        self._hosts: list[IHost] = []

    async def run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            await self._grow(1)
            async for line in lines():
                try:
                    answer = await self._answer(json.loads(line))
                except Exception as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                print(json.dumps(answer), flush=True)
            self._nursery.cancel_scope.cancel()

    async def _grow(self, count: int) -> list[IHost]:
        while len(self._hosts) < count:
            self._hosts.append(await self._nursery.start(self._keep))
        return self._hosts[:count]

    async def _keep(self, task_status: trio.TaskStatus[IHost]) -> None:
        async with open_host(*self._stack) as host:
            task_status.started(host)
            await trio.sleep_forever()

    async def _answer(self, question: dict[str, Any]) -> Answer:
        info = info_from_p2p_addr(Multiaddr(question["address"]))
        command, count = question["command"], question.get("count", 0)
        if command in ("dial", "connect"):
            hosts = await self._grow(question["at_once"])
            once = dial if command == "dial" else connect
            return await timed(count, len(hosts), lambda worker: once(hosts[worker], info))
        host, peer = self._hosts[0], info.peer_id
        await host.connect(info)
        try:
            if command == "transfer":
                sizes = question["up"], question["down"], question["write"]
                return dict(await transfer(host, peer, *sizes))
            if command == "ping":
                return await ping(host, peer, count)
            if command == "streams":
                at_once = question["at_once"]
                return await timed(count, at_once, lambda _: small_echo(host, peer))
            if command == "messages":
                return await messages(host, peer, question["size"], count, question["pipelined"])
            raise ValueError(f"no such command: {command}")
        finally:
            await host.disconnect(peer)


async def timed(count: int, workers: int, once: Callable[[int], Awaitable[None]]) -> Answer:
    """Do it `count` times, by workers that run at once."""
    turns = iter(range(count))

    async def work(worker: int) -> None:
        for _ in turns:
            await once(worker)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for worker in range(workers):
            nursery.start_soon(work, worker)
    return {"seconds": time.perf_counter() - start, "count": count}


async def exchange(stream: INetStream, data: bytes) -> None:
    """Send the data and wait for as much."""
    await stream.write(data)
    await read_exactly(stream, len(data))


async def dial(host: IHost, info: PeerInfo) -> None:
    await host.connect(info)
    await exchange(await host.new_stream(info.peer_id, [PING]), SMALL)
    await host.disconnect(info.peer_id)


async def connect(host: IHost, info: PeerInfo) -> None:
    await host.connect(info)
    await identify(host, info.peer_id)
    await host.disconnect(info.peer_id)


async def small_echo(host: IHost, peer: PeerID) -> None:
    stream = await host.new_stream(peer, [TProtocol(ECHO)])
    await exchange(stream, SMALL)
    await stream.close()


async def ping(host: IHost, peer: PeerID, count: int) -> Answer:
    stream = await host.new_stream(peer, [PING])
    await exchange(stream, SMALL)
    times = []
    begin = time.perf_counter()
    for _ in range(count):
        start = time.perf_counter()
        await exchange(stream, SMALL)
        times.append(time.perf_counter() - start)
    return {"seconds": time.perf_counter() - begin, "times": times}


async def messages(host: IHost, peer: PeerID, size: int, count: int, pipelined: bool) -> Answer:
    stream = await host.new_stream(peer, [TProtocol(ECHO)])
    request = bytes(size)
    await exchange(stream, request)
    if not pipelined:
        return await timed(count, 1, lambda _: exchange(stream, request))
    start = time.perf_counter()

    async def send() -> None:
        for _ in range(count):
            await stream.write(request)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        left = size * count
        while left:
            left -= len(await stream.read(READ))
    return {"seconds": time.perf_counter() - start, "count": count}
