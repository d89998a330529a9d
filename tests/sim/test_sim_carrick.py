"""Carrick's own hosts, unchanged, on the simulated internet."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from carrick import Host as Node
from carrick import HostBuilder, PrivateKey
from carrick.errors import DialError, PeerTimeout
from carrick.network import Connection, Stream
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.sim import Host, Internet, Link, run
from carrick.sockets import use_sockets
from tests.support.swarms import echo

if TYPE_CHECKING:
    from carrick.interfaces import (
        ByteListener,
        ByteSocket,
        DatagramSocket,
        SocketOpener,
    )
    from carrick.sim.listener import TcpListener
    from carrick.sim.sockets import Sockets
    from carrick.sim.tcp import TcpConnection
    from carrick.sim.udp import UdpSocket

    def sockets_fit(
        sockets: Sockets, connection: TcpConnection, listener: TcpListener, udp: UdpSocket
    ) -> tuple[SocketOpener, ByteSocket, ByteListener, DatagramSocket]:
        """The type checker holds that the simulator fits the seam."""
        return sockets, connection, listener, udp


PORT = 4001
TCP = HostBuilder().transports("tcp").listen(f"/ip4/0.0.0.0/tcp/{PORT}")


@asynccontextmanager
async def node_on(host: Host, builder: HostBuilder | None = None) -> AsyncIterator[Node]:
    """A Carrick host on a simulated one; the block runs there too."""
    builder = builder or TCP
    with host.enter(), use_sockets(host.sockets):
        async with builder.open() as node:
            yield node


async def ping_between_homes(internet: Internet, nat: str) -> None:
    """One home has forwarded its port; the other dials from behind its NAT."""
    left, right = internet.router("left", nat), internet.router("right", nat)
    alice, bob = left.host("alice"), right.host("bob")
    right.map_port("tcp", PORT, (bob.address, PORT))
    async with node_on(bob) as there, node_on(alice) as here:
        start = trio.current_time()
        address = f"/ip4/{right.external_address}/tcp/{PORT}/p2p/{there.id}"
        connection = await here.connect(address)
        assert trio.current_time() - start == pytest.approx(3 * 0.04)
        assert await here.service(Ping).ping_once(connection) == pytest.approx(0.04)
        # Bob saw Alice's NAT: identify told her.
        seen = str(there.connections[0].remote_address)
        assert seen.startswith(f"/ip4/{left.external_address}/tcp/")
        info = await here.service(Identify).identify(connection)
        observed = info.observed_address
        assert str(observed) == seen
        assert seen.endswith(f"/{PORT}") == (nat == "port-restricted")


@pytest.mark.parametrize("nat", ["port-restricted", "symmetric"])
def test_connect_ping_and_identify_between_nats(nat: str) -> None:
    run(partial(ping_between_homes, nat=nat))


@pytest.mark.parametrize("later", [0.0, 0.005, 0.02, 0.05, 0.1])  # s; a round trip takes 0.04
def test_a_peer_is_dialled_again_right_after_a_close(later: float) -> None:
    """As a crawl does: from the same port, while what the peer had to say is still under way."""

    async def program(internet: Internet) -> None:
        async with node_on(internet.host()) as there, node_on(internet.host()) as here:
            for _ in range(5):
                connection = await here.swarm.dialer.dial(there.id, there.addresses, force=True)
                await connection.aclose()
                await trio.sleep(later)
                again = await here.connect(there.addresses[0])
                assert again.local_address == connection.local_address
                await here.service(Ping).ping_once(again)
                await here.swarm.disconnect(there.id)
                await trio.sleep(1)

    run(program)


def test_quic_through_a_nat() -> None:
    async def program(internet: Internet) -> None:
        server, client = internet.host(), internet.router(nat="symmetric").host()
        builder = HostBuilder().transports("quic").listen(f"/ip4/0.0.0.0/udp/{PORT}/quic-v1")
        async with node_on(server, builder) as there, node_on(client, builder) as here:
            address = f"/ip4/{server.address}/udp/{PORT}/quic-v1/p2p/{there.id}"
            connection = await here.connect(address)
            assert await here.service(Ping).ping_once(connection) == pytest.approx(0.04)
        assert {entry.protocol for entry in internet.trace} <= {"UDP", "ICMP"}

    run(program)


def test_a_firewall_is_a_time_out() -> None:
    async def program(internet: Internet) -> None:
        home = internet.router("home")
        async with node_on(home.host()) as there, node_on(internet.host()) as here:
            start = trio.current_time()
            with pytest.raises(DialError) as raised:
                await here.connect(f"/ip4/{home.external_address}/tcp/{PORT}/p2p/{there.id}")
            assert isinstance(raised.value.causes[0][1], PeerTimeout)
            assert trio.current_time() - start == pytest.approx(5)

    run(program)


def test_streams_carry_data_over_a_bad_link() -> None:
    data = random.Random(1).randbytes(3_000_000)

    async def program(internet: Internet) -> None:
        bad = Link(latency=0.05, jitter=0.02, loss=0.02, bandwidth=1_000_000)
        server, client = internet.host(), internet.host(link=bad)
        received = bytearray()
        async with (
            node_on(server, TCP.handle("/echo/1", echo)) as there,
            node_on(client) as here,
        ):
            peer = f"/ip4/{server.address}/tcp/{PORT}/p2p/{there.id}"
            stream = await here.open_stream(peer, "/echo/1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_all, stream, data)
                async for piece in stream:
                    received += piece
        assert received == data
        assert 6 < trio.current_time() < 30

    run(program)


async def send_all(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


def test_names_are_resolved_on_the_simulated_internet() -> None:
    async def program(internet: Internet) -> None:
        server = internet.host()
        async with node_on(server) as there, node_on(internet.router().host()) as here:
            internet.dns.add_host("node.example.com", server)
            internet.dns.add(
                "_dnsaddr.example.com",
                "TXT",
                f"dnsaddr=/dns4/node.example.com/tcp/{PORT}/p2p/{there.id}",
            )
            connection = await here.connect(f"/dnsaddr/example.com/p2p/{there.id}")
            assert connection.peer_id == there.id

    run(program)


def test_one_seed_gives_one_trace() -> None:
    """Keys, nonces and Noise payloads are random; who sends how much when is not."""
    keys = [PrivateKey.generate() for _ in range(6)]

    async def program(internet: Internet) -> list[object]:
        link = Link(latency=0.02, jitter=0.01, loss=0.01)
        async with trio.open_nursery() as nursery:
            public = internet.host(link=link)
            connected: list[Connection] = []
            seeds = [internet.rng.getrandbits(64) for _ in keys]
            async with node_on(public, TCP.identity(keys[0]).seed(seeds[0])) as hub:
                address = f"/ip4/{public.address}/tcp/{PORT}/p2p/{hub.id}"

                async def join(key: PrivateKey, seed: int) -> None:
                    host = internet.router(nat="full-cone", link=link).host()
                    async with node_on(host, TCP.identity(key).seed(seed)) as node:
                        connected.append(await node.connect(address))
                        await trio.sleep_forever()

                for key, seed in zip(keys[1:], seeds[1:], strict=True):
                    nursery.start_soon(join, key, seed)
                await trio.sleep(20)
                assert len(connected) == len(keys) - 1
                nursery.cancel_scope.cancel()
        return [entry.line for entry in internet.trace]

    once = run(program, seed=7)
    assert len(once) > 100
    assert run(program, seed=7) == once
    assert run(program, seed=8) != once
