"""How many round trips a dial and its first request take, in virtual time."""

from __future__ import annotations

import pytest
from trio import current_time
from trio.testing import MockClock

from carrick import HostBuilder, PrivateKey
from carrick.addressing import split_peer
from carrick.transports.bytestream import Upgrader
from carrick.transports.memory import MemoryTransport
from tests.support.transports import MUXERS, SECURITIES
from tests.support.work import SlowWrapper

ONE_WAY = 1.0
ROUND_TRIP = 2 * ONE_WAY
YAMUX = "/yamux/1.0.0"


def slow(security: str) -> HostBuilder:
    """A host without services, over memory with latency; connecting itself takes no time."""
    builder = HostBuilder().services(defaults=False)

    def transport(_: Upgrader) -> MemoryTransport:
        return MemoryTransport(
            Upgrader([SECURITIES[security](key)], {YAMUX: MUXERS[YAMUX]}, SlowWrapper(ONE_WAY))
        )

    key = PrivateKey.generate()
    return builder.identity(key).transports(transport)


@pytest.mark.parametrize("lazy", [True, None])
@pytest.mark.parametrize("security", ["noise", "tls"])
async def test_a_first_request(security: str, lazy: bool | None, autojump_clock: MockClock) -> None:
    """C1: two round trips, the handshake; the request with its answer. One more for a protocol that
    the peer is not known to speak."""
    async with slow(security).listen("/memory/0").open() as server, slow(security).open() as client:

        @server.handle("/echo/1")
        async def echo(stream):
            await stream.send_all(await stream.receive_some())

        address, peer = split_peer(server.addresses[0])
        begin = current_time()
        connection = await client.swarm.dialer.dial_address(peer, address)
        async with await connection.open_stream("/echo/1", lazy=lazy) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            assert current_time() - begin == pytest.approx((2 if lazy else 3) * ROUND_TRIP)
