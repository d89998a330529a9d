"""STUN over the kernel's sockets, on the loopback."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from carrick.errors import PeerTimeout, ProtocolError
from carrick.host import Dependence
from carrick.interfaces import Endpoint
from carrick.protocols.nat import nat_of, probe
from carrick.protocols.stun import Kind, Message, StunClient, StunError, decode, encode
from carrick.sockets import current_sockets
from carrick.testing.stun import serve_stun

HERE, OTHER = "127.0.0.1", "127.0.0.2"


async def free_ports(count: int) -> list[int]:
    sockets = [await current_sockets().open_udp((HERE, 0)) for _ in range(count)]
    ports = [each.local[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@asynccontextmanager
async def stun_server() -> AsyncIterator[Endpoint]:
    async with trio.open_nursery() as nursery:
        yield await start_server(nursery)
        nursery.cancel_scope.cancel()


async def start_server(nursery: trio.Nursery) -> Endpoint:
    for _ in range(5):  # somebody may take a port before the server does
        ports = await free_ports(2)
        with contextlib.suppress(OSError):
            await nursery.start(serve_stun, [HERE, OTHER], ports)
            return HERE, ports[0]
    pytest.skip("there is no second loopback address here")


async def test_a_server_says_where_it_sees_us() -> None:
    async with stun_server() as server:
        client = StunClient()
        answer = await client.ask(server)
        assert answer.mapped == (HERE, answer.local[1])
        assert answer.other == (OTHER, answer.other[1] if answer.other else 0)
        async with client.tcp(server) as answer:
            assert answer.mapped == answer.local


async def test_it_answers_from_elsewhere_if_asked_to() -> None:
    async with stun_server() as server, StunClient().udp((HERE, 0)) as port:
        answer = await port.ask(server, change_ip=True, change_port=True)
        assert answer.sender == answer.other != server
        answer = await port.ask(server, change_port=True)
        assert answer.sender[0] == HERE and answer.sender[1] != server[1]


async def test_no_nat_on_the_loopback() -> None:
    async with stun_server() as server:
        nat = nat_of(await probe([server]))
    assert nat.udp.type == "open"
    assert (nat.tcp.mapping, nat.tcp.translates) == (Dependence.NOTHING, False)


async def test_nobody_answers() -> None:
    (port,) = await free_ports(1)
    with pytest.raises(PeerTimeout):
        await StunClient(rto=0.05).ask((HERE, port), timeout=0.2)
    with pytest.raises(OSError):
        async with StunClient().tcp((HERE, port)):
            pass


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01\x01\xff\xfc\x21\x12\xa4\x42" * 4]
)
async def test_what_is_no_stun_server(answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(100)
        if answer:
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HERE)
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        end = HERE, listeners[0].socket.getsockname()[1]
        expected = ProtocolError if answer else StunError
        with pytest.raises(expected):
            async with StunClient().tcp(end, timeout=5):
                pass
        nursery.cancel_scope.cancel()


class Impostor:
    """A UDP server that answers as a test wants."""

    def __init__(self, *answers: Callable[[Message], Message | bytes]) -> None:
        self.answers = answers
        self.transactions: list[bytes] = []

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        with trio.socket.socket(type=socket.SOCK_DGRAM) as served:
            await served.bind((HERE, 0))
            task_status.started(served.getsockname())
            while True:
                data, sender = await served.recvfrom(2048)
                request = decode(data)
                self.transactions.append(request.transaction)
                for make in self.answers:
                    answer = make(request)
                    await served.sendto(
                        answer if isinstance(answer, bytes) else encode(answer), sender
                    )


async def test_answers_of_others_are_discarded() -> None:
    """Wrong transaction ids, requests, and what another endpoint sends."""
    seen = HERE, 1
    impostor = Impostor(
        lambda request: Message(Kind.SUCCESS, bytes(12), mapped=seen),
        lambda request: Message(Kind.REQUEST, request.transaction, mapped=seen),
        lambda request: Message(Kind.SUCCESS, request.transaction, mapped=(HERE, 2)),
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(impostor.serve)
        assert (await StunClient().ask(server)).mapped == (HERE, 2)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_asks_for_too_much() -> None:
    """It has an attribute that we would have to understand."""

    def demanding(request: Message) -> bytes:
        good = encode(Message(Kind.SUCCESS, request.transaction, mapped=(HERE, 2)))
        length = int.from_bytes(good[2:4], "big") + 4
        return good[:2] + length.to_bytes(2, "big") + good[4:] + b"\x00\xff\x00\x00"

    async with trio.open_nursery() as nursery:
        server = await nursery.start(Impostor(demanding).serve)
        with pytest.raises(StunError, match="more than we understand"):
            await StunClient().ask(server)
        nursery.cancel_scope.cancel()


async def test_an_error_is_told() -> None:
    impostor = Impostor(
        lambda request: Message(Kind.ERROR, request.transaction, error=(401, "Unauthorized"))
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(impostor.serve)
        with pytest.raises(StunError, match="401 Unauthorized") as caught:
            await StunClient().ask(server)
        assert caught.value.code == 401
        nursery.cancel_scope.cancel()


async def test_transaction_ids_differ() -> None:
    impostor = Impostor(
        lambda request: Message(Kind.SUCCESS, request.transaction, mapped=(HERE, 2))
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(impostor.serve)
        client = StunClient()
        assert isinstance(client.rng, random.SystemRandom)
        for _ in range(5):
            await client.ask(server)
        nursery.cancel_scope.cancel()
    assert len(set(impostor.transactions)) == 5
