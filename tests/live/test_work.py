"""Guards against slowness without a clock: work per MiB and per dial, with a margin.

Whoever makes a number here larger should know why. The figures behind each bound are those that
were counted when it was set; the bound is about half as much again.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from carrick import Host, HostBuilder, PrivateKey
from carrick.protocols.ping import Ping
from carrick.transports.bytestream import Upgrader
from carrick.transports.memory import MemoryTransport
from carrick.transports.muxers.yamux import Yamux
from tests.support.work import CountingNoise, CountingWrapper, Work, count_task_steps

KIB = 1 << 10
MIB = 1 << 20


@dataclass
class Side:
    host: Host
    work: Work


@asynccontextmanager
async def counted(*, listen: bool) -> AsyncIterator[Side]:
    """A host over memory, Noise and Yamux, whose work is counted."""
    wrapper = CountingWrapper()

    def transport(_: Upgrader) -> MemoryTransport:
        return MemoryTransport(
            Upgrader(
                [CountingNoise(host_key, wrapper.work)],
                {Yamux.id: lambda role, budget, now: Yamux(role, budget=budget, now=now)},
                wrapper,
            )
        )

    host_key = PrivateKey.generate()
    builder = HostBuilder().identity(host_key).transports(transport)
    if listen:
        builder = builder.listen("/memory/0")
    async with builder.open() as host:
        yield Side(host, wrapper.work)


@pytest.fixture
async def pair():
    async with counted(listen=True) as server, counted(listen=False) as client:
        yield server, client


@dataclass(frozen=True)
class Bound:
    """The most of each per MiB of an upload."""

    sealed: float
    sends: float
    receives: float
    answers: float
    """What the receiver seals: window updates."""
    steps: float


@pytest.mark.parametrize(
    ("write", "bound"),
    [
        # Counted: 20 records (four full ones a write, and its rest), 12.4 sends (the memory pipe
        # takes 256 KiB at a time), 12.5 receives, 2 window updates (8 if it never grows), 36 steps
        (256 * KIB, Bound(sealed=22, sends=18, receives=18, answers=9, steps=48)),
        (64 * KIB, Bound(sealed=34, sends=28, receives=24, answers=9, steps=58)),  # 32, 21, 18, 43
        (16 * KIB, Bound(sealed=68, sends=80, receives=28, answers=9, steps=64)),  # 64, 70, 21, 47
        (4 * KIB, Bound(sealed=264, sends=280, receives=28, answers=9, steps=64)),  # 256, 261, 16
    ],
)
async def test_work_per_mebibyte(pair: tuple[Side, Side], write: int, bound: Bound) -> None:
    server, client = pair
    total = 32 * MIB
    done = trio.Event()

    @server.host.handle("/sink/1")
    async def sink(stream):
        while await stream.receive_some():
            pass
        done.set()

    stream = await client.host.open_stream(server.host.addresses[0], "/sink/1")
    await client.host.connect(server.host.id)
    server.work.clear()
    client.work.clear()
    blocks = sys.getallocatedblocks()
    with count_task_steps() as steps:
        data = bytes(write)
        for _ in range(total // len(data)):
            await stream.send_all(data)
        await stream.send_eof()
        await done.wait()
    mebibytes = total / MIB
    sending, receiving = client.work, server.work
    assert sending.sealed / mebibytes <= bound.sealed
    assert receiving.opened / mebibytes <= bound.sealed
    assert sending.sends / mebibytes <= bound.sends
    assert receiving.receives / mebibytes <= bound.receives
    assert receiving.sealed / mebibytes <= bound.answers
    assert steps.count / mebibytes <= bound.steps
    assert sys.getallocatedblocks() - blocks < 5000  # 420: nothing is kept


async def test_work_per_dial(pair: tuple[Side, Side]) -> None:
    """Dial, identify in both directions, one ping, close."""
    server, client = pair
    address = server.host.addresses[0]

    async def dial() -> None:
        connection = await client.host.connect(address)
        await client.host.service(Ping).ping_once(connection)
        await connection.aclose()

    await dial()
    server.work.clear()
    client.work.clear()
    with count_task_steps() as steps:
        for _ in range(20):
            await dial()
    for work in (client.work, server.work):
        assert work.sends / 20 <= 18  # 12
        assert work.sealed / 20 <= 15  # 10
        assert work.opened / 20 <= 15  # 10
    assert steps.count / 20 <= 175  # 116, both sides together
