"""Asks STUN servers, over UDP and TCP (RFC 8489 section 6)."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from carrick.errors import PeerTimeout, ProtocolError
from carrick.interfaces import ByteSocket, DatagramSocket, Endpoint, SocketOpener
from carrick.protocols.stun.messages import (
    HEADER_SIZE,
    TRANSACTION_SIZE,
    Kind,
    Message,
    decode,
    encode,
    size_of,
)
from carrick.sockets import current_sockets

__all__ = ["PORT", "Answer", "StunClient", "StunError", "UdpPort", "UdpQuery"]

PORT = 3478  # RFC 8489 section 8.1
RTO = 0.5  # s to the first retransmission, then twice as long each time (section 6.2.1)
TIMEOUT = 5.0  # s; the 39.5 s of section 6.2.1 are too long for anybody who waits
MAX_DATAGRAM = 65535  # bytes that a train may have


class StunError(ProtocolError):
    """The server answered with an error, or with something that we cannot use.

    Attributes:
        code: the STUN error code, 300 to 699; 0 if it sent none.
    """

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Attributes:
        local: our endpoint; the host is 0.0.0.0 or :: if the socket is bound to all.
        server: whom we asked.
        sender: who answered; another endpoint than `server` if that was asked for.
        mapped: where the server saw us.
        other: its other address and port, if it has them (RFC 5780).
        rtt: seconds from the first request.
    """

    local: Endpoint
    server: Endpoint
    sender: Endpoint
    mapped: Endpoint
    other: Endpoint | None
    rtt: float


class StunClient:
    """Asks STUN servers where they see us.

    Args:
        sockets: opens sockets; None takes those of the context that makes the client.
        rng: makes transaction ids, which strangers must not guess.
        rto: seconds to the first retransmission over UDP.
    """

    def __init__(
        self,
        *,
        sockets: SocketOpener | None = None,
        rng: random.Random | None = None,
        rto: float = RTO,
    ) -> None:
        self.sockets = sockets or current_sockets()
        self.rng = rng or random.SystemRandom()
        self.rto = rto

    async def ask(self, server: Endpoint, *, timeout: float = TIMEOUT) -> Answer:
        """Where `server` sees a new UDP socket of ours.

        Raises:
            PeerTimeout: no answer within `timeout` seconds.
            StunError, OSError.
        """
        async with self.udp((_any(server), 0)) as port:
            return await port.ask(server, timeout=timeout)

    @asynccontextmanager
    async def udp(self, local: Endpoint) -> AsyncGenerator[UdpPort]:
        """A UDP port to ask several servers from.

        Raises:
            OSError: as the operating system says.
        """
        failure: Exception | None = None  # of the block: it comes out as it is, not in a group
        async with trio.open_nursery() as nursery:
            try:
                port = await self.open_udp(local, nursery)
                try:
                    yield port
                finally:
                    port.close()
            except Exception as error:
                failure = error
        if failure is not None:
            raise failure

    async def open_udp(self, local: Endpoint, nursery: trio.Nursery) -> UdpPort:
        """The same, whose receiving runs in `nursery` until it is closed.

        Raises:
            OSError: as the operating system says.
        """
        port = UdpPort(self, await self.sockets.open_udp(local))
        nursery.start_soon(port.receive)
        return port

    @asynccontextmanager
    async def tcp(
        self, server: Endpoint, *, local: Endpoint | None = None, timeout: float = TIMEOUT
    ) -> AsyncGenerator[Answer]:
        """Where `server` sees a new TCP connection of ours, which stays open inside the block.

        Args:
            local: connect from there; a listener may have the same port.

        Raises:
            PeerTimeout: no answer within `timeout` seconds.
            StunError, ProtocolError, OSError.
        """
        started = trio.current_time()
        socket: ByteSocket | None = None
        answer: Answer | None = None
        try:
            with trio.move_on_after(timeout):
                socket = await self.sockets.connect_tcp(server, local=local)
                request = Message(Kind.REQUEST, self.new_transaction())
                await _send_all(socket, encode(request))
                message = await _receive_message(socket)
                if message.transaction != request.transaction:
                    raise StunError("an answer to another request")
                rtt = trio.current_time() - started
                answer = _answer(message, local=socket.local, server=server, sender=server, rtt=rtt)
            if answer is None:
                raise PeerTimeout(f"{server[0]} did not answer within {timeout:g} s")
            yield answer
        finally:
            if socket is not None:
                socket.close()

    def new_transaction(self) -> bytes:
        return self.rng.randbytes(TRANSACTION_SIZE)


class UdpPort:
    """One UDP port of ours: several questions may be under way."""

    def __init__(self, client: StunClient, socket: DatagramSocket) -> None:
        self._client = client
        self._socket = socket
        self._waiting: dict[bytes, UdpQuery] = {}
        self._expected: dict[bytes, trio.Event] = {}

    @property
    def local(self) -> Endpoint:
        return self._socket.local

    async def ask(
        self,
        server: Endpoint,
        *,
        change_ip: bool = False,
        change_port: bool = False,
        timeout: float = TIMEOUT,
    ) -> Answer:
        """Where `server` sees this port.

        Args:
            change_ip: have it answer from its other address.
            change_port: have it answer from its other port.

        Raises:
            PeerTimeout: no answer within `timeout` seconds.
            StunError: it will not, or answered from the wrong endpoint.
        """
        query = self.query(server, change_ip=change_ip, change_port=change_port)
        return await query.answer(timeout)

    def query(
        self, server: Endpoint, *, change_ip: bool = False, change_port: bool = False
    ) -> UdpQuery:
        """Send a request at once; await its `answer`."""
        request = Message(
            Kind.REQUEST,
            self._client.new_transaction(),
            change_ip=change_ip,
            change_port=change_port,
        )
        return UdpQuery(self, server, request, self._client.rto)

    def knock(self, remote: Endpoint, transaction: bytes) -> None:
        """Send something to another port of ours, which `expect`s it."""
        self._send(encode(Message(Kind.INDICATION, transaction)), remote)

    def expect(self, transaction: bytes) -> trio.Event:
        """Set when a knock with this transaction id has come."""
        return self._expected.setdefault(transaction, trio.Event())

    def close(self) -> None:
        self._socket.close()

    async def receive(self) -> None:
        """Take what comes, until the port is closed."""
        buffer = memoryview(bytearray(MAX_DATAGRAM))
        try:
            while True:
                train = self._socket.recv_into(buffer)
                if train is None:
                    await self._socket.wait_readable()
                    continue
                size, segment, sender = train
                for at in range(0, size, max(segment, 1)):
                    self._take(bytes(buffer[at : min(at + segment, size)]), sender)
        except (trio.ClosedResourceError, OSError):
            return  # closed; an OSError ends the answers, and the deadlines of the questions speak

    def _take(self, data: bytes, sender: Endpoint) -> None:
        try:
            message = decode(data)
        except ProtocolError:
            return  # anybody can send anything here
        if message.kind is Kind.INDICATION and message.transaction in self._expected:
            self._expected[message.transaction].set()
        elif message.transaction in self._waiting:
            self._waiting[message.transaction].take(message, sender)

    def _send(self, data: bytes, remote: Endpoint) -> None:
        self._socket.send(data, len(data), remote)  # what finds no room is lost, as on the way


class UdpQuery:
    """A request on its way."""

    def __init__(self, port: UdpPort, server: Endpoint, request: Message, rto: float) -> None:
        self._port = port
        self._server = server
        self._request = request
        self._rto = rto
        self._started = trio.current_time()
        self._answered = trio.Event()
        self._answer: tuple[Message, Endpoint, float] | None = None
        port._waiting[request.transaction] = self
        port._send(encode(request), server)

    def take(self, message: Message, sender: Endpoint) -> None:
        """A message with our transaction id came."""
        request = self._request
        moved = request.change_ip or request.change_port
        expected = moved or _same(sender, self._server)
        if expected and message.kind in (Kind.SUCCESS, Kind.ERROR) and self._answer is None:
            self._answer = message, sender, trio.current_time() - self._started
            self._answered.set()

    async def answer(self, timeout: float = TIMEOUT) -> Answer:
        """Wait, and send the request again now and then.

        Args:
            timeout: seconds from the first request.

        Raises:
            PeerTimeout, StunError.
        """
        pause = self._rto
        try:
            with trio.move_on_at(self._started + timeout):
                while self._answer is None:
                    with trio.move_on_after(pause):
                        await self._answered.wait()
                        break
                    pause *= 2
                    self._port._send(encode(self._request), self._server)
        finally:
            self._port._waiting.pop(self._request.transaction, None)
        if self._answer is None:
            raise PeerTimeout(f"{self._server[0]} did not answer within {timeout:g} s")
        message, sender, rtt = self._answer
        request, server = self._request, self._server
        if message.kind is Kind.SUCCESS and (
            (request.change_ip and _same((sender[0], server[1]), server))
            or (request.change_port and sender[1] == server[1])
        ):
            raise StunError("the server answered from the endpoint that it was not to use")
        return _answer(message, local=self._port.local, server=server, sender=sender, rtt=rtt)


def _answer(
    message: Message, *, local: Endpoint, server: Endpoint, sender: Endpoint, rtt: float
) -> Answer:
    if message.error is not None:
        code, reason = message.error
        raise StunError(f"the server says {code} {reason}".rstrip(), code=code)
    if message.kind is not Kind.SUCCESS or message.mapped is None or message.unknown:
        raise StunError("an answer without our address, or with more than we understand")
    if (":" in message.mapped[0]) is not (":" in server[0]):
        raise StunError("the server sees us at an address of the other IP version")
    return Answer(local, server, sender, message.mapped, message.other, rtt)


async def _send_all(socket: ByteSocket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        sent = socket.send(rest)
        if sent is None:
            await socket.wait_writable()
        else:
            rest = rest[sent:]


async def _receive_message(socket: ByteSocket) -> Message:
    header = await _receive_exactly(socket, HEADER_SIZE)
    return decode(header + await _receive_exactly(socket, size_of(header) - HEADER_SIZE))


async def _receive_exactly(socket: ByteSocket, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    have = 0
    while have < size:
        received = socket.recv_into(buffer[have:])
        if received is None:
            await socket.wait_readable()
        elif received == 0:
            raise StunError("the server closed the connection instead of an answer")
        else:
            have += received
    return bytes(buffer)


def _any(server: Endpoint) -> str:
    return "::" if ":" in server[0] else "0.0.0.0"


def _same(one: Endpoint, other: Endpoint) -> bool:
    return one[1] == other[1] and _ip(one) == _ip(other)


def _ip(endpoint: Endpoint) -> object:
    return ipaddress.ip_address(endpoint[0].partition("%")[0])
