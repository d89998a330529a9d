"""What strangers may cost before they are authenticated (ATTACKS 6.1, promise 3).

Process memory is measured at `carrick listen` in a process of its own.
"""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.identity import PrivateKey
from carrick.interfaces import Role
from carrick.protocols.ping import Ping
from carrick.transports.multistream import HEADER, encode_message
from carrick.transports.security.noise.payload import MAX_PAYLOAD
from carrick.transports.security.tls import Tls
from carrick.wire import encode_varint
from tests.support.attacker import Channel, Wire, data, proposal
from tests.support.noise_peer import NoisePeer
from tests.support.processes import listening_node
from tests.support.siege import besieged
from tests.support.tls_peers import client as tls_client
from tests.support.tls_peers import craft, new_certificate_key, with_certificate

KIB = 1024
MAX_HELD = 64 * KIB  # received bytes of one stranger
MAX_COST = 128 * KIB  # process memory of one half-open connection
HALF_OPEN = 500

NOISE_THREE = (MAX_PAYLOAD + 64).to_bytes(2, "big") + bytes(MAX_PAYLOAD + 63)
"""The longest third message, but for its last byte."""


def _tls_record(content: bytes) -> bytes:
    return b"\x16\x03\x01" + len(content).to_bytes(2, "big") + content


TLS_HELLO = _tls_record(b"\x01" + (16_000).to_bytes(3, "big") + bytes(12_000))
TLS_HELLO += _tls_record(bytes(4000))[:-1]
"""A hello of 16 KiB, but for its last byte."""
HUGE_HELLO = _tls_record(b"\x01\x00\x7f\xff" + bytes(16_380)) + _tls_record(bytes(16_384))


async def silent(wire: Wire) -> None: ...


async def noise_agreed(wire: Wire) -> None:
    await wire.negotiate("/noise")


async def noise_answered(wire: Wire) -> None:
    """The node waits for the third message."""
    await wire.send(proposal("/noise") + NoisePeer(Role.CLIENT).write())
    received = b""
    while len(received) < len(proposal("/noise")) + 200:
        received += await wire.receive()


async def noise_almost_done(wire: Wire) -> None:
    await noise_answered(wire)
    await wire.send(NOISE_THREE)


async def tls_agreed(wire: Wire) -> None:
    await wire.negotiate("/tls/1.0.0")


async def tls_answered(wire: Wire) -> None:
    """The node has sent its certificate and waits for ours."""
    await wire.send(proposal("/tls/1.0.0") + tls_client(Tls(KEY)).take_output())
    received = b""
    while len(received) < len(proposal("/tls/1.0.0")) + 200:
        received += await wire.receive()


async def tls_long_hello(wire: Wire) -> None:
    await wire.negotiate("/tls/1.0.0")
    await wire.send(TLS_HELLO)


async def tls_almost_done(wire: Wire) -> None:
    """The first 12 KiB of a longer certificate."""
    received = await wire.negotiate("/tls/1.0.0")
    handshake = tls_client(LARGE)
    await wire.send(handshake.take_output())
    while handshake.session is None:
        if received:
            handshake.receive(received)
        if handshake.session is None:
            received = await wire.receive()
    await wire.send(handshake.take_output()[: 12 * KIB])


KEY = PrivateKey.generate()
LARGE = with_certificate(
    KEY, craft(certificate_key=new_certificate_key(), extension=bytes(12 * KIB))
)
WORST = [noise_almost_done, tls_long_hello, tls_almost_done]  # of what is not ended at once


@pytest.mark.parametrize("stage", WORST)
async def test_500_half_open_connections_cost_at_most_128_kib_each(
    stage: Callable[[Wire], Awaitable[None]], record_property: Callable[[str, Any], None]
) -> None:
    """By default 128 may be pending; here all 500 are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * HALF_OPEN:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2 * HALF_OPEN, hard), hard))
    limits = (
        "connections=2000",
        "connections_inbound=2000",
        "connections_pending=1000",
        "upgrade_timeout=60",
    )
    async with listening_node(limits=limits) as node, HostBuilder().open() as healthy:
        process = psutil.Process(node.pid)
        ping = healthy.service(Ping)
        connection = await healthy.connect(node.address)
        for _ in range(3):
            await ping.ping_once(connection)
        warm = await Wire.connect(node.address)
        await stage(warm)
        warm.rst()
        before = process.memory_info().rss
        wires = []
        for _ in range(HALF_OPEN):
            wire = await Wire.connect(node.address)
            await stage(wire)
            wires.append(wire)
        with trio.fail_after(2):
            await ping.ping_once(connection)
        with trio.fail_after(10):  # the backlog is accepted
            while process.num_fds() < HALF_OPEN:
                await trio.sleep(0.05)
        cost = (process.memory_info().rss - before) // HALF_OPEN
        record_property("bytes_per_half_open_connection", cost)
        print(f"{stage.__name__}: {cost / KIB:.1f} KiB per half-open connection")
        for wire in wires:
            wire.rst()
        with trio.fail_after(5):
            async with HostBuilder().open() as newcomer:
                await newcomer.service(Ping).ping_once(await newcomer.connect(node.address))
    assert cost <= MAX_COST


# --- received bytes -------------------------------------------------------------------------------

FEED = {
    "a header without end": (silent, b"\x13"),
    "a proposal that claims 1 GiB": (silent, HEADER + encode_varint(1 << 30)),
    "proposals without end": (silent, HEADER + encode_message("/x" * 500) * 200),
    "lists without end": (silent, HEADER + encode_message("ls") * 30_000),
    "a first message of 64 KiB": (noise_agreed, b"\xff\xff"),
    "first messages without end": (noise_agreed, (b"\x00\x20" + b"\x09" * 32) * 4000),
    "a third message that is no end": (noise_answered, NOISE_THREE),
    "a third message of 64 KiB": (noise_answered, b"\xff\xff"),
    "a hello, and more": (tls_long_hello, b""),
    "a hello that is too long": (tls_agreed, HUGE_HELLO),
    "a hello instead of Noise": (noise_agreed, TLS_HELLO),
    "hellos without end": (tls_answered, b"\x16\x03\x03\x40\x00" + bytes(16384)),
    "no-ops without end": (tls_answered, b"\x14\x03\x03\x00\x01\x01" * 30_000),
    "alerts without end": (tls_answered, b"\x15\x03\x03\x00\x02\x01\x5a" * 30_000),
}


@pytest.mark.parametrize(("stage", "prefix"), FEED.values(), ids=FEED)
async def test_no_stranger_makes_the_node_buffer_more_than_64_kib(
    stage: Callable[[Wire], Awaitable[None]], prefix: bytes, autojump_clock: MockClock
) -> None:
    """Whatever is pushed, the node ends it before it has taken more than that off the wire."""
    async with besieged("memory") as siege:
        wire = await siege.wire()
        await stage(wire)
        pipe: Any = wire.socket
        sent = 0
        pushed = prefix + bytes(256 * KIB)
        while sent < len(pushed):
            if not await wire.send(pushed[sent : sent + 1024]):
                break
            sent += 1024
            taken = sent - len(pipe._outgoing.data)
            assert taken <= MAX_HELD
            await trio.sleep(0.001)
        assert sent < len(pushed), "the node went on taking"
        assert not siege.strangers()


@pytest.mark.parametrize("security", ["noise", "tls"])
async def test_bytes_behind_the_handshake_are_counted_as_a_peers(
    security: str, autojump_clock: MockClock
) -> None:
    """Whoever is authenticated meets the muxer's windows instead: 16 MiB are not taken either."""
    async with besieged("memory") as siege:
        channel = await Channel.open(await siege.wire(), security)
        sent = 0
        while await channel.send(data(1, bytes(8192), flags=1 if not sent else 0)):
            sent += 8192
            if sent > 4 << 20:
                break
        assert sent <= 1 << 20
