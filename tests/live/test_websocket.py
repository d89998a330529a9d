"""The WebSocket transport on loopback: addresses, certificates, shared ports, bad clients."""

from __future__ import annotations

import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from carrick import HostBuilder
from carrick.addressing import Resolver, parse_address
from carrick.errors import (
    CarrickError,
    DialError,
    HandshakeError,
    KeyFileError,
    ListenError,
    PeerTimeout,
    UnsupportedAddress,
)
from carrick.identity import PrivateKey
from carrick.protocols.ping import Ping
from carrick.transports.bytestream import Upgrader
from carrick.transports.memory.pipe import CAPACITY, memory_pair
from carrick.transports.websocket import WebSocketTransport, self_signed
from carrick.transports.websocket.frames import Opcode, encode_control, encode_head
from carrick.transports.websocket.http import ClientUpgrade
from carrick.transports.websocket.socket import WebSocket
from carrick.transports.websocket.tls import client_context
from tests.support.siege import descriptors, task_count
from tests.support.transports import MUXERS, SECURITIES, Unlimited
from tests.support.waiting import until
from tests.support.web import certificate_files

WS = parse_address("/ip4/127.0.0.1/tcp/0/ws")
WSS = parse_address("/ip4/127.0.0.1/tcp/0/tls/ws")


def make(**options: object) -> WebSocketTransport:
    key = PrivateKey.generate()
    upgrader = Upgrader([SECURITIES["noise"](key)], {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]})
    return WebSocketTransport(upgrader, **options)  # type: ignore[arg-type]


def secure(*names: str, days: float = 30, **options: object) -> WebSocketTransport:
    certificate, key = certificate_files(*names, days=days)
    return make(certificate=certificate, key=key, **options)


@asynccontextmanager
async def serving(
    transport: WebSocketTransport, at: Multiaddr = WS
) -> AsyncIterator[tuple[Multiaddr, list[CarrickError]]]:
    """A listener that upgrades whatever comes: its address, and why upgrades failed."""
    listener = await transport.listen(at)
    failures: list[CarrickError] = []

    async def serve(nursery: trio.Nursery) -> None:
        while True:
            inbound = await listener.accept()
            nursery.start_soon(upgrade, inbound)

    async def upgrade(inbound: object) -> None:
        try:
            connection = await inbound.upgrade(Unlimited())  # type: ignore[attr-defined]
        except CarrickError as error:
            failures.append(error)
        else:
            await connection.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, nursery)
        yield listener.address, failures
        nursery.cancel_scope.cancel()
    listener.close()


async def dial(transport: WebSocketTransport, address: Multiaddr | str) -> None:
    if isinstance(address, str):
        address = parse_address(address)
    (await transport.dial(address, None, budget=Unlimited())).abort()


async def raw(address: Multiaddr) -> trio.SocketStream:
    port = int(str(address).split("/")[4])
    return await trio.open_tcp_stream("127.0.0.1", port)


async def everything(stream: trio.SocketStream) -> bytes:
    received = b""
    try:
        async for data in stream:
            received += data
    except trio.BrokenResourceError:
        pass  # a reset ends it as well
    return received


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["ws", "wss", "tls/ws", "tls/sni/a.example/ws"])
async def test_a_listener_keeps_the_spelling(suffix: str) -> None:
    listener = await secure("a.example").listen(parse_address(f"/ip4/127.0.0.1/tcp/0/{suffix}"))
    assert str(listener.address) == f"/ip4/127.0.0.1/tcp/{listener.endpoint[1]}/{suffix}"
    listener.close()


async def test_both_spellings_are_dialled() -> None:
    dialer = make(verify=False)
    async with serving(secure("127.0.0.1"), WSS) as (address, _):
        for spelling in ("tls/ws", "wss", "tls/sni/localhost/ws", "wss/http-path/a%2Fb"):
            await dial(dialer, str(address).replace("tls/ws", spelling))


def test_other_addresses_are_not_its_own() -> None:
    transport = make()
    for text in ("/ip4/127.0.0.1/tcp/1", "/ip4/1.2.3.4/udp/1/ws", "/dns4/a/tcp/1/ws", "/memory/1"):
        assert not transport.can_dial(parse_address(text))
        assert not transport.can_listen(parse_address(text))
    with pytest.raises(UnsupportedAddress):
        trio.run(transport.listen, parse_address("/ip4/127.0.0.1/tcp/0"))


async def test_ipv6() -> None:
    async with serving(make(), parse_address("/ip6/::1/tcp/0/ws")) as (address, _):
        await dial(make(), address)


async def test_nobody_listens() -> None:
    listener = await make().listen(WS)
    listener.close()
    with pytest.raises(DialError, match="refused"):
        await dial(make(), listener.address)


# --- certificates ---------------------------------------------------------------------------------


async def test_a_trusted_certificate_for_the_name() -> None:
    certificate, _ = certificate_files("localhost")
    async with serving(secure("localhost"), WSS) as (address, _):
        named = str(address).replace("tls/ws", "tls/sni/localhost/ws")
        await dial(make(trust=certificate), named)
        with pytest.raises(HandshakeError, match="certificate is not valid for '127.0.0.1'"):
            await dial(make(trust=certificate), address)
        with pytest.raises(HandshakeError, match="not valid for 'a.example'"):
            await dial(make(trust=certificate), named.replace("localhost", "a.example"))
        with pytest.raises(HandshakeError, match="self-signed"):
            await dial(make(), named)


async def test_an_expired_certificate() -> None:
    certificate, _ = certificate_files("127.0.0.1", days=-1)
    async with serving(secure("127.0.0.1", days=-1), WSS) as (address, _):
        with pytest.raises(HandshakeError, match="expired"):
            await dial(make(trust=certificate), address)
        await dial(make(verify=False), address)


async def test_a_name_is_kept_for_the_certificate() -> None:
    """The resolver puts the IP address in the name's place, and the name behind `/tls/sni`."""
    certificate, key = certificate_files("node.example")

    async def query(name: str, kind: str) -> list[str]:
        return ["127.0.0.1"] if kind == "A" else []

    web = partial(WebSocketTransport, certificate=certificate, key=key, trust=certificate)
    builder = HostBuilder().transports(web).resolver(Resolver(query))
    async with builder.listen(WSS).open() as host, builder.open() as dialer:
        port = str(host.addresses[0]).split("/")[4]
        for spelling in ("wss", "tls/ws"):
            connection = await dialer.connect(f"/dns4/node.example/tcp/{port}/{spelling}")
            assert str(connection.remote_address).endswith("/tls/sni/node.example/ws")
            await dialer.disconnect(connection.peer_id)


async def test_a_certificate_is_loaded_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, old, new = (tmp_path / name for name in ("served.pem", "old.pem", "new.pem"))
    for path in (old, new):
        certificate, key = self_signed("127.0.0.1")
        path.write_bytes(certificate + key)
    file.write_bytes(old.read_bytes())
    async with serving(make(certificate=file), WSS) as (address, _):
        await dial(make(trust=old), address)
        file.write_bytes(new.read_bytes() + b"\n")
        await dial(make(trust=new), address)
        with pytest.raises(HandshakeError):
            await dial(make(trust=old), address)
        file.write_bytes(b"half a file")
        await dial(make(trust=new), address)
        assert "the old certificate stays" in caplog.text


async def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        make(certificate=tmp_path / "none.pem")
    with pytest.raises(KeyFileError, match="no certificate"):
        make(key=tmp_path / "none.pem")
    certificate, _ = certificate_files("a")
    _, other = certificate_files("b")
    with pytest.raises(KeyFileError, match="mismatch"):
        make(certificate=certificate, key=other)
    with pytest.raises(ListenError, match="needs a certificate"):
        await make().listen(WSS)


async def test_plain_where_tls_is_spoken_and_the_other_way_round() -> None:
    async with serving(secure("127.0.0.1"), WSS) as (address, failures):
        with pytest.raises(HandshakeError):
            await dial(make(), str(address).replace("/tls", ""))
    assert "TLS failed" in str(failures[0])
    async with serving(make()) as (address, failures):
        with pytest.raises(HandshakeError, match="TLS failed"):
            await dial(make(verify=False), str(address).replace("/ws", "/wss"))
    assert "no WebSocket client" in str(failures[0])


# --- one TCP port ---------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [0, None])
async def test_tcp_and_websocket_share_a_port(given: int | None) -> None:
    certificate, key = certificate_files("127.0.0.1")
    web = partial(WebSocketTransport, certificate=certificate, key=key, trust=certificate)
    builder = HostBuilder().transports("tcp", web)
    if given is None:
        with trio.socket.socket() as probe:
            await probe.bind(("127.0.0.1", 0))
            given = probe.getsockname()[1]
    where = [f"/ip4/127.0.0.1/tcp/{given}{suffix}" for suffix in ("/ws", "", "/wss")]
    async with builder.listen(*where).open() as host:
        ports = {str(address).split("/")[4] for address in host.addresses}
        assert len(ports) == 1 and len(host.addresses) == 3
        for address in host.addresses:
            async with builder.open() as dialer:
                connection = await dialer.connect(address)
                await dialer.service(Ping).ping_once(connection)
        with pytest.raises(ListenError, match="in use"):
            await host.swarm.listen(parse_address(f"/ip4/127.0.0.1/tcp/{ports.pop()}/ws"))


async def test_a_shared_port_in_a_private_network() -> None:
    """A private network's nonce is random: it may begin as HTTP does."""
    builder = HostBuilder().transports("tcp", "ws").private_network(bytes(32))
    where = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws")
    async with builder.listen(*where).open() as host, builder.open() as dialer:
        for address in host.addresses:
            connection = await dialer.connect(address)
            await dialer.service(Ping).ping_once(connection)
            await dialer.disconnect(connection.peer_id)
        async with HostBuilder().transports("ws").open() as stranger:
            with pytest.raises(DialError):
                await stranger.connect(host.addresses[1])


async def test_a_shared_port_stays_with_its_last_listener() -> None:
    builder = HostBuilder().transports("tcp", "ws")
    where = ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws")
    async with builder.listen(*where).open() as host, builder.open() as dialer:
        plain, web = host.swarm.listen_addresses
        assert host.swarm.unlisten(plain)
        await dialer.connect(web)
        with pytest.raises(DialError):
            await dialer.swarm.connect(None, [plain])
        await host.swarm.listen(plain)
        await dialer.disconnect(host.id)
        await dialer.swarm.connect(None, [plain], force=True)
        assert host.swarm.unlisten(plain) and host.swarm.unlisten(web)
        with pytest.raises(OSError) as caught:
            await raw(plain)
        assert caught.value.errno in (errno.ECONNREFUSED, None)


# --- clients and servers that are none ------------------------------------------------------------

UPGRADE = b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "request_, status",
    [
        (GET + b"\r\n", 426),
        (GET + UPGRADE + KEY + b"Sec-WebSocket-Version: 8\r\n\r\n", 426),
        (GET + UPGRADE + VERSION + b"\r\n", 400),
        (GET + UPGRADE + VERSION + b"Sec-WebSocket-Key: c2hvcnQ=\r\n\r\n", 400),
        (GET + UPGRADE + VERSION + KEY + b"Content-Length: 3\r\n\r\nabc", 400),
        (b"GET / HTTP/1.0\r\n" + UPGRADE + VERSION + KEY + b"\r\n", 400),
        (b"POST" + GET[3:] + UPGRADE + VERSION + KEY + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + UPGRADE + VERSION + KEY + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x13/multistream/1.0.0\n", 400),
        (b"GET /" + bytes(1 << 20).replace(b"\0", b"a"), 431),
        (GET + b"a: b\r\n" * 10_000, 431),
    ],
)
async def test_a_client_that_is_none_gets_an_http_error(request_: bytes, status: int) -> None:
    async with serving(make()) as (address, failures):
        stream = await raw(address)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    with pytest.raises((trio.BrokenResourceError, StopAsyncIteration)):
                        await stream.send_all(request_)
                        raise StopAsyncIteration

                nursery.start_soon(send)
                answer = await everything(stream)
        # With much unread, TCP's reset may overtake the answer.
        assert answer.startswith(b"HTTP/1.1 %d " % status) or (not answer and status == 431)
        assert "no WebSocket client" in str(failures[0])


async def test_the_answer_to_the_example_of_the_specification() -> None:
    async with serving(make()) as (address, _):
        stream = await raw(address)
        await stream.send_all(GET + UPGRADE + VERSION + KEY + b"Origin: http://a\r\n\r\n")
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer  # RFC 6455 section 1.3
        await stream.aclose()


async def test_a_slow_client_meets_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = memory_pair(("127.0.0.1", 1), ("127.0.0.1", 2))
    transport = make()

    async def drip() -> None:
        for byte in GET * 10:
            theirs.send(memoryview(bytes([byte])))
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        with pytest.raises(PeerTimeout, match="within 15 s"):
            await transport._serve(ours, Unlimited(), secure=False)
        nursery.cancel_scope.cancel()
    assert trio.current_time() < 20


@pytest.mark.parametrize(
    "answer, why",
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "another prot"),
        (b"HTTP/1.1 101 Switching\r\n" + UPGRADE + b"Sec-WebSocket-Accept: a\r\n\r\n", "key"),
        (b"\x13/multistream/1.0.0\n" * 2, "no WebSocket server"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000, "no WebSocket server"),
        (b"", "closed"),
    ],
)
async def test_a_server_that_is_none(answer: bytes, why: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        with pytest.raises((trio.BrokenResourceError, StopAsyncIteration)):
            await stream.send_all(answer)
            raise StopAsyncIteration

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(HandshakeError, match=why):
            await dial(make(), f"/ip4/127.0.0.1/tcp/{port}/ws")
        nursery.cancel_scope.cancel()


# --- frames on a connection -----------------------------------------------------------------------

MASK = bytes(4)


async def upgraded(address: Multiaddr) -> trio.SocketStream:
    stream = await raw(address)
    client = ClientUpgrade("a", "/", bytes(16))
    await stream.send_all(client.take_output())
    while not client.done:
        client.receive(await stream.receive_some(client.room))
    return stream


@pytest.mark.parametrize(
    "sent, code",
    [
        (b"\x82\xff" + (2**63 - 1).to_bytes(8, "big") + MASK, 1009),
        (b"\x02\xff" + (1 << 20).to_bytes(8, "big") + MASK + bytes(1 << 20) + b"\x80\x81", 1009),
        (b"\x82\x05hello", 1002),
        (b"\x83\x85" + MASK + b"hello", 1002),
        (b"\x81\x85" + MASK + b"hello", 1003),
        (b"\xc2\x85" + MASK + b"hello", 1002),
        (b"\x02\x80" + MASK + (b"\x00\x80" + MASK) * 100_000, 1008),
    ],
)
async def test_bad_frames(sent: bytes, code: int) -> None:
    async with serving(make()) as (address, failures):
        stream = await upgraded(address)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                async def send() -> None:
                    with pytest.raises((trio.BrokenResourceError, StopAsyncIteration)):
                        await stream.send_all(sent)
                        raise StopAsyncIteration

                nursery.start_soon(send)
                answer = await everything(stream)
        assert len(failures) == 1
        if len(sent) < 100:  # else a reset may overtake the answer
            assert answer == b"\x88\x02" + code.to_bytes(2, "big")


async def test_pings_are_answered_and_close_is() -> None:
    async with serving(make()) as (address, _):
        stream = await upgraded(address)
        await stream.send_all(b"\x89\x82" + MASK + b"hi")
        assert await stream.receive_some() == b"\x8a\x02hi"
        await stream.send_all(b"\x88\x82" + MASK + b"\x03\xe8")
        with trio.fail_after(5):
            assert await everything(stream) == b"\x88\x02\x03\xe8"


async def test_pings_that_nobody_reads_the_answers_of() -> None:
    """Only the newest is answered, so nothing heaps up."""
    ours, theirs = memory_pair(("127.0.0.1", 1), ("127.0.0.1", 2))
    web = WebSocket(ours, client=False)
    while ours.send(memoryview(bytes(CAPACITY))):
        pass
    buffer = memoryview(bytearray(4096))
    for number in range(1000):
        theirs.send(memoryview(encode_control(Opcode.PING, b"%d" % number, b"mask")))
        assert web.recv_into(buffer) is None
    read = memoryview(bytearray(CAPACITY))
    while theirs.recv_into(read):
        pass
    assert web.send(memoryview(b"x")) == 1
    size = theirs.recv_into(read)
    # The first was under way; behind it only the last.
    assert bytes(read[:size]) == b"\x8a\x010" + encode_head(1) + b"x" + b"\x8a\x03999"


async def test_many_dials_leave_nothing_behind() -> None:
    """As many tasks and descriptors as after the first ten."""
    builder = HostBuilder().transports("ws")
    async with builder.listen(WS).open() as host, builder.open() as dialer:
        for number in range(60):
            connection = await dialer.connect(host.addresses[0])
            await connection.aclose()
            while host.swarm.connections() or dialer.swarm.connections():
                await trio.sleep(0.001)
            if number == 9:
                tasks, files = task_count(), descriptors()
        await until(lambda: task_count() <= tasks and descriptors() <= files)


def test_the_system_decides_whom_to_trust() -> None:
    context = client_context(None, verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
