"""The public side of the probe. It does what anybody asks: never let it see a real network.

Messages are JSON: one datagram, or one line on TCP. Each of a server's sockets understands

- ``echo``: answers ``{"mapped": [address, port]}``, the sender as the socket saw it
- ``hit``: sends a datagram (UDP), or connects (TCP), to the sender, or to ``to`` if given
- ``knock``: the same to an unused port of the sender's public address, from a new socket,
  and answers how that ended

With ``via``, the endpoint of another server socket, the request goes on to that one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from interop.natlab.messages import (
    MAX_MESSAGE,
    Message,
    Socket,
    decode,
    dial,
    encode,
    endpoint,
    receive_line,
    send_line,
    tcp_socket,
    udp_socket,
)
from interop.natlab.report import PORTS, Answer, Endpoint

if TYPE_CHECKING:
    from trio_typing import TaskStatus

UNUSED_PORT = 9  # discard (RFC 863): nobody in a laboratory listens there
TOKEN = b"natlab\n"  # what a probe says to whoever reaches its TCP listener


async def serve(
    addresses: Sequence[str],
    ports: Sequence[int] = PORTS,
    *,
    patience: float = 1.0,
    task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer probes on each address and port, UDP and TCP, until cancelled.

    All addresses may be one host's, or each server have its own: requests travel between them.
    *patience* is how long, in seconds, silence is listened to.
    """
    async with trio.open_nursery() as nursery:
        for ip, port in itertools.product(addresses, ports):
            sock = await udp_socket((ip, port))
            nursery.start_soon(_serve_udp, sock, nursery, patience)
            listener = await tcp_socket((ip, port))
            listener.listen(16)
            nursery.start_soon(_serve_tcp, listener, nursery, patience)
        task_status.started()


async def _serve_udp(sock: Socket, nursery: trio.Nursery, patience: float) -> None:
    here = endpoint(sock.getsockname())
    while True:
        try:
            data, sender = await sock.recvfrom(MAX_MESSAGE)
        except ConnectionError:  # an earlier answer reached nobody
            continue
        request = decode(data)
        if request is None:
            continue
        to = endpoint(request.get("to") or sender)
        via = request.pop("via", None)
        if via is not None and endpoint(via) != here:
            await sock.sendto(encode(request | {"to": to}), endpoint(via))
        elif request.get("op") == "echo":
            await sock.sendto(encode(request | {"mapped": to}), endpoint(sender))
        elif request.get("op") == "hit":
            await sock.sendto(encode(request), to)
        elif request.get("op") == "knock":
            nursery.start_soon(_knock_udp, sock, request, to, patience)


async def _knock_udp(sock: Socket, request: Message, sender: Endpoint, patience: float) -> None:
    answer = Answer.SILENT
    with await udp_socket((endpoint(sock.getsockname())[0], 0)) as knocker:
        await knocker.connect((sender[0], UNUSED_PORT))
        try:
            await knocker.send(b"knock")
            with trio.move_on_after(patience):
                await knocker.recv(MAX_MESSAGE)
                answer = Answer.OPEN
        except ConnectionRefusedError:
            answer = Answer.REFUSED
    await sock.sendto(encode(request | {"answer": answer}), sender)


async def _serve_tcp(listener: Socket, nursery: trio.Nursery, patience: float) -> None:
    while True:
        sock, _ = await listener.accept()
        nursery.start_soon(_serve_connection, sock, patience)


async def _serve_connection(sock: Socket, patience: float) -> None:
    with sock:
        try:
            here, sender = endpoint(sock.getsockname()), endpoint(sock.getpeername())
            while (line := await receive_line(sock)) is not None:
                request = decode(line) or {}
                to = endpoint(request.get("to") or sender)
                via = request.pop("via", None)
                if via is not None and endpoint(via) != here:
                    reply = await _forward(here[0], endpoint(via), request | {"to": to})
                elif request.get("op") == "hit":
                    reply = {"answer": await _call_back(here, to, patience)}
                elif request.get("op") == "knock":
                    reply = {
                        "answer": await _call_back((here[0], 0), (to[0], UNUSED_PORT), patience)
                    }
                else:
                    reply = {"mapped": to}
                await send_line(sock, reply)
        except OSError:
            pass  # the probe has gone: nobody to answer


async def _forward(ip: str, via: Endpoint, request: Message) -> Message:
    with await tcp_socket((ip, 0)) as sock:
        await sock.connect(via)
        await send_line(sock, request)
        return decode(await receive_line(sock) or b"") or {}


async def _call_back(local: Endpoint, to: Endpoint, patience: float) -> Answer:
    """Open only if the probe itself answers, and not a router in its name."""
    with await tcp_socket(local) as sock:
        answer = await dial(sock, to, patience)
        if answer is not Answer.OPEN:
            return answer
        with trio.move_on_after(patience):
            return Answer.OPEN if await receive_line(sock) == TOKEN else Answer.REFUSED
        return Answer.SILENT
