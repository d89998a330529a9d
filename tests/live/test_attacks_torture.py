"""Row 81 of the list of attacks: each function on the way raises once, at its n-th call; and a
dial, an upgrade and the opening of a stream are cancelled at each of their steps.

Whatever happens, only a stream or a connection ends: the node serves the next peer, and no task,
descriptor or reservation is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.errors import MuxerError, ProtocolError
from carrick.host import Host
from carrick.identity import PrivateKey
from carrick.protocols.identify.messages import MessageReader
from carrick.protocols.ping import Ping
from carrick.transports.memory.pipe import MemorySocket
from carrick.transports.memory.transport import MemoryListener
from carrick.transports.multistream import Dialer, Listener
from carrick.transports.muxers.mplex import Mplex
from carrick.transports.muxers.yamux import Yamux
from carrick.transports.muxers.yamux.receiver import Receiver
from carrick.transports.security.noise import NoiseHandshake, NoiseRecords
from carrick.transports.security.tls.handshake import TlsHandshake
from carrick.transports.security.tls.records import TlsRecords
from tests.sim.test_network_torture import CancelAt
from tests.support.siege import descriptors, held, task_count
from tests.support.waiting import until

KEY = PrivateKey.generate()


class Tortured(Exception):
    """What nobody foresaw."""


@contextmanager
def raising(owner: type, name: str, at: int, error: Callable[[], Exception]) -> Iterator[list[int]]:
    """The `at`-th call of a method raises; yields the count of calls. 0: none raises."""
    original = getattr(owner, name)
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise error()
        return original(*args, **kwargs)

    setattr(owner, name, call)
    try:
        yield calls
    finally:
        setattr(owner, name, original)


async def scenario(peer: HostBuilder, node: Host) -> None:
    """A peer connects, is identified, pings, and leaves politely. Its own errors are its own."""
    with suppress(Exception), trio.move_on_after(20):
        async with peer.open() as host:
            connection = await host.connect(node.addresses[0], timeout=15)
            await host.service(Ping).ping_once(connection)
            await connection.aclose()


COMMON = [
    (MemorySocket, "recv_into", lambda: OSError(104, "torture")),
    (MemorySocket, "recv_into", Tortured),
    (MemorySocket, "send", lambda: OSError(32, "torture")),
    (MemorySocket, "send", Tortured),
    (MemoryListener, "accept", Tortured),
    (Listener, "receive", Tortured),
    (Dialer, "receive", Tortured),
    (Listener, "receive", lambda: ProtocolError("torture")),
    (Dialer, "receive", lambda: ProtocolError("torture")),
    (MessageReader, "receive", Tortured),
    (MessageReader, "finish", Tortured),
]
NOISE = [
    (NoiseHandshake, "receive", Tortured),
    (NoiseHandshake, "take_output", Tortured),
    (NoiseRecords, "open_all", lambda: ProtocolError("torture")),
    (NoiseRecords, "open_all", Tortured),
    (NoiseRecords, "seal", Tortured),
]
TLS = [
    (TlsHandshake, "receive", Tortured),
    (TlsHandshake, "take_output", Tortured),
    (TlsRecords, "open_all", Tortured),
    (TlsRecords, "seal", Tortured),
    (TlsRecords, "closing", Tortured),
]
MUXER_METHODS = ["feed", "take", "tick", "touched", "open", "accept", "close", "abandon"]
YAMUX: list[Any] = [(Yamux, name, Tortured) for name in MUXER_METHODS if name != "feed"]
YAMUX += [(Receiver, "feed", Tortured), (Receiver, "feed", lambda: MuxerError("torture"))]
MPLEX: list[Any] = [(Mplex, name, Tortured) for name in MUXER_METHODS]
CASES = [("noise", "yamux", *case) for case in COMMON + NOISE + YAMUX]
CASES += [("tls", "mplex", *case) for case in TLS + MPLEX]
MOST = 20  # calls of one function that are tried, evenly spread


@pytest.mark.parametrize(
    ("security", "muxer", "owner", "name", "error"),
    CASES,
    ids=[
        f"{owner.__name__}.{name}-{'defect' if error is Tortured else 'error'}"
        for _, _, owner, name, error in CASES
    ],
)
async def test_each_call_raises_once(
    security: str,
    muxer: str,
    owner: type,
    name: str,
    error: Callable[[], Exception],
    autojump_clock: MockClock,
) -> None:
    parts = HostBuilder().security(security).muxers(muxer)
    peer = parts.transports("memory").identity(KEY)
    node = parts.transports("memory").listen("/memory/0")
    async with node.open() as host:
        tasks = task_count()
        with raising(owner, name, 0, error) as calls:
            await scenario(peer, host)
        count = calls[0]
        assert count, f"{name} is not called"
        await until(lambda: not held(host) and task_count() <= tasks, within=30)
        for at in range(1, count + 1, -(-count // MOST)):
            with raising(owner, name, at, error):
                await scenario(peer, host)
            # No deadline is longer than this; the keepalive's is the last.
            await until(lambda: not held(host) and task_count() <= tasks, within=60)
        async with peer.open() as newcomer:
            with trio.fail_after(5):
                connection = await newcomer.connect(host.addresses[0])
                await newcomer.service(Ping).ping_once(connection)


async def serve(stream: Any) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


@pytest.mark.parametrize("security", ["noise", "tls"])
async def test_cancelled_at_each_step_of_dial_upgrade_and_open_stream(security: str) -> None:
    """Over TCP, so that descriptors are counted too."""
    parts = HostBuilder().security(security).services(defaults=False)
    listening = parts.listen("/ip4/127.0.0.1/tcp/0").handle("/echo/1", serve)
    async with listening.open() as node, parts.open() as host:
        target = node.addresses[0]

        async def dial_and_talk() -> None:
            await host.swarm.connect(node.id, [node.swarm.listen_addresses[0]], force=True)
            async with await host.open_stream(node.id, "/echo/1") as stream:
                await stream.send_all(b"x")
                assert await stream.receive_some() == b"x"

        async def clean() -> None:
            await host.disconnect(node.id)
            await until(lambda: not held(host) and not held(node))
            await until(lambda: task_count() <= tasks and descriptors() <= fds)

        await host.connect(target)
        await host.disconnect(node.id)
        await until(lambda: not held(host) and not held(node))
        tasks, fds = task_count(), descriptors()
        step, finished = 0, False
        while not finished:
            step += 1
            with trio.CancelScope() as scope:
                instrument = CancelAt(step, scope)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await dial_and_talk()
                    finished = True
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            await clean()
        assert step > 15
        await dial_and_talk()
        await clean()
