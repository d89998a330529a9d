"""WebTransport on loopback: what must be refused, and what must not be disturbed by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import trio
from cryptography import x509

from carrick import HostBuilder
from carrick.addressing import parse_address
from carrick.errors import (
    CarrickError,
    ConnectionClosed,
    HandshakeError,
    ListenError,
    PeerIdMismatch,
    UnsupportedAddress,
)
from carrick.identity import PrivateKey
from carrick.interfaces import MuxedConnection
from carrick.transports.quic import EndpointPool, QuicTransport
from carrick.transports.quic.backend import Established, StopSending, StreamData
from carrick.transports.quic.connection import QuicConnection, quic_address
from carrick.transports.quic.tls import Profile
from carrick.transports.webtransport import WebTransportTransport, codes
from carrick.transports.webtransport.address import find_place, webtransport_address
from carrick.transports.webtransport.certificates import Certificates, ServerCertificate
from carrick.transports.webtransport.frames import (
    DATA,
    HEADERS,
    MAX_HEADERS,
    SETTINGS,
    encode_frame,
    encode_settings,
)
from carrick.transports.webtransport.headers import (
    connect_request,
    decode_headers,
    encode_headers,
    status_of,
)
from carrick.transports.webtransport.http3 import Http3
from carrick.transports.webtransport.session import Request
from carrick.transports.webtransport.transport import WebTransportListener
from carrick.transports.webtransport.varint import encode_varint
from tests.support.quic import Attacker
from tests.support.transports import Unlimited
from tests.unit.test_webtransport import P256, foreign

LISTEN = parse_address("/ip4/127.0.0.1/udp/0/quic-v1/webtransport")
KEY = PrivateKey.generate()


class Server:
    """A listener that takes whoever comes; `outcomes` has a connection or an error for each."""

    def __init__(self, listener: WebTransportListener, nursery: trio.Nursery) -> None:
        self.listener = listener
        self.address = listener.address
        self._nursery = nursery
        self._send, self._outcomes = trio.open_memory_channel[MuxedConnection | CarrickError](100)

    async def serve(self) -> None:
        while True:
            inbound = await self.listener.accept()
            self._nursery.start_soon(self._upgrade, inbound)

    async def _upgrade(self, inbound) -> None:
        try:
            connection = await inbound.upgrade(Unlimited())
        except CarrickError as error:
            await self._send.send(error)
            return
        self._nursery.start_soon(connection.run)
        await self._send.send(connection)

    async def outcome(self) -> MuxedConnection | CarrickError:
        return await self._outcomes.receive()


@asynccontextmanager
async def serving(transport: WebTransportTransport | None = None) -> AsyncIterator[Server]:
    transport = transport or WebTransportTransport(KEY)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            server = Server(await transport.listen(LISTEN), nursery)
            nursery.start_soon(server.serve)
            yield server
            nursery.cancel_scope.cancel()
    server.listener.close()


async def check_undisturbed(server: Server) -> None:
    """An honest peer is served."""
    address = server.listener.address
    dialed = await WebTransportTransport(PrivateKey.generate()).dial(
        address, KEY.peer_id, budget=Unlimited()
    )
    accepted = await server.outcome()
    assert not isinstance(accepted, CarrickError)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialed.run)
        there = await dialed.open_stream()
        await there.send_all(b"hello")
        back = await accepted.accept_stream()
        assert await back.receive_some() == b"hello"
        await dialed.aclose()


async def dial(address, peer=KEY.peer_id, **options) -> MuxedConnection:
    transport = WebTransportTransport(PrivateKey.generate(), **options)
    return await transport.dial(address, peer, budget=Unlimited())


# --- certificates ---------------------------------------------------------------------------------


async def test_a_wrong_certhash() -> None:
    async with serving() as server:
        place = find_place(server.address)
        assert place is not None
        wrong = webtransport_address(place.endpoint, [b"\x12\x20" + bytes(32)])
        with pytest.raises(HandshakeError, match="none of those in its address"):
            await dial(wrong)
        assert isinstance(await server.outcome(), HandshakeError)
        await check_undisturbed(server)


async def test_an_expired_certificate() -> None:
    late = datetime.now(UTC) + timedelta(days=15)
    async with serving() as server:
        with pytest.raises(HandshakeError, match="not now"):
            await dial(server.address, clock=lambda: late)
        assert isinstance(await server.outcome(), HandshakeError)


async def test_a_certificate_that_is_valid_for_too_long(monkeypatch) -> None:
    der = foreign(P256, start=datetime.now(UTC) - timedelta(days=1), days=15)
    made = ServerCertificate(x509.load_der_x509_certificate(der), P256)
    monkeypatch.setattr(Certificates, "_get", lambda self, index: made)
    async with serving() as server:
        with pytest.raises(HandshakeError, match="more than 14 days"):
            await dial(server.address)


async def test_certhashes_that_noise_does_not_confirm(monkeypatch) -> None:
    monkeypatch.setattr(Certificates, "confirmed", ())
    async with serving() as server:
        with pytest.raises(HandshakeError, match="does not confirm 2 of 2"):
            await dial(server.address)
        assert isinstance(await server.outcome(), HandshakeError)


async def test_one_certhash_more_than_noise_confirms() -> None:
    """A middleman added the hash of a certificate of its own."""
    async with serving() as server:
        place = find_place(server.address)
        assert place is not None
        more = webtransport_address(place.endpoint, [*place.hashes, b"\x12\x20" + bytes(32)])
        with pytest.raises(HandshakeError, match="does not confirm 1 of 3"):
            await dial(more)


async def test_the_address_changes_with_the_certificates() -> None:
    now = datetime.now(UTC)
    times = [now]
    async with serving(WebTransportTransport(KEY, clock=lambda: times[0])) as server:
        before = find_place(server.listener.address)
        times[0] = now + timedelta(days=14)
        after = find_place(server.listener.address)
        assert before is not None and after is not None
        assert before.hashes[1] == after.hashes[0] and before.hashes[0] not in after.hashes
        # Who knows the old address still gets in: the certificate was published in it.
        connection = await dial(
            webtransport_address(after.endpoint, before.hashes), clock=lambda: times[0]
        )
        assert connection.peer_id == KEY.peer_id
        connection.abort()


async def test_the_wrong_peer() -> None:
    async with serving() as server:
        with pytest.raises(PeerIdMismatch):
            await dial(server.address, PrivateKey.generate().peer_id)


# --- addresses ------------------------------------------------------------------------------------


async def test_no_certhash() -> None:
    with pytest.raises(UnsupportedAddress, match="public authority"):
        await dial(parse_address("/ip4/127.0.0.1/udp/9/quic-v1/webtransport"))


async def test_listening_where_somebody_does_and_on_a_certhash() -> None:
    transport = WebTransportTransport(KEY)
    listener = await transport.listen(LISTEN)
    place = find_place(listener.address)
    assert place is not None
    with pytest.raises(ListenError):
        await transport.listen(webtransport_address(place.endpoint))
    with pytest.raises(UnsupportedAddress):
        await transport.listen(listener.address)
    listener.close()


async def test_one_socket_for_quic_and_webtransport() -> None:
    pool = EndpointPool()
    quic, web = QuicTransport(KEY, pool=pool), WebTransportTransport(KEY, pool=pool)
    listener = await quic.listen(parse_address("/ip4/127.0.0.1/udp/0/quic-v1"))
    port = listener.address.value_for_protocol("udp")
    both = await web.listen(parse_address(f"/ip4/127.0.0.1/udp/{port}/quic-v1/webtransport"))

    async def accept(listener) -> None:
        inbound = await listener.accept()
        await (await inbound.upgrade(Unlimited())).run()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, listener)
            nursery.start_soon(accept, both)
            first = await QuicTransport(PrivateKey.generate()).dial(
                listener.address, KEY.peer_id, budget=Unlimited()
            )
            second = await dial(both.address)
            assert first.peer_id == second.peer_id == KEY.peer_id
            first.abort()
            second.abort()
    listener.close()
    both.close()


async def test_a_private_network_has_no_webtransport() -> None:
    builder = HostBuilder().private_network(bytes(32)).transports("tcp", "webtransport")
    with pytest.raises(CarrickError, match="no webtransport transport"):
        async with builder.open():
            pass


async def test_a_host_dials_another() -> None:
    web = HostBuilder().transports("webtransport")
    async with web.listen(str(LISTEN)).open() as host, web.open() as other:
        with trio.fail_after(10):
            connection = await other.connect(host.addresses[0])
        assert connection.peer_id == host.id
        assert connection.security == "/noise" and connection.muxer == "/webtransport"


# --- clients that are none of ours ----------------------------------------------------------------


class Client:
    """Speaks HTTP/3 as the test says."""

    def __init__(self, quic: QuicConnection) -> None:
        self.quic = quic

    async def send(self, data: bytes, *, uni: bool = False):
        stream = await self.quic.open_stream(unidirectional=uni)
        await stream.send_all(data)
        return stream

    async def settings(self) -> None:
        settings = encode_frame(SETTINGS, encode_settings({0x08: 1, 0x33: 1}))
        await self.send(b"\0" + settings, uni=True)

    async def end(self) -> ConnectionClosed:
        """Wait until the server ends the connection."""
        while True:
            try:
                await self.quic.accept_stream(unidirectional=True)
            except ConnectionClosed as error:
                return error


async def intrude(
    server: Server, act: Callable[[Client], Awaitable[None]]
) -> MuxedConnection | CarrickError:
    """Let a client do `act`; what the server made of it."""
    place = find_place(server.address)
    assert place is not None
    endpoint = await EndpointPool().for_dial(place.endpoint)
    quic = endpoint.dial(place.endpoint, Profile("h3", None, lambda chain: None))
    quic.accepts_uni_streams = True
    await quic.establish()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quic.run)
        await act(Client(quic))
        nursery.cancel_scope.cancel()
    return await server.outcome()


REQUEST = connect_request("127.0.0.1:1", draft_15=False)
GET = encode_headers(
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"x"),
        (b":path", b"/"),
    ]
)


@pytest.mark.parametrize(("fields", "status"), [(GET, 404), (REQUEST[:-1], None)])
async def test_a_client_of_http3_that_wants_something_else(
    fields: bytes, status: int | None
) -> None:
    async def act(client: Client) -> None:
        await client.settings()
        stream = await client.send(encode_frame(HEADERS, fields))
        if status is not None:
            assert status_of(await Request(stream).receive_headers()) == status
        await client.end()

    async with serving() as server:
        outcome = await intrude(server, act)
        assert isinstance(outcome, HandshakeError)
        if status is not None:
            assert str(status) in str(outcome)
        await check_undisturbed(server)


def on_control(data: bytes) -> Callable[[Client], Awaitable[ConnectionClosed]]:
    return lambda client: _then_end(client, b"\0" + data, uni=True)


def on_request(data: bytes) -> Callable[[Client], Awaitable[ConnectionClosed]]:
    return lambda client: _then_end(client, data, uni=False)


async def _then_end(client: Client, data: bytes, *, uni: bool) -> ConnectionClosed:
    await client.send(data, uni=uni)
    return await client.end()


async def two_control_streams(client: Client) -> ConnectionClosed:
    await client.settings()
    return await _then_end(client, b"\0", uni=True)


async def a_closed_control_stream(client: Client) -> ConnectionClosed:
    stream = await client.send(b"\0", uni=True)
    await stream.send_eof()
    return await client.end()


async def a_reset_control_stream(client: Client) -> ConnectionClosed:
    await client.settings()
    stream = await client.send(b"\x02", uni=True)  # the QPACK encoder's
    await trio.sleep(0.1)  # a reset overtakes what was sent
    stream.reset()
    return await client.end()


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (on_control(encode_frame(DATA, b"x")), codes.FRAME_UNEXPECTED),
        (on_control(encode_frame(0x21, b"x")), codes.MISSING_SETTINGS),
        (on_control(encode_frame(SETTINGS, encode_settings({2: 1}))), codes.SETTINGS_ERROR),
        (on_control(encode_varint(SETTINGS) + encode_varint(1 << 30)), codes.EXCESSIVE_LOAD),
        (two_control_streams, codes.STREAM_CREATION_ERROR),
        (a_closed_control_stream, codes.CLOSED_CRITICAL_STREAM),
        (a_reset_control_stream, codes.CLOSED_CRITICAL_STREAM),
        (lambda client: _then_end(client, b"\x01\x00", uni=True), codes.ID_ERROR),
        (on_request(encode_frame(DATA, b"x")), codes.FRAME_UNEXPECTED),
        (on_request(encode_frame(0x02, b"x")), codes.FRAME_UNEXPECTED),
        (on_request(encode_frame(HEADERS, b"\xff" * 50)), codes.QPACK_FAILED),
        (
            on_request(encode_varint(HEADERS) + encode_varint(MAX_HEADERS + 1)),
            codes.EXCESSIVE_LOAD,
        ),
        (on_request(encode_varint(0x41) + encode_varint(3)), codes.ID_ERROR),
    ],
)
async def test_garbage_ends_the_connection_with_its_code(act, code: int) -> None:
    ended: list[ConnectionClosed] = []

    async def record(client: Client) -> None:
        ended.append(await act(client))

    async with serving() as server:
        assert isinstance(await intrude(server, record), HandshakeError)
        assert ended[0].remote and ended[0].code == code
        await check_undisturbed(server)


async def test_streams_that_come_before_the_connection_is_accepted() -> None:
    """As of Chromium, whose control stream is in the datagram that completes the handshake."""
    pool = EndpointPool()
    listener = await WebTransportTransport(KEY, pool=pool).listen(LISTEN)
    place = find_place(listener.address)
    assert place is not None
    other = await QuicTransport(KEY, pool=pool).listen(quic_address(place.endpoint))
    client = Attacker(place.endpoint, profile=Profile("h3", None, lambda chain: None))
    await client.socket.bind(("127.0.0.1", 0))
    client.engine.start(client.remote, trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.accept)  # reads for both
        await client.until(lambda: client.has(Established))
        control = client.engine.open_stream(unidirectional=True)
        assert control is not None
        client.engine.write(control, b"\0" + encode_frame(SETTINGS, b""))
        await client.until(lambda: client.engine.all_acknowledged)
        inbound = await listener.accept()
        nursery.start_soon(inbound.upgrade, Unlimited())
        await client.until(lambda: client.has(StreamData))  # the server's settings
        assert client.has(StreamData) and not client.has(StopSending)
        nursery.cancel_scope.cancel()
    client.close()
    listener.close()
    other.close()


async def test_streams_of_unknown_types_are_refused_alone() -> None:
    async def act(client: Client) -> None:
        for kind in (0x54, 0x21, 0x3FFF):
            stream = await client.send(encode_varint(kind) + b"\0data", uni=True)
            with pytest.raises(CarrickError):
                while True:
                    await stream.send_all(bytes(1000))
        assert not client.quic.closed
        client.quic.abort()

    async with serving() as server:
        assert isinstance(await intrude(server, act), HandshakeError)


async def test_more_early_streams_than_are_kept() -> None:
    async def act(client: Client) -> None:
        header = encode_varint(0x41) + encode_varint(0)
        streams = [await client.send(header + b"x") for _ in range(20)]
        for stream in streams[16:]:
            with pytest.raises(CarrickError) as caught:
                await stream.receive_some()
            assert caught.value.code == codes.BUFFERED_STREAM_REJECTED  # type: ignore[attr-defined]
        client.quic.abort()

    async with serving() as server:
        assert isinstance(await intrude(server, act), HandshakeError)


async def test_a_second_session_is_refused_and_the_first_goes_on() -> None:
    async with serving() as server:
        dialed = await dial(server.address)
        accepted = await server.outcome()
        assert not isinstance(accepted, CarrickError)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialed.run)
            http: Http3 = dialed._http  # type: ignore[attr-defined]
            second = await http.quic.open_stream()
            await second.send_all(encode_frame(HEADERS, REQUEST))
            strange = await http.quic.open_stream()
            await strange.send_all(encode_varint(0x41) + encode_varint(400))
            there = await dialed.open_stream()
            await there.send_all(b"hello")
            back = await accepted.accept_stream()
            assert await back.receive_some() == b"hello"
            for stream, code in (
                (second, codes.REQUEST_REJECTED),
                (strange, codes.BUFFERED_STREAM_REJECTED),
            ):
                with pytest.raises(CarrickError) as caught:
                    await stream.receive_some()
                assert caught.value.code == code  # type: ignore[attr-defined]
            await dialed.aclose()


async def test_headers_of_a_stream_byte_by_byte() -> None:
    async with serving() as server:
        dialed = await dial(server.address)
        accepted = await server.outcome()
        assert not isinstance(accepted, CarrickError)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialed.run)
            http: Http3 = dialed._http  # type: ignore[attr-defined]
            stream = await http.quic.open_stream()
            header = b"\x40\x41\xc0\0\0\0\0\0\0\0"  # the longest form of the session's id
            for byte in header[:-1]:
                await stream.send_all(bytes((byte,)))
                with trio.move_on_after(0.01):
                    await accepted.accept_stream()
                    raise AssertionError("there is no whole header yet")
            await stream.send_all(header[-1:] + b"!")
            back = await accepted.accept_stream()  # being cancelled has lost nothing
            assert await back.receive_some() == b"!"
            nursery.cancel_scope.cancel()


async def test_broken_capsules_end_the_connection() -> None:
    async with serving() as server:
        dialed = await dial(server.address)
        accepted = await server.outcome()
        assert not isinstance(accepted, CarrickError)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialed.run)
            request = dialed._session.request  # type: ignore[attr-defined]
            await request.stream.send_all(encode_frame(DATA, encode_frame(0x2843, b"")))
            with pytest.raises(ConnectionClosed, match="close capsule"):
                await accepted.accept_stream()
            nursery.cancel_scope.cancel()


async def test_a_response_that_refuses() -> None:
    """A server of HTTP/3 that is none of libp2p's."""
    certificates = Certificates(KEY)
    pool = EndpointPool()
    endpoint = await pool.bind(("127.0.0.1", 0))
    acceptor = endpoint.accept_protocol(
        "h3", lambda: Profile("h3", certificates.current.credentials, None)
    )

    async def serve() -> None:
        quic = await acceptor.accept()
        http = Http3(quic)
        await quic.establish()

        async def act() -> None:
            await http.send_settings()
            stream = await quic.accept_stream()
            fields = await Request(stream).receive_headers()
            assert dict(decode_headers(REQUEST))[b":path"] == dict(fields)[b":path"]
            await stream.send_all(encode_frame(HEADERS, encode_headers([(b":status", b"103")])))
            await stream.send_all(encode_frame(HEADERS, encode_headers([(b":status", b"404")])))
            await http.ended.wait()

        await http.during(act)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with pytest.raises(HandshakeError, match="HTTP status 404"):
                await dial(webtransport_address(endpoint.local, certificates.published))
    acceptor.close()
