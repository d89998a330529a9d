"""WebTransport's deadlines and its end, in virtual time."""

from __future__ import annotations

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import CarrickError, ConnectionClosed, PeerTimeout
from carrick.identity import PrivateKey
from carrick.interfaces import MuxedConnection
from carrick.transports.quic import EndpointPool
from carrick.transports.quic.tls import Profile
from carrick.transports.webtransport import WebTransportTransport
from carrick.transports.webtransport.address import webtransport_address
from carrick.transports.webtransport.certificates import Certificates
from carrick.transports.webtransport.transport import WebTransportListener
from tests.support.datagrams import Datagrams
from tests.support.transports import Unlimited

LISTEN = parse_address("/ip4/192.0.2.1/udp/4001/quic-v1/webtransport")
PLACE = ("192.0.2.1", 4001)


class Side:
    """One host."""

    def __init__(self, network: Datagrams) -> None:
        self.key = PrivateKey.generate()
        self.pool = EndpointPool(sockets=network)  # type: ignore[arg-type]
        self.transport = WebTransportTransport(self.key, pool=self.pool)

    async def dial(self, listener: WebTransportListener) -> MuxedConnection:
        return await self.transport.dial(listener.address, None, budget=Unlimited())


async def test_nobody_there(autojump_clock) -> None:
    side = Side(Datagrams())
    address = webtransport_address(PLACE, Certificates(side.key).published)
    start = trio.current_time()
    with pytest.raises(PeerTimeout, match="no answer"):
        await side.transport.dial(address, None, budget=Unlimited())
    assert trio.current_time() - start == 5


async def test_a_client_that_says_nothing(autojump_clock) -> None:
    network = Datagrams()
    listener = await Side(network).transport.listen(LISTEN)
    endpoint = await EndpointPool(sockets=network).for_dial(PLACE)  # type: ignore[arg-type]
    quic = endpoint.dial(PLACE, Profile("h3", None, lambda chain: None))
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quic.establish)
        inbound = await listener.accept()
        with pytest.raises(PeerTimeout, match="no session within 10 s"):
            nursery.start_soon(quic.carry)
            await inbound.upgrade(Unlimited())
        assert 10 <= trio.current_time() - start < 11
    assert quic.closed
    listener.close()


async def test_a_server_that_says_nothing(autojump_clock) -> None:
    network = Datagrams()
    listening = Side(network)
    listener = await listening.transport.listen(LISTEN)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            quic = (await listener.accept())._http.quic
            await quic.establish()
            await quic.run()

        nursery.start_soon(accept)
        with pytest.raises(PeerTimeout, match="no session within 10 s"):
            await Side(network).dial(listener)
    assert 10 <= trio.current_time() - start < 11
    listener.close()


async def connect(network: Datagrams, nursery: trio.Nursery) -> list[MuxedConnection]:
    listener = await Side(network).transport.listen(LISTEN)
    both: list[MuxedConnection] = []

    async def accept() -> None:
        both.append(await (await listener.accept()).upgrade(Unlimited()))

    async with trio.open_nursery() as connecting:
        connecting.start_soon(accept)
        dialed = await Side(network).dial(listener)
    listener.close()
    both.append(dialed)
    for connection in both:
        nursery.start_soon(connection.run)
    return both


async def test_a_cancelled_dial_leaves_nothing(autojump_clock) -> None:
    network = Datagrams()
    listening = Side(network)
    listener = await listening.transport.listen(LISTEN)
    dialing = Side(network)
    with trio.move_on_after(3):
        await dialing.dial(listener)  # nobody accepts
    (endpoint,) = dialing.pool._dialing.values() or (None,)
    assert endpoint is None or endpoint.connection_count == 0
    listener.close()


async def test_an_idle_session_lives(autojump_clock) -> None:
    async with trio.open_nursery() as nursery:
        accepted, dialed = await connect(Datagrams(), nursery)
        await trio.sleep(600)
        assert not accepted.closed and not dialed.closed
        dialed.abort()


async def test_a_peer_that_falls_silent_after_its_close(autojump_clock) -> None:
    """The close capsule came, the end of QUIC did not."""
    network = Datagrams()
    async with trio.open_nursery() as nursery:
        accepted, dialed = await connect(network, nursery)
        await trio.sleep(1)
        session = dialed._session  # type: ignore[attr-defined]
        session.send_close(9)
        start = trio.current_time()
        with pytest.raises(ConnectionClosed) as caught:
            await accepted.accept_stream()
        assert caught.value.code == 9 and caught.value.remote
        assert trio.current_time() - start < 2
        with pytest.raises(CarrickError):
            await accepted.open_stream()
