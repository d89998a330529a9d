"""Hostile QUIC peers (the attacks 55 to 62). After each one, an honest peer is served as before."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
import pytest
import trio
from qh3._hazmat import Buffer
from qh3.quic.packet import pull_quic_transport_parameters, push_quic_transport_parameters

from carrick.errors import ConnectionClosed
from carrick.identity import PrivateKey
from carrick.interfaces import Endpoint
from carrick.transports.quic import EndpointPool, EngineSettings, QuicTransport
from carrick.transports.quic.connection import QuicConnection, quic_address
from carrick.transports.quic.endpoint import MAX_HALF_OPEN, RETRY_ABOVE, UdpEndpoint
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.identity import ALPN, HostIdentity
from carrick.transports.quic.packets import parse_long
from carrick.transports.quic.tls import Bridge
from tests.support.quic import Attacker, frame, varint
from tests.support.transports import Unlimited

pytestmark = pytest.mark.timeout(60)
MIB = 1 << 20


@dataclass
class Victim:
    """A listener that echoes, and an honest peer of it."""

    remote: Endpoint
    endpoint: UdpEndpoint
    honest: QuicConnection

    async def serves(self) -> None:
        with trio.fail_after(5):
            stream = await self.honest.open_stream()
            await stream.send_all(b"still there?")
            await stream.send_eof()
            assert await stream.receive_some() == b"still there?"
            await stream.aclose()


@asynccontextmanager
async def victim() -> AsyncIterator[Victim]:
    pool = EndpointPool()
    endpoint = await pool.bind(("127.0.0.1", 0))
    acceptor = endpoint.accept_protocol(ALPN, HostIdentity(PrivateKey.generate()).profile)
    async with trio.open_nursery() as nursery:

        async def echo(connection: QuicConnection) -> None:
            while True:
                stream = await connection.accept_stream()
                try:
                    while data := await stream.receive_some():
                        await stream.send_all(data)
                    await stream.aclose()
                except trio.BrokenResourceError:
                    pass

        async def serve(connection: QuicConnection) -> None:
            try:
                connection.budget = Unlimited()
                await connection.establish()
                async with trio.open_nursery() as inner:
                    inner.start_soon(connection.run)
                    await echo(connection)
            except* (ConnectionClosed, trio.BrokenResourceError, Exception):
                pass

        async def accept() -> None:
            while True:
                nursery.start_soon(serve, await acceptor.accept())

        nursery.start_soon(accept)
        dialer = QuicTransport(PrivateKey.generate())
        honest = await dialer.dial(quic_address(endpoint.local), None, budget=Unlimited())
        nursery.start_soon(honest.run)
        found = Victim(endpoint.local, endpoint, honest)
        await found.serves()
        yield found
        await found.serves()
        nursery.cancel_scope.cancel()


@pytest.fixture
async def site():
    with trio.fail_after(50):
        async with victim() as found:
            yield found


class Recorder:
    """A `DatagramSocket` that only counts what is sent."""

    max_train = 1

    def __init__(self) -> None:
        self.local = ("192.0.2.9", 4001)
        self.sent: list[tuple[bytes, Endpoint]] = []

    def send(self, data: bytes, segment: int, remote: Endpoint) -> bool:
        self.sent.append((bytes(data), remote))
        return True

    def close(self) -> None:
        pass


def initials(count: int, seed: int = 0) -> list[bytes]:
    """First flights of clients that never go on."""
    rng = random.Random(seed)
    found = []
    profile = HostIdentity(PrivateKey.generate()).profile()
    for _ in range(count):
        client = Engine({ALPN: profile}, EngineSettings(), is_client=True)
        client.start(("192.0.2.9", 4001), rng.random())
        found += [data for data, _ in client.poll(1.0, 8)]
    return found


def listening(socket: Recorder) -> UdpEndpoint:
    endpoint = UdpEndpoint(socket, EngineSettings())
    endpoint.accept_protocol(ALPN, HostIdentity(PrivateKey.generate()).profile)
    return endpoint


@pytest.mark.parametrize("ports", [1, 10_000])
async def test_55_initial_flood_of_rubbish(ports: int) -> None:
    """Initial packets that are none leave nothing behind, and get nothing."""
    socket = Recorder()
    endpoint = listening(socket)
    before = psutil.Process().memory_info().rss
    for number in range(2000):
        packet = b"\xc0\0\0\0\1\x08" + os.urandom(8) + b"\x08" + os.urandom(8) + b"\0\x44\x9e"
        packet += os.urandom(1200)
        endpoint._dispatch(packet, len(packet), ("198.51.100.7", 1000 + number % ports), {})
    assert endpoint.connection_count == endpoint.half_open_count == 0
    assert socket.sent == []
    assert psutil.Process().memory_info().rss - before < 32 * MIB


async def test_55_initial_flood_of_handshakes() -> None:
    """Real ClientHellos from forged addresses: bounded state, Retry, little is sent."""
    socket = Recorder()
    endpoint = listening(socket)
    received = 0
    for number, packet in enumerate(initials(150)):
        received += len(packet)
        touched: dict[QuicConnection, None] = {}
        endpoint._dispatch(packet, len(packet), ("198.51.100.7", 1000 + number), touched)
        endpoint._flush(touched)
    assert endpoint.half_open_count <= RETRY_ABOVE <= MAX_HALF_OPEN
    retries = [data for data, _ in socket.sent if (data[0] & 0xF0) == 0xF0]
    assert retries
    assert sum(len(data) for data, _ in socket.sent) <= 3 * received


async def test_56_crypto_gaps_before_the_handshake_is_complete(site: Victim) -> None:
    """What comes before the certificate is bounded, whatever it is."""
    attacker = Attacker(site.remote)
    await attacker.socket.bind(("127.0.0.1", 0))
    attacker.engine.start(site.remote, trio.current_time())
    (first, _), *_ = attacker.engine.poll(trio.current_time(), 1)
    for _ in range(200):
        await attacker.socket.sendto(first, site.remote)
    await site.serves()
    assert site.endpoint.half_open_count <= 1  # it begins anew after EARLY_BYTES
    attacker.close()


async def test_56_crypto_gaps_afterwards(site: Victim) -> None:
    attacker = Attacker(site.remote)
    await attacker.connect()
    before = psutil.Process().memory_info().rss
    for base in range(100):
        gaps = b"".join(
            frame(0x06, 0x1000 * (base * 100 + each), 1, b"\0") for each in range(1, 100)
        )
        await attacker.inject(gaps)
    await site.serves()
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    attacker.close()


FLOW_CONTROL, STREAM_LIMIT, STREAM_STATE, FINAL_SIZE = 3, 4, 5, 6
ENCODING, ID_LIMIT, VIOLATION = 7, 9, 10

BREACHES = {
    "57: beyond every window": (frame(0x0E, 0, 1 << 40, 1, b"x"), {FLOW_CONTROL}),
    "57: beyond the connection's window": (
        b"".join(frame(0x0E, 4 * each, 4 * MIB - 2, 1, b"x") for each in range(3)),
        {FLOW_CONTROL},
    ),
    "57: beyond the number of streams": (frame(0x0E, 4 << 20, 0, 1, b"x"), {STREAM_LIMIT}),
    "57: a final size that changes": (
        frame(0x0F, 0, 10, 1, b"x") + frame(0x0F, 0, 20, 1, b"x"),
        {FINAL_SIZE},
    ),
    "61: reset of a stream beyond the limit": (frame(0x04, 4 << 20, 0, 0), {STREAM_LIMIT}),
    "61: stop of a stream of ours that is none": (
        frame(0x05, 1 + (4 << 20), 0),
        {STREAM_STATE, STREAM_LIMIT},
    ),
    "62: HANDSHAKE_DONE from a client": (frame(0x1E), {VIOLATION}),
    "62: NEW_TOKEN from a client": (frame(0x07, 1, b"x"), {VIOLATION}),
    "62: ACK of what was never sent": (frame(0x02, 1 << 30, 0, 0, 0), {VIOLATION}),
    "62: ACK ranges below zero": (frame(0x02, 1, 0, 0, 5), {ENCODING, VIOLATION}),
    "62: an unknown frame": (frame(0x3F00), {ENCODING, VIOLATION}),
    "62: a frame that is cut": (b"", set()),
    "62: RETIRE_CONNECTION_ID of none": (frame(0x19, 1 << 20), {VIOLATION}),
    "62: NEW_CONNECTION_ID of no length": (
        frame(0x18, 1, 0) + b"\0" + bytes(16),
        {ENCODING, ID_LIMIT, VIOLATION},
    ),
    "59: too many connection ids": (
        b"".join(
            frame(0x18, each, 0) + b"\x08" + each.to_bytes(8, "big") + each.to_bytes(16, "big")
            for each in range(50, 80)
        ),
        {ID_LIMIT},
    ),
    "62: MAX_STREAMS beyond 2^60": (frame(0x12, (1 << 60) + 1), {ENCODING, STREAM_LIMIT}),
    "62: PATH_RESPONSE to nothing": (frame(0x1B, bytes(8)), set()),
}


@pytest.mark.parametrize("name", BREACHES)
async def test_a_breach_ends_the_connection_and_nothing_else(site: Victim, name: str) -> None:
    frames, codes = BREACHES[name]
    attacker = Attacker(site.remote)
    await attacker.connect()
    assert not attacker.ended
    await attacker.inject(frames)
    if codes:
        await attacker.until(lambda: attacker.ended)
        assert attacker.closed is not None
        assert not attacker.closed.application and attacker.closed.remote
        assert attacker.closed.code in codes, attacker.closed
    attacker.close()


async def test_57_a_stream_window_is_not_to_be_overrun(site: Victim) -> None:
    """The window that we announced holds for each stream, also within the connection's."""
    attacker = Attacker(site.remote)
    await attacker.connect()
    piece = bytes(1000)
    for at in range(0, 600_000, 1000):  # echoed, and the echo is not read: our reader stops
        await attacker.inject(frame(0x0E, 0, at, len(piece), piece))
        if at % 20_000 == 0:
            await trio.lowlevel.checkpoint()
    attacker.close()


async def test_58_reassembly(site: Victim) -> None:
    """Every second byte as a frame of its own: memory stays bounded, others are served."""
    attacker = Attacker(site.remote)
    await attacker.connect()
    before = psutil.Process().memory_info().rss
    for base in range(0, 400):
        frames = b"".join(
            frame(0x0E, 0, 2 * (base * 100 + each) + 1, 1, b"x") for each in range(100)
        )
        await attacker.inject(frames)
        if base % 50 == 0:
            await site.serves()
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    attacker.close()


async def test_59_connection_ids_retired_at_once(site: Victim) -> None:
    attacker = Attacker(site.remote)
    await attacker.connect()
    before = psutil.Process().memory_info().rss
    for number in range(1, 2000):
        id = number.to_bytes(8, "big")
        if attacker.ended:
            break
        await attacker.inject(frame(0x18, number, number) + b"\x08" + id + id + id)
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    attacker.close()


async def test_60_path_challenges_from_many_ports(site: Victim) -> None:
    attacker = Attacker(site.remote)
    await attacker.connect()
    before = psutil.Process().memory_info().rss
    for _ in range(100):
        socket = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await socket.bind(("127.0.0.1", 0))
        with socket:
            for _ in range(5):
                challenges = b"".join(frame(0x1A, os.urandom(8)) for _ in range(20))
                await attacker.inject(challenges, socket)
    await site.serves()
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    attacker.close()


async def test_61_streams_opened_and_reset(site: Victim) -> None:
    attacker = Attacker(site.remote)
    await attacker.connect()
    for number in range(256):
        await attacker.inject(frame(0x0E, 4 * number, 0, 1, b"x") + frame(0x04, 4 * number, 7, 1))
    await attacker.until(lambda: False, 0.3)
    assert not attacker.ended
    await attacker.inject(frame(0x0E, 4 * 10_000, 0, 1, b"x"))
    await attacker.until(lambda: attacker.ended)
    assert attacker.closed is not None and attacker.closed.code == STREAM_LIMIT
    attacker.close()


def engine_with(parameters: bytes) -> type[Engine]:
    """A client whose transport parameters are its own, and these behind them."""

    class Defective(Bridge):
        def serialize_transport_parameters(self) -> bytes:
            return super().serialize_transport_parameters() + parameters

    class DefectiveEngine(Engine):
        def _create_tls(self, remote_source_cid: bytes | None) -> Bridge:
            bridge = super()._create_tls(remote_source_cid)
            bridge.__class__ = Defective
            (kind, _), *rest = bridge.tls.handshake_extensions
            bridge.tls.handshake_extensions = [
                (kind, bridge.serialize_transport_parameters()),
                *rest,
            ]
            return bridge

    return DefectiveEngine


PARAMETERS = {
    "truncated varint": b"\xff",
    "a length beyond the end": varint(0x3E) + varint(100) + b"x",
    "max_udp_payload_size 0": varint(0x03) + varint(1) + varint(0),
    "ack_delay_exponent 21": varint(0x0A) + varint(1) + varint(21),
    "max_ack_delay 2^14": varint(0x0B) + varint(4) + varint(1 << 14),
    "a client with a reset token": varint(0x02) + varint(16) + bytes(16),
    "a client with an original id": varint(0x00) + varint(8) + bytes(8),
    "active_connection_id_limit 1": varint(0x0E) + varint(1) + varint(1),
    "another initial_source_connection_id": varint(0x0F) + varint(8) + bytes(8),
    "too many streams": varint(0x08) + varint(8) + varint((1 << 60) + 1),
}


@pytest.mark.parametrize("name", PARAMETERS)
async def test_62_bad_transport_parameters(site: Victim, name: str) -> None:
    attacker = Attacker(site.remote, engine_type=engine_with(PARAMETERS[name]))
    await attacker.connect()
    assert attacker.closed is not None and attacker.closed.remote
    assert attacker.closed.code == 8 or attacker.closed.code >= 0x100  # or a TLS alert
    attacker.close()


async def test_62_parameters_survive_a_round_trip() -> None:
    """The attacks above differ from a good client only in what they add."""
    client = Engine(
        {ALPN: HostIdentity(PrivateKey.generate()).profile()}, EngineSettings(), is_client=True
    )
    client.start(("127.0.0.1", 9), 1.0)
    assert client._bridge is not None
    ((_, encoded),) = client._bridge.tls.handshake_extensions
    parameters = pull_quic_transport_parameters(Buffer(data=encoded))
    assert parameters.initial_max_streams_bidi == EngineSettings().max_streams
    buffer = Buffer(capacity=1024)
    push_quic_transport_parameters(buffer, parameters)
    assert pull_quic_transport_parameters(Buffer(data=buffer.data)) == parameters


async def test_62_coalesced_rubbish(site: Victim) -> None:
    """A good packet, and rubbish behind it in the same datagram."""
    attacker = Attacker(site.remote)
    await attacker.socket.bind(("127.0.0.1", 0))
    attacker.engine.start(site.remote, trio.current_time())
    for data, _ in attacker.engine.poll(trio.current_time(), 8):
        await attacker.socket.sendto(data + os.urandom(60), site.remote)
    await attacker.until(lambda: attacker.ended or len(attacker.events) > 1)
    attacker.close()


async def test_random_datagrams_get_silence(site: Victim) -> None:
    rng = random.Random(7)
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as socket:
        await socket.bind(("127.0.0.1", 0))
        for _ in range(500):
            await socket.sendto(rng.randbytes(rng.randrange(0, 1500)), site.remote)
        await site.serves()
        with trio.move_on_after(0.05):
            answer = await socket.recv(2000)
            # Random long headers of 1200 bytes and more have a version that nobody speaks.
            header = parse_long(answer)
            assert header is not None and header.version == 0
