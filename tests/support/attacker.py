"""A hostile peer: raw bytes, multistream, Noise, TLS and yamux, each level by hand.

Nothing happens by itself: what is not sent is missing, what is sent wrong stays wrong. `Wire` is a
bare byte stream, `Channel` an authenticated one, `Frames` speaks yamux over it.
"""

from __future__ import annotations

from typing import NamedTuple

import trio
from multiaddr import Multiaddr

from carrick.addressing import parts, split_peer, tcp_endpoint
from carrick.identity import PrivateKey
from carrick.interfaces import Buffer, ByteSocket, Handshake, Records, Role
from carrick.sockets import KernelSockets
from carrick.transports.memory.pipe import memory_pair
from carrick.transports.memory.transport import _current
from carrick.transports.multistream import HEADER, Dialer, encode_message
from carrick.transports.muxers.yamux.frame import (
    ACK,
    DATA,
    GO_AWAY,
    HEADER_SIZE,
    PING,
    SYN,
    pack,
)
from carrick.transports.muxers.yamux.frame import HEADER as FRAME
from carrick.transports.security.noise import Noise
from carrick.transports.security.tls import Tls

YAMUX = "/yamux/1.0.0"
SECURITIES = {"noise": Noise, "tls": Tls}


def proposal(protocol: str) -> bytes:
    """The multistream header and one proposal."""
    return HEADER + encode_message(protocol)


class Wire:
    """A byte stream to a node."""

    def __init__(self, socket: ByteSocket) -> None:
        self.socket = socket

    @classmethod
    async def connect(cls, address: Multiaddr, *, local: str | None = None) -> Wire:
        """
        Args:
            local: the IP address to come from.
        """
        bare, _ = split_peer(address)
        endpoint = tcp_endpoint(bare)
        if endpoint is not None:
            source = None if local is None else (local, 0)
            return cls(await KernelSockets().connect_tcp(endpoint, local=source))
        await trio.lowlevel.checkpoint()
        number = int(parts(bare)[0][1] or 0)
        ours, theirs = memory_pair(("memory", next(_current().numbers)), ("memory", number))
        _current().listeners[number].deliver(theirs)
        return cls(ours)

    async def send(self, data: Buffer) -> bool:
        """Send all of it; False once the node has ended the connection."""
        view = memoryview(data)
        await trio.lowlevel.checkpoint()
        try:
            while view:
                sent = self.socket.send(view)
                if sent is None:
                    await self.socket.wait_writable()
                else:
                    view = view[sent:]
        except OSError:
            return False
        return True

    async def receive(self, max_bytes: int = 1 << 16) -> bytes:
        """What comes next; empty once the node has ended the connection."""
        buffer = bytearray(max_bytes)
        await trio.lowlevel.checkpoint()
        try:
            while (size := self.socket.recv_into(memoryview(buffer))) is None:
                await self.socket.wait_readable()
        except OSError:
            return b""
        return bytes(buffer[:size])

    async def ended(self, within: float = 5.0) -> bytes:
        """Read until the node ends the connection; what it said before.

        Raises:
            trio.TooSlowError: it does not, within that many seconds.
        """
        received = bytearray()
        with trio.fail_after(within):
            while data := await self.receive():
                received += data
        return bytes(received)

    async def negotiate(self, protocol: str) -> bytes:
        """Propose `protocol` and wait until the node takes it; the bytes behind its answer."""
        dialer = Dialer([protocol])
        await self.send(dialer.take_output())
        while dialer.selected is None:
            data = await self.receive()
            assert data, f"the node did not take {protocol}"
            dialer.receive(data)
        return dialer.rest

    def fin(self) -> None:
        self.socket.close()

    def rst(self) -> None:
        self.socket.abort()


class Channel:
    """An authenticated connection: plaintext in and out, a record each."""

    def __init__(self, wire: Wire, records: Records, received: bytes = b"") -> None:
        self.wire = wire
        self.records = records
        self._sealed = received

    @classmethod
    async def open(
        cls, wire: Wire, security: str = "noise", key: PrivateKey | None = None
    ) -> Channel:
        """Do what an honest dialer does, up to the point where yamux begins."""
        secure = SECURITIES[security](key or PrivateKey.generate())
        received = await wire.negotiate(secure.id)
        handshake = secure.handshake(Role.CLIENT, expected_peer=None, muxers=(YAMUX,))
        return await cls.shake_hands(wire, handshake, received)

    @classmethod
    async def shake_hands(cls, wire: Wire, handshake: Handshake, received: bytes = b"") -> Channel:
        while handshake.session is None:
            if received:
                handshake.receive(received)
            if output := handshake.take_output():
                await wire.send(output)
            if handshake.session is None:
                received = await wire.receive()
                assert received, "the node refused the handshake"
        assert handshake.session.muxer == YAMUX
        return cls(wire, handshake.session.records, handshake.session.received)

    def seal(self, plain: Buffer) -> bytes:
        """As many records as it takes; one for nothing."""
        sealed = bytearray()
        view = memoryview(plain)
        for at in range(0, max(1, len(view)), self.records.max_plain):
            piece = view[at : at + self.records.max_plain]
            record = bytearray(len(piece) + self.records.overhead)
            sealed += record[: self.records.seal(record, 0, (piece,))]
        return bytes(sealed)

    async def send(self, plain: Buffer) -> bool:
        return await self.wire.send(self.seal(plain))

    async def receive(self) -> bytes:
        """The plaintext that comes next; empty once the node has ended the connection."""
        plain: list[bytes] = []
        while True:
            view = memoryview(self._sealed)
            rest = self.records.open_all(view, 0, len(view), plain.append)
            self._sealed = bytes(view[rest:])
            if plain:
                return b"".join(plain)
            data = await self.wire.receive()
            if not data:
                return b""
            self._sealed += data


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    length: int
    body: bytes


def opening(stream: int, protocol: str, more: bytes = b"") -> bytes:
    """The frame that opens a stream and proposes `protocol`, with its first bytes."""
    return data(stream, proposal(protocol) + more, SYN)


def data(stream: int, body: bytes, flags: int = 0) -> bytes:
    return pack(DATA, flags, stream, len(body)) + body


class Frames:
    """Yamux frames over a channel. Opens no stream by itself, and serves none."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._buffer = bytearray()
        self.goaway: int | None = None
        """The code with which the node said goodbye."""

    @classmethod
    async def open(
        cls, address: Multiaddr, security: str = "noise", key: PrivateKey | None = None
    ) -> Frames:
        wire = await Wire.connect(address)
        return cls(await Channel.open(wire, security, key))

    async def send(self, *frames: Buffer) -> bool:
        return await self.channel.send(b"".join(frames))

    async def flood(self, frame: Buffer, times: int, *, read: bool = True) -> bool:
        """Send `frame` so often, some hundred at a time; False once the node has ended it.

        Args:
            read: also take in what the node answers, so that it can go on.
        """
        batch = bytes(frame) * max(1, min(times, 4096 // max(1, len(frame))))
        async with trio.open_nursery() as nursery:
            if read:
                nursery.start_soon(self._drain)
            alive = True
            for _ in range(0, times * len(frame), len(batch)):
                if not await self.send(batch):
                    alive = False
                    break
            nursery.cancel_scope.cancel()
        return alive

    async def _drain(self) -> None:
        while await self.next() is not None:
            pass

    async def next(self) -> Frame | None:
        """The node's next frame, None once it has ended the connection. Answers pings."""
        while True:
            if (frame := self._cut()) is not None:
                if frame.kind == GO_AWAY:
                    self.goaway = frame.length
                if frame.kind == PING and frame.flags == SYN:
                    await self.send(pack(PING, ACK, 0, frame.length))
                return frame
            plain = await self.channel.receive()
            if not plain:
                return None
            self._buffer += plain

    def _cut(self) -> Frame | None:
        if len(self._buffer) < HEADER_SIZE:
            return None
        kind, flags, stream, length = FRAME.unpack_from(self._buffer)
        end = HEADER_SIZE + (length if kind == DATA else 0)
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[HEADER_SIZE:end])
        del self._buffer[:end]
        return Frame(kind, flags, stream, length, body)

    async def frame_for(self, stream: int, *, flags: int = 0, within: float = 5.0) -> Frame:
        """The node's next frame for `stream` that has all of `flags`."""
        with trio.fail_after(within):
            while (frame := await self.next()) is not None:
                if frame.kind < PING and frame.stream == stream and frame.flags & flags == flags:
                    return frame
        raise AssertionError("the node ended the connection")

    async def read(self, stream: int, size: int, within: float = 5.0) -> bytes:
        """The next bytes that the node sends on `stream`: `size` or more."""
        received = b""
        while len(received) < size:
            received += (await self.frame_for(stream, within=within)).body
        return received

    async def ended(self, within: float = 5.0) -> int | None:
        """Read until the node ends the connection; the code of its GoAway.

        Raises:
            trio.TooSlowError: it does not, within that many seconds.
        """
        with trio.fail_after(within):
            await self._drain()
        return self.goaway
