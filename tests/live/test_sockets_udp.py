"""UDP sockets of the kernel: trains, ports, closing."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from carrick.interfaces import DatagramSocket
from carrick.sockets import KernelSockets, current_sockets, use_sockets


async def opened(address: str = "127.0.0.1") -> DatagramSocket:
    return await KernelSockets().open_udp((address, 0))


async def receive_all(receiver: DatagramSocket, size: int) -> list[bytes]:
    """Datagrams until `size` bytes are there."""
    buffer = memoryview(bytearray(65535))
    found: list[bytes] = []
    with trio.fail_after(5):
        while sum(map(len, found)) < size:
            train = receiver.recv_into(buffer)
            if train is None:
                await receiver.wait_readable()
                continue
            received, segment, _ = train
            found += [
                bytes(buffer[at : min(at + segment, received)])
                for at in range(0, received, segment)
            ]
    return found


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_train_arrives_as_the_datagrams_that_it_was(address: str) -> None:
    one, other = await opened(address), await opened(address)
    datagrams = [bytes([i]) * 1200 for i in range(min(one.max_train, 54) - 1)] + [b"short"]
    assert one.send(b"".join(datagrams), 1200, other.local)
    assert await receive_all(other, sum(map(len, datagrams))) == datagrams
    one.close()
    other.close()


async def test_an_empty_datagram_and_its_sender() -> None:
    one, other = await opened(), await opened()
    assert one.send(b"", 1200, other.local)
    await other.wait_readable()
    assert other.recv_into(memoryview(bytearray(65535))) == (0, 0, one.local)
    one.close()
    other.close()


async def test_a_port_that_nobody_listens_on_is_a_lost_datagram() -> None:
    one, other = await opened(), await opened()
    gone = other.local
    other.close()
    for _ in range(3):
        assert one.send(b"to nobody", 1200, gone)
    assert one.recv_into(memoryview(bytearray(65535))) is None
    one.close()


async def test_closing_wakes_who_waits() -> None:
    one = await opened()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await one.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        one.close()
        one.close()
    with pytest.raises(trio.ClosedResourceError):
        await one.wait_writable()


async def test_ports_are_shared_only_on_request() -> None:
    sockets = KernelSockets()
    one = await opened()
    with pytest.raises(OSError, match="in use"):
        await sockets.open_udp(one.local)
    one.close()
    shared = await sockets.open_udp(("127.0.0.1", 0), share_port=True)
    again = await sockets.open_udp(shared.local, share_port=True)
    assert again.local == shared.local
    shared.close()
    again.close()


def test_interfaces_have_addresses_and_networks() -> None:
    found = current_sockets().interface_addresses()
    assert any(own.ip.is_loopback and own.network.prefixlen in (8, 128) for own in found)


def test_the_opener_is_chosen_by_context() -> None:
    mine = KernelSockets()
    with use_sockets(mine):
        assert current_sockets() is mine
    assert current_sockets() is not mine
