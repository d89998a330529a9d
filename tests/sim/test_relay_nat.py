"""Relays between NATs, on the simulated internet (CAPABILITIES C6 and C7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from carrick import Host as Node
from carrick import HostBuilder, PrivateKey
from carrick.addressing import parse_address
from carrick.errors import DialError
from carrick.network import Stream
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import (
    Capacity,
    Limit,
    RelayClient,
    RelayOptions,
    RelayRefused,
    RelayService,
    Status,
    circuit_address,
    service,
)
from carrick.sim import Host, Internet, Link, run
from carrick.sockets import use_sockets
from tests.support.swarms import echo

PORT = 4001
KEY = PrivateKey.generate()
LISTEN = {"tcp": f"/ip4/0.0.0.0/tcp/{PORT}", "quic": f"/ip4/0.0.0.0/udp/{PORT}/quic-v1"}


def peer(transport: str) -> HostBuilder:
    return (
        HostBuilder()
        .transports(transport)
        .security("noise")
        .listen(LISTEN[transport])
        .services(RelayClient)
        .handle("/echo/1", echo, allow_limited=True)
    )


def relay(transport: str = "tcp", **options: Any) -> HostBuilder:
    return (
        HostBuilder()
        .identity(KEY)
        .transports(transport)
        .security("noise")
        .listen(LISTEN[transport])
        .services(lambda: RelayService(RelayOptions(**options)))
    )


@asynccontextmanager
async def node_on(host: Host, builder: HostBuilder) -> AsyncIterator[Node]:
    with host.enter(), use_sockets(host.sockets):
        async with builder.open() as node:
            yield node


def address_of(host: Host, transport: str = "tcp") -> str:
    place = LISTEN[transport].replace("0.0.0.0", str(host.address))
    return f"{place}/p2p/{KEY.peer_id}"


async def two_homes(internet: Internet, transport: str, nat: str) -> None:
    """Both behind NATs that cannot be punched: relayed within 5 s, and data flows (C6)."""
    server = internet.host("relay")
    left, right = internet.router("left", nat).host("alice"), internet.router("right", nat)
    bob_host = right.host("bob")
    async with (
        node_on(server, relay(transport)) as rita,
        node_on(bob_host, peer(transport)) as bob,
        node_on(left, peer(transport)) as alice,
    ):
        place = address_of(server, transport)
        reservation = await bob.service(RelayClient).reserve(place)
        # The relay says where it is; we advertise that, and nothing of our home to the internet.
        expected = circuit_address(parse_address(place.rpartition("/p2p/")[0]), rita.id)
        assert reservation.addresses == (expected,)
        assert bob.own_addresses.for_peer_at(parse_address("/ip4/8.8.8.8/tcp/1")) == (expected,)
        await trio.sleep(2)

        start = trio.current_time()
        connection = await alice.connect(f"{expected}/p2p/{bob.id}")
        assert trio.current_time() - start < 1
        assert connection.is_limited
        rtt = await alice.service(Ping).ping_once(connection)
        assert rtt == pytest.approx(0.08, abs=0.002)  # two hops of 20 ms, there and back
        info = await alice.service(Identify).identify(connection)
        assert expected in info.listen_addresses
        stream = await alice.open_stream(bob.id, "/echo/1", allow_limited=True)
        await stream.send_all(bytes(50_000))
        assert await stream.read_exactly(50_000) == bytes(50_000)

        for direct in (f"/ip4/{right.external_address}", f"/ip4/{bob_host.address}"):
            with pytest.raises(DialError):
                where = LISTEN[transport].replace("/ip4/0.0.0.0", direct)
                await alice.swarm.connect(bob.id, [parse_address(where)], allow_limited=False)


@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_two_homes_behind_symmetric_nats_meet_at_a_relay(transport: str) -> None:
    run(partial(two_homes, transport=transport, nat="symmetric"))


def test_the_relay_holds_no_plaintext(monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: what it carries is sealed from end to end."""
    seen = bytearray()

    class Watched:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        async def receive_some(self, most: int) -> bytes:
            data = await self.stream.receive_some(most)
            seen.extend(data)
            return data

    real = service._copy

    async def copy(source: Stream, sink: Stream, allowance: Any) -> None:
        watched: Any = Watched(source)
        await real(watched, sink, allowance)

    monkeypatch.setattr(service, "_copy", copy)
    secret = b"between you and me "

    async def program(internet: Internet) -> None:
        server = internet.host()
        async with (
            node_on(server, relay()),
            node_on(internet.router().host(), peer("tcp")) as bob,
            node_on(internet.router().host(), peer("tcp")) as alice,
        ):
            await bob.service(RelayClient).reserve(address_of(server))
            where = f"{address_of(server)}/p2p-circuit/p2p/{bob.id}"
            stream = await alice.open_stream(where, "/echo/1", allow_limited=True)
            await stream.send_all(secret * 1000)
            assert await stream.read_exactly(19_000) == secret * 1000

    run(program)
    assert len(seen) > 38_000
    assert b"/noise" in seen  # it sees how the two begin
    for open_text in (secret, b"/echo/1", b"/ipfs/"):
        assert open_text not in seen


async def ask_all(internet: Internet, homes: list[Host], **options: Any) -> list[int]:
    """What the relay answers each, one after the other: how many slots, then refusals."""
    server = internet.host("relay")
    answers = []
    async with AsyncExitStack() as exits:
        await exits.enter_async_context(node_on(server, relay(**options)))
        for home in homes:
            node = await exits.enter_async_context(node_on(home, peer("tcp")))
            with home.enter(), use_sockets(home.sockets):
                try:
                    await node.service(RelayClient).reserve(address_of(server))
                    answers.append(Status.OK.value)
                except RelayRefused as refused:
                    answers.append(refused.status)
    return answers


def test_eight_of_one_address() -> None:
    """C7: ten nodes behind one NAT."""

    async def program(internet: Internet) -> None:
        router = internet.router("home")
        homes = [router.host(f"node{number}") for number in range(10)]
        answers = await ask_all(internet, homes)
        assert answers == [Status.OK] * 8 + [Status.RESERVATION_REFUSED] * 2

    run(program)


def test_so_many_of_one_autonomous_system() -> None:
    """Whoever runs the relay brings the table; the cap is go's."""

    async def program(internet: Internet) -> None:
        homes = [internet.router(f"home{number}").host(f"node{number}") for number in range(6)]
        capacity = Capacity(reservations_per_asn=2)
        answers = await ask_all(
            internet, homes, capacity=capacity, asn=lambda ip: 64500 + int(ip) % 2
        )
        assert sorted(answers) == [Status.OK] * 4 + [Status.RESERVATION_REFUSED] * 2

    run(program)


def test_a_relay_that_restarts() -> None:
    """Its clients come back by themselves, through their NATs."""

    async def program(internet: Internet) -> None:
        server = internet.host("relay")
        lifted = trio.Event()

        async def serve(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with node_on(server, relay()):
                task_status.started()
                await lifted.wait()

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            async with (
                node_on(internet.router(nat="symmetric").host(), peer("tcp")) as bob,
                node_on(internet.router(nat="symmetric").host(), peer("tcp")) as alice,
            ):
                reservation = await bob.service(RelayClient).reserve(address_of(server))
                lifted.set()
                await reservation.wait_lost()
                await trio.sleep(60)
                lifted = trio.Event()
                await nursery.start(serve)
                start = trio.current_time()
                await reservation.wait_active()
                assert trio.current_time() - start < 120
                connection = await alice.connect(f"{address_of(server)}/p2p-circuit/p2p/{bob.id}")
                assert connection.peer_id == bob.id
                lifted.set()

    run(program)


def test_bulk_data_over_a_slow_relay_without_limits() -> None:
    """Nothing is lost or held without bound when one side is slower than the other."""
    data = bytes(range(256)) * 12_000

    async def program(internet: Internet) -> None:
        server = internet.host()
        slow = internet.router(link=Link(latency=0.05, bandwidth=1_000_000))
        async with (
            node_on(server, relay(limit=Limit())),
            node_on(slow.host(), peer("tcp")) as bob,
            node_on(internet.router().host(), peer("tcp")) as alice,
        ):
            await bob.service(RelayClient).reserve(address_of(server))
            where = f"{address_of(server)}/p2p-circuit/p2p/{bob.id}"
            stream = await alice.open_stream(where, "/echo/1")
            received = bytearray()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, stream, data)
                async for piece in stream:
                    received += piece
            assert received == data

    run(program)


async def send(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()
