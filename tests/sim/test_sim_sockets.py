"""The sockets of simulated hosts: TCP and UDP as programs observe them."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from carrick.sim import Host, Internet, Link, run
from carrick.sim.tcp import TcpConnection

LATENCY = 0.02  # seconds, between two hosts on the core


def simulated(program: Callable[[Internet], Awaitable[None]]) -> Callable[[], None]:
    """The program as a test of its own, in virtual time."""

    def test() -> None:
        run(program)

    test.__name__, test.__doc__ = program.__name__, program.__doc__
    return test


async def read(connection: TcpConnection, size: int = 65536) -> bytes:
    buffer = bytearray(size)
    while (received := connection.recv_into(memoryview(buffer))) is None:
        await connection.wait_readable()
    return bytes(buffer[:received])


async def pair(one: Host, other: Host) -> tuple[TcpConnection, TcpConnection]:
    listener = await other.sockets.listen_tcp(("0.0.0.0", 0))
    dialed = await one.sockets.connect_tcp((other.address, listener.local[1]))
    accepted = await listener.accept()
    listener.close()
    return dialed, accepted


# --- TCP ------------------------------------------------------------------------------------------


@simulated
async def test_a_handshake_takes_one_round_trip(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    start = trio.current_time()
    dialed, accepted = await pair(one, other)
    assert trio.current_time() - start == pytest.approx(3 * LATENCY)
    assert (dialed.local, dialed.remote) == (accepted.remote, accepted.local)
    flags = [entry.flags for entry in internet.trace]
    assert flags == ["SYN", "SYN,ACK", "ACK"]


@simulated
async def test_a_closed_port_refuses_and_nobody_is_silent(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    start = trio.current_time()
    with pytest.raises(ConnectionRefusedError):
        await one.sockets.connect_tcp((other.address, 1))
    assert trio.current_time() - start == pytest.approx(2 * LATENCY)
    start = trio.current_time()
    with pytest.raises(TimeoutError):
        await one.sockets.connect_tcp(("11.7.7.7", 1))
    assert trio.current_time() - start == pytest.approx(127)
    assert internet.unroutable == 7
    with pytest.raises(OSError) as raised:
        await one.sockets.connect_tcp(("2a00:1::7", 1))
    assert raised.value.errno == errno.ENETUNREACH


@simulated
async def test_half_close_and_end(internet: Internet) -> None:
    dialed, accepted = await pair(internet.host(), internet.host())
    assert dialed.send(memoryview(b"question")) == 8
    dialed.shut_down()
    assert await read(accepted) == b"question"
    assert await read(accepted) == b""
    accepted.send(memoryview(b"answer"))
    accepted.close()
    assert await read(dialed) == b"answer"
    assert await read(dialed) == b""
    with pytest.raises(BrokenPipeError):
        dialed.send(memoryview(b"more"))
    dialed.close()
    await trio.sleep(100)
    assert not any("RST" in entry.flags for entry in internet.trace)


@simulated
async def test_a_full_window_holds_the_sender_up(internet: Internet) -> None:
    one, other = internet.host(window=1000), internet.host(window=1000)
    dialed, accepted = await pair(one, other)
    assert dialed.send(memoryview(bytes(5000))) == 1000
    assert dialed.send(memoryview(b"x")) is None
    with trio.move_on_after(1) as waiting:
        await dialed.wait_writable()
    assert waiting.cancelled_caught
    assert len(await read(accepted)) == 1000
    await dialed.wait_writable()
    assert dialed.send(memoryview(bytes(5000))) == 1000


@simulated
async def test_abort_resets(internet: Internet) -> None:
    dialed, accepted = await pair(internet.host(), internet.host())
    dialed.abort()
    with pytest.raises(ConnectionResetError):
        await read(accepted)
    assert await read(accepted) == b""
    with pytest.raises(BrokenPipeError):
        accepted.send(memoryview(b"x"))
    with pytest.raises(OSError) as raised:
        dialed.send(memoryview(b"x"))
    assert raised.value.errno == errno.EBADF


@simulated
async def test_data_nobody_will_read_is_answered_by_a_reset(internet: Internet) -> None:
    dialed, accepted = await pair(internet.host(), internet.host())
    accepted.close()
    dialed.send(memoryview(b"too late"))
    await trio.sleep(1)
    assert [entry.flags for entry in internet.trace].count("RST,ACK") == 1


@simulated
async def test_a_late_reset_of_an_older_connection_is_not_for_the_new_one(
    internet: Internet,
) -> None:
    """Both have the same endpoints, as when one dials again from its listening port."""
    one, other = internet.host(), internet.host()
    listener = await other.sockets.listen_tcp(("0.0.0.0", 4001))
    here, there = (one.address, 4002), (other.address, 4001)
    first = await one.sockets.connect_tcp(there, local=here)
    answering = await listener.accept()
    first.abort()
    await trio.sleep(LATENCY / 2)
    answering.send(memoryview(b"under way"))  # meets the second, which says that it knows nothing
    second = await one.sockets.connect_tcp(there, local=here)
    assert second.local == first.local
    accepted = await listener.accept()
    second.send(memoryview(b"new"))
    assert await read(accepted) == b"new"
    await trio.sleep(10 * LATENCY)
    accepted.send(memoryview(b"as well"))
    assert await read(second) == b"as well"
    assert sum("RST" in entry.flags for entry in internet.trace) == 2
    second.abort()
    with pytest.raises(ConnectionResetError):
        await read(accepted)


@simulated
async def test_closing_wakes_who_waits(internet: Internet) -> None:
    host = internet.host()
    dialed, _ = await pair(host, internet.host())
    listener = await host.sockets.listen_tcp(("0.0.0.0", 0))
    udp = await host.sockets.open_udp(("0.0.0.0", 0))

    async def wait(waiting: object) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await waiting()  # type: ignore[operator]

    async with trio.open_nursery() as nursery:
        for waiting in (dialed.wait_readable, listener.accept, udp.wait_readable):
            nursery.start_soon(wait, waiting)
        await trio.testing.wait_all_tasks_blocked()
        dialed.close()
        listener.close()
        udp.close()


@simulated
async def test_ports(internet: Internet) -> None:
    """A dial may leave from a listening port, but only one listener has it."""
    one, other = internet.host(), internet.host()
    here = await one.sockets.listen_tcp(("0.0.0.0", 4001))
    there = await other.sockets.listen_tcp((other.address, 4001))
    dialed = await one.sockets.connect_tcp(there.local, local=here.local)
    assert dialed.local == (one.address, 4001)
    for again in (
        one.sockets.listen_tcp((one.address, 4001)),
        other.sockets.listen_tcp(("0.0.0.0", 4001)),
    ):
        with pytest.raises(OSError) as raised:
            await again
        assert raised.value.errno == errno.EADDRINUSE
    for ip, code in ((one.address, errno.EADDRNOTAVAIL), ("11.9.9.9", errno.EADDRNOTAVAIL)):
        with pytest.raises(OSError) as raised:
            await one.sockets.connect_tcp(there.local, local=(ip, 4001))
        assert raised.value.errno == code
    with pytest.raises(ConnectionRefusedError):
        await one.sockets.connect_tcp((one.address, 4001), local=here.local)
    local = await one.sockets.connect_tcp(("127.0.0.1", 4001))
    assert local.remote == ("127.0.0.1", 4001)
    closing, reopened = here.local, here.close()
    assert reopened is None
    await one.sockets.listen_tcp(closing)


@simulated
async def test_a_full_backlog_makes_dialers_wait(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    listener = await other.sockets.listen_tcp(("0.0.0.0", 1), backlog=1)
    await one.sockets.connect_tcp((other.address, 1))
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.sockets.connect_tcp, (other.address, 1))
        await trio.sleep(0.5)
        await listener.accept()
    assert trio.current_time() - start == pytest.approx(1 + 2 * LATENCY)


@simulated
async def test_simultaneous_open(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    made: list[TcpConnection] = []

    async def dial(host: Host, to: Host) -> None:
        made.append(await host.sockets.connect_tcp((to.address, 9), local=("0.0.0.0", 9)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial, one, other)
        nursery.start_soon(dial, other, one)
    assert [entry.flags for entry in internet.trace][:4] == ["SYN", "SYN", "SYN,ACK", "SYN,ACK"]
    made[0].send(memoryview(b"hello"))
    assert await read(made[1]) == b"hello"


@simulated
async def test_a_queue_is_in_the_order_of_arrival(internet: Internet) -> None:
    """What comes from far away does not hold up what was sent later, nearby."""
    slow = internet.host(link=Link(bandwidth=100_000))
    far = internet.host(link=Link(latency=0.1))
    near = internet.host(link=Link(latency=0.01))
    await slow.sockets.open_udp(("0.0.0.0", 9))
    for host in (far, near):
        socket = await host.sockets.open_udp(("0.0.0.0", 0))
        socket.send(bytes(72), 72, (slow.address, 9))  # 100 bytes with their headers: 1 ms
    await trio.sleep(1)
    arrived = {entry.sender: entry.arrived for entry in internet.trace}
    assert arrived == {far.name: pytest.approx(0.101), near.name: pytest.approx(0.011)}


@simulated
async def test_bandwidth_bounds_throughput(internet: Internet) -> None:
    slow = internet.host(link=Link(latency=0.01, bandwidth=100_000))
    dialed, accepted = await pair(slow, internet.host())
    start, total = trio.current_time(), 0

    async def send() -> None:
        left = 500_000
        while left:
            sent = dialed.send(memoryview(bytes(left)))
            if sent is None:
                await dialed.wait_writable()
            else:
                left -= sent
        dialed.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while data := await read(accepted):
            total += len(data)
    assert total == 500_000
    assert trio.current_time() - start == pytest.approx(5, rel=0.1)


# --- faults ---------------------------------------------------------------------------------------


@simulated
async def test_a_crash_is_silent_and_a_restarted_host_resets(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    dialed, _ = await pair(one, other)
    other.crash()
    dialed.send(memoryview(b"x"))
    with trio.move_on_after(10) as waiting:
        await read(dialed)
    assert waiting.cancelled_caught
    other.restart()
    with pytest.raises(ConnectionResetError):
        await read(dialed)


@simulated
async def test_a_crash_ends_the_programs_on_a_host(internet: Internet) -> None:
    host = internet.host()
    ended = trio.Event()

    async def program() -> None:
        try:
            listener = await host.sockets.listen_tcp(("0.0.0.0", 1))
            await listener.accept()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run, program)
        await trio.sleep(1)
        host.crash()
        await ended.wait()
    host.restart()
    await host.sockets.listen_tcp(("0.0.0.0", 1))


@simulated
async def test_sleep_and_partition_only_delay(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    dialed, accepted = await pair(one, other)
    for cut, restore in (
        (other.sleep, other.wake),
        (lambda: internet.partition([one], [other]), internet.heal),
    ):
        cut()
        dialed.send(memoryview(b"x"))
        await trio.sleep(5)
        assert accepted.recv_into(memoryview(bytearray(1))) is None
        restore()
        assert await read(accepted) == b"x"


@simulated
async def test_a_dead_peer_is_given_up_after_a_quarter_of_an_hour(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    dialed, _ = await pair(one, other)
    other.crash()
    dialed.send(memoryview(b"x"))
    start = trio.current_time()
    with pytest.raises(TimeoutError):
        await read(dialed)
    assert 800 < trio.current_time() - start < 1200  # Linux: 924 s and more


@simulated
async def test_changing_address_breaks_connections(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    dialed, accepted = await pair(one, other)
    old, new = one.address, one.change_address()
    assert one.addresses == [new] != [old]
    dialed.send(memoryview(b"x"))
    await trio.sleep(10)
    assert accepted.recv_into(memoryview(bytearray(1))) is None
    again, _ = await pair(one, other)
    assert again.local[0] == new
    lan = internet.router("cafe")
    one.move(lan.lan)
    assert one.address.startswith("192.168.1.")
    await pair(one, other)


# --- UDP ------------------------------------------------------------------------------------------


@simulated
async def test_datagrams_and_trains(internet: Internet) -> None:
    one, other = internet.host(), internet.host()
    sender = await one.sockets.open_udp(("0.0.0.0", 0))
    receiver = await other.sockets.open_udp(("0.0.0.0", 5))
    buffer = memoryview(bytearray(65535))
    assert receiver.recv_into(buffer) is None
    for data, segment in ((b"", 1), (b"abc", 3), (bytes(2500), 1200), (bytes(60_000), 60_000)):
        assert sender.send(data, segment, (other.address, 5))
        await receiver.wait_readable()
        expected = len(data), min(segment, len(data)), (one.address, sender.local[1])
        assert receiver.recv_into(buffer) == expected
    for size, segment, code in (
        (65_508, 65_508, errno.EMSGSIZE),
        (3000, 1500, errno.EINVAL),
        (650, 10, errno.EINVAL),
    ):
        with pytest.raises(OSError) as raised:
            sender.send(bytes(size), segment, (other.address, 5))
        assert raised.value.errno == code


@simulated
async def test_loss_reordering_and_duplication(internet: Internet) -> None:
    link = Link(latency=0.01, loss=0.2, reorder=0.2, duplicate=0.2)
    one, other = internet.host(link=link), internet.host()
    sender = await one.sockets.open_udp(("0.0.0.0", 0))
    receiver = await other.sockets.open_udp(("0.0.0.0", 5))
    for number in range(500):
        sender.send(number.to_bytes(2, "big") * 2, 2, (other.address, 5))  # trains are taken apart
        await trio.sleep(0.001)
    await trio.sleep(1)
    got = []
    buffer = memoryview(bytearray(65535))
    while received := receiver.recv_into(buffer):
        assert received[:2] == (2, 2)
        got.append(int.from_bytes(buffer[:2], "big"))
    assert 700 < len(set(got)) * 2 < 1000 and 0.1 < 1 - len(got) / 1200 < 0.3
    assert got != sorted(got)


@simulated
async def test_ports_are_shared_only_by_those_who_say_so(internet: Internet) -> None:
    host = internet.host()
    await host.sockets.open_udp(("0.0.0.0", 5353), share_port=True)
    await host.sockets.open_udp(("0.0.0.0", 5353), share_port=True)
    with pytest.raises(OSError) as raised:
        await host.sockets.open_udp((host.address, 5353))
    assert raised.value.errno == errno.EADDRINUSE


@simulated
async def test_ipv6_and_interface_addresses(internet: Internet) -> None:
    router = internet.router(ipv6=True)
    host, public = router.host(), internet.host(ipv6=True)
    shown = {str(interface) for interface in host.sockets.interface_addresses()}
    assert shown == {"127.0.0.1/8", "::1/128", "192.168.1.2/24", "2a00:2:1::2/64"}
    listener = await public.sockets.listen_tcp(("::", 1))
    six = next(address for address in public.addresses if ":" in address)
    dialed = await host.sockets.connect_tcp((six, 1))
    accepted = await listener.accept()
    assert accepted.remote == dialed.local == ("2a00:2:1::2", dialed.local[1])
    inner = await host.sockets.listen_tcp(("::", 2))
    with pytest.raises(TimeoutError):  # the firewall
        await public.sockets.connect_tcp((dialed.local[0], inner.local[1]))
