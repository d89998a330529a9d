"""Libraries that use trio's sockets run on simulated hosts unchanged."""

from __future__ import annotations

import errno
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import dns.asyncresolver
import pytest
import trio
import trio.testing

from carrick.sim import Deadlock, Host, Internet, Link, ThreadStarted, open_internet, run

FAST = Link(latency=0.001)


async def stream_pair(
    internet: Internet, one: Host, other: Host, port: int
) -> tuple[trio.SocketStream, trio.SocketStream]:
    with other.enter():
        (listener,) = await trio.open_tcp_listeners(port, host="0.0.0.0")
    with one.enter():
        client = await trio.open_tcp_stream(other.address, port)
    server = await listener.accept()
    await listener.aclose()
    return client, server


async def test_half_closeable_streams(autojump_clock: trio.testing.MockClock) -> None:
    async with open_internet(access=FAST) as internet:
        one, other = internet.host(), internet.host()
        port = iter(range(1000, 2000))

        async def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
            return await stream_pair(internet, one, other, next(port))

        async def clogged() -> tuple[trio.SocketStream, trio.SocketStream]:
            left, right = await pair()
            for stream in (left, right):
                with trio.move_on_after(1):
                    await stream.send_all(bytes(1 << 20))
            return left, right

        await trio.testing.check_half_closeable_stream(pair, clogged)


@asynccontextmanager
async def echo_server(host: Host, port: int) -> AsyncIterator[None]:
    async def echo(stream: trio.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send_all(data)

    with host.enter():
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_tcp, echo, port, host="0.0.0.0"))
            yield
            nursery.cancel_scope.cancel()


async def test_streams_by_name_and_their_round_trips(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_internet(access=Link(latency=0.03)) as internet:
        server, client = internet.host("server"), internet.router("home").host("client")
        internet.dns.add_host("echo.example.com", server)
        async with echo_server(server, 7):
            with client.enter():
                stream = await trio.open_tcp_stream("echo.example.com", 7)
                before = trio.current_time()
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
                assert trio.current_time() - before == pytest.approx(0.12)
                await stream.aclose()


async def test_dnspython_asks_the_simulated_name_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_internet() as internet:
        internet.dns.add("example.com", "A", "11.1.2.3")
        internet.dns.add("example.com", "AAAA", "2a00:9::1")
        internet.dns.add("www.example.com", "CNAME", "example.com")
        long = "dnsaddr=" + "x" * 600
        internet.dns.add("_dnsaddr.example.com", "TXT", long, 'with "quotes" and ö')
        with internet.router().host().enter():
            for kind, expected in (("A", "11.1.2.3"), ("AAAA", "2a00:9::1")):
                answer = await dns.asyncresolver.resolve("www.example.com", kind)
                assert [record.to_text() for record in answer] == [expected]
            answer = await dns.asyncresolver.resolve("_dnsaddr.example.com", "TXT")
            texts = {b"".join(record.strings).decode() for record in answer}
            assert texts == {long, 'with "quotes" and ö'}
            with pytest.raises(dns.resolver.NXDOMAIN):
                await dns.asyncresolver.resolve("nowhere.example.com", "A")
        udp = [entry for entry in internet.trace if entry.protocol == "UDP"]
        assert {entry.receiver for entry in udp} == {"name-server", "host-3"}


async def test_dnspython_gives_up_in_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    async with open_internet() as internet:
        internet.dns.host.sleep()
        with internet.host().enter():
            before = trio.current_time()
            with pytest.raises(dns.resolver.LifetimeTimeout):
                await dns.asyncresolver.resolve("example.com", "A")
            assert trio.current_time() - before == pytest.approx(5, abs=0.5)


async def test_without_a_host_nothing_escapes(autojump_clock: trio.testing.MockClock) -> None:
    async with open_internet():
        with pytest.raises(OSError) as raised:
            trio.socket.socket()
        assert raised.value.errno == errno.ENETDOWN
        with pytest.raises(OSError, match="no simulated host"):
            await trio.open_tcp_stream("example.com", 80)


def test_threads_are_refused() -> None:
    async def by_trio(internet: Internet) -> None:
        await trio.to_thread.run_sync(print)

    async def quietly(internet: Internet) -> None:
        with suppress(ThreadStarted):
            threading.Thread(target=print).start()

    for program in (by_trio, quietly):
        with pytest.raises(ThreadStarted):
            run(program)


def test_a_deadlock_is_an_error() -> None:
    async def program(internet: Internet) -> None:
        listener = await internet.host().sockets.listen_tcp(("0.0.0.0", 1))
        await listener.accept()

    with pytest.raises(Deadlock):
        run(program)


async def test_multicast_stays_on_its_lan(autojump_clock: trio.testing.MockClock) -> None:
    """What an mDNS responder does, with trio's sockets."""
    import socket

    group, port = "224.0.0.251", 5353
    heard: dict[str, list[bytes]] = {}

    async def listen(host: Host, task_status: trio.TaskStatus[None]) -> None:
        with host.enter():
            sock = trio.socket.socket(type=socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind(("", port))
            member = socket.inet_aton(group) + socket.inet_aton(host.address)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            task_status.started()
            while True:
                data, _ = await sock.recvfrom(100)
                heard.setdefault(host.name, []).append(data)

    async with open_internet() as internet:
        home, other = internet.router("home"), internet.router("other")
        alice, bob, carol = home.host("alice"), home.host("bob"), other.host("carol")
        home.host("deaf")
        async with trio.open_nursery() as nursery:
            for host in (alice, bob, carol):
                await nursery.start(listen, host)
            with alice.enter():
                sock = trio.socket.socket(type=socket.SOCK_DGRAM)
                await sock.sendto(b"who?", (group, port))
                public = await internet.host().sockets.open_udp(("0.0.0.0", 0))
                public.send(b"lost", 4, (group, port))
            await trio.sleep(1)
            nursery.cancel_scope.cancel()
    assert heard == {"alice": [b"who?"], "bob": [b"who?"]}


async def test_a_real_clock_serves_too() -> None:
    async with open_internet(access=FAST) as internet:
        client, server = await stream_pair(internet, internet.host(), internet.host(), 1)
        await client.send_all(b"now")
        assert await server.receive_some() == b"now"


async def test_ticks_round_arrivals_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_internet(access=Link(latency=0.0102), tick=0.001) as internet:
        await stream_pair(internet, internet.host(), internet.host(), 1)
        arrived = [entry.arrived for entry in internet.trace]
        assert arrived == [pytest.approx(0.021), pytest.approx(0.042), pytest.approx(0.063)]
