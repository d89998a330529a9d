"""The framing socket over an in-memory one: what is sent, piece by piece."""

from __future__ import annotations

import pytest

from carrick.transports.memory.pipe import CAPACITY, MemorySocket, memory_pair
from carrick.transports.websocket.frames import FrameDecoder
from carrick.transports.websocket.socket import CHUNK, WebSocket

BUFFER = 128 * 1024


def pair(*, client: bool) -> tuple[WebSocket, MemorySocket]:
    ours, theirs = memory_pair(("127.0.0.1", 1), ("127.0.0.1", 2))
    return WebSocket(ours, client=client), theirs


def drain(socket: MemorySocket) -> bytes:
    buffer, received = memoryview(bytearray(BUFFER)), b""
    while size := socket.recv_into(buffer):
        received += buffer[:size]
    return received


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("size", [1, 200, 70_000, CHUNK + 3, CAPACITY * 3])
async def test_a_batch_is_one_frame_whatever_the_socket_takes(client: bool, size: int) -> None:
    web, peer = pair(client=client)
    data = memoryview(bytes(range(251)) * (size // 251 + 1))[:size]
    sent, wire = 0, b""
    while sent < size:
        count = web.send(data[sent:])
        if count is None:
            wire += drain(peer)
        else:
            sent += count
    wire += drain(peer)
    head = {1: 2, 200: 4}.get(size, 10) + 4 * client
    assert len(wire) == size + head
    decoder = FrameDecoder(masked=client)
    buffer = memoryview(bytearray(wire))
    assert decoder.decode(buffer, len(buffer)) == size and buffer[:size] == data


async def test_each_frame_has_its_own_key() -> None:
    web, peer = pair(client=True)
    keys = set()
    for _ in range(2000):
        web.send(memoryview(b"x"))
        keys.add(drain(peer)[2:6])
    assert len(keys) > 1990


async def test_both_ends_understand_each_other() -> None:
    ours, theirs = memory_pair(("127.0.0.1", 1), ("127.0.0.1", 2))
    client, server = WebSocket(ours, client=True), WebSocket(theirs, client=False)
    buffer = memoryview(bytearray(100))
    for one, other in ((client, server), (server, client)):
        assert one.send(memoryview(b"hello")) == 5
        assert other.recv_into(buffer) == 5 and bytes(buffer[:5]) == b"hello"
        assert other.recv_into(buffer) is None


async def test_what_came_behind_the_upgrade_is_received_first() -> None:
    ours, theirs = memory_pair(("127.0.0.1", 1), ("127.0.0.1", 2))
    web = WebSocket(ours, client=True, received=b"\x82\x05he")
    theirs.send(memoryview(b"llo"))
    buffer = memoryview(bytearray(3))
    await web.wait_readable()
    received = b""
    while len(received) < 5:
        size = web.recv_into(buffer)
        received += buffer[: size or 0]
    assert received == b"hello"


async def test_nothing_is_sent_behind_a_close_frame() -> None:
    web, peer = pair(client=False)
    peer.send(memoryview(b"\x88\x80mask"))
    buffer = memoryview(bytearray(10))
    assert web.recv_into(buffer) == 0 and web.recv_into(buffer) == 0
    with pytest.raises(BrokenPipeError):
        web.send(memoryview(b"x"))
    web.close()
    assert drain(peer) == b"\x88\x02\x03\xe8"


async def test_no_close_frame_within_another_frame() -> None:
    web, peer = pair(client=False)
    assert web.send(memoryview(bytes(CAPACITY * 2))) is not None
    web.close()
    assert b"\x88\x02" not in drain(peer)
