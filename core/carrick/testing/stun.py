"""A STUN server with two addresses and two ports (RFC 5780), over UDP and TCP. For laboratories,
simulated ones too: it has no protection against misuse."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import trio

from carrick.errors import ProtocolError
from carrick.interfaces import ByteSocket, DatagramSocket, Endpoint
from carrick.protocols.stun import Kind, Message, decode, encode, size_of
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["PORTS", "answer", "serve_stun"]

PORTS = (3478, 3479)


async def serve_stun(
    addresses: Sequence[str],
    ports: Sequence[int] = PORTS,
    *,
    tcp: bool = True,
    moves: bool = True,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled.

    Args:
        addresses: one or two of this host.
        moves: False: CHANGE-REQUEST is ignored, as servers of RFC 5389 may.
    """
    opener = current_sockets()
    sockets = {(ip, port): await opener.open_udp((ip, port)) for ip in addresses for port in ports}
    async with trio.open_nursery() as nursery:
        for end in sockets:
            nursery.start_soon(_serve_udp, sockets, end, moves)
            if tcp:
                listener = await opener.listen_tcp(end)
                nursery.start_soon(_serve_tcp, nursery, listener, end, _other(list(sockets), end))
        task_status.started()


def _other(ends: Sequence[Endpoint], end: Endpoint) -> Endpoint | None:
    return next((each for each in ends if each[0] != end[0] and each[1] != end[1]), None)


def answer(request: Message, seen: Endpoint, other: Endpoint | None, origin: Endpoint) -> bytes:
    success = Message(Kind.SUCCESS, request.transaction, seen, origin, other, software="carrick")
    return encode(success, fingerprint=True)


async def _serve_udp(sockets: dict[Endpoint, DatagramSocket], here: Endpoint, moves: bool) -> None:
    socket, other = sockets[here], _other(list(sockets), here)
    buffer = memoryview(bytearray(65535))
    while True:
        train = socket.recv_into(buffer)
        if train is None:
            await socket.wait_readable()
            continue
        size, segment, sender = train
        for at in range(0, size, segment):
            try:
                request = decode(buffer[at : min(size, at + segment)])
            except ProtocolError:
                continue
            if request.kind is not Kind.REQUEST:
                continue
            source = here
            if other is not None and moves:
                source = (
                    other[0] if request.change_ip else here[0],
                    other[1] if request.change_port else here[1],
                )
            data = answer(request, sender, other if moves else None, source)
            sockets[source].send(data, len(data), sender)


async def _serve_tcp(
    nursery: trio.Nursery, listener: object, here: Endpoint, other: Endpoint | None
) -> None:
    while True:
        socket = await listener.accept()  # type: ignore[attr-defined]
        nursery.start_soon(partial(_serve_connection, socket, here, other))


async def _serve_connection(socket: ByteSocket, here: Endpoint, other: Endpoint | None) -> None:
    data = b""
    buffer = memoryview(bytearray(2048))
    try:
        while True:
            received = socket.recv_into(buffer)
            if received is None:
                await socket.wait_readable()
                continue
            if not received:
                return
            data += buffer[:received]
            while len(data) >= 20 and len(data) >= (size := size_of(data)):
                request, data = decode(data[:size]), data[size:]
                socket.send(memoryview(answer(request, socket.remote, other, here)))
    except (OSError, ProtocolError, trio.ClosedResourceError):
        return
    finally:
        socket.close()
