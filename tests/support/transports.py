"""Pairs of connections over every transport × security × muxer, for the conformance suite.

A new transport joins by an entry in `STACKS` (and, for a new kind of address, in `LISTEN_ON`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from multiaddr import Multiaddr

from carrick.addressing import parse_address
from carrick.identity import PrivateKey
from carrick.interfaces import Listener, MuxedConnection, Security, Transport
from carrick.transports.bytestream import Upgrader
from carrick.transports.memory import MemoryTransport
from carrick.transports.muxers.mplex import Mplex, MplexConfig
from carrick.transports.muxers.yamux import Yamux, YamuxConfig
from carrick.transports.quic import EndpointPool, EngineSettings, QuicTransport
from carrick.transports.security.noise import Noise
from carrick.transports.security.tls import Tls
from carrick.transports.tcp import TcpTransport
from carrick.transports.websocket import WebSocketTransport
from carrick.transports.webtransport import WebTransportTransport
from tests.support.plaintext import Plaintext
from tests.support.web import certificate_files

MIB = 1 << 20

LISTEN_ON = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "tcp6": "/ip6/::1/tcp/0",
    "memory": "/memory/0",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
    "quic": "/ip4/127.0.0.1/udp/0/quic-v1",
    "quic6": "/ip6/::1/udp/0/quic-v1",
    "webtransport": "/ip4/127.0.0.1/udp/0/quic-v1/webtransport",
}
SECURITIES: Mapping[str, Callable[[PrivateKey], Security]] = {
    "noise": Noise,
    "tls": Tls,
    "plaintext": Plaintext,
}
MANY_STREAMS = YamuxConfig(max_streams=8192, max_inbound=4096, max_backlog=4096)
MANY_QUIC_STREAMS = EngineSettings(max_streams=4096)
MANY_MPLEX_STREAMS = MplexConfig(max_streams=8192, max_inbound=4096, max_backlog=4096)
MUXERS = {
    Yamux.id: lambda role, budget, now: Yamux(role, budget=budget, config=MANY_STREAMS, now=now),
    Mplex.id: lambda role, budget, now: Mplex(role, config=MANY_MPLEX_STREAMS, now=now),
}


@dataclass(frozen=True)
class Stack:
    """A combination that the conformance suite runs on."""

    transport: str
    security: str
    muxer: str

    def __str__(self) -> str:
        if self.is_quic:
            return self.transport
        return f"{self.transport}-{self.security}-{self.muxer}"

    @property
    def is_quic(self) -> bool:
        return self.muxer == "quic"

    @property
    def has_flow_control(self) -> bool:
        return self.muxer != "mplex"

    @property
    def has_error_codes(self) -> bool:
        return self.muxer != "mplex"

    @property
    def initial_window(self) -> int:
        """Bytes that a stream takes before its peer reads."""
        return MANY_QUIC_STREAMS.stream_window if self.is_quic else 256 * 1024

    @property
    def stream_header(self) -> int:
        """Of these, what the opener's own header takes."""
        return 3 if self.transport == "webtransport" else 0

    def make(self, key: PrivateKey) -> Transport:
        if self.transport == "webtransport":
            return WebTransportTransport(key, pool=EndpointPool(MANY_QUIC_STREAMS))
        if self.is_quic:
            return QuicTransport(key, pool=EndpointPool(MANY_QUIC_STREAMS))
        muxer_id = {"yamux": Yamux.id, "mplex": Mplex.id}[self.muxer]
        upgrader = Upgrader([SECURITIES[self.security](key)], {muxer_id: MUXERS[muxer_id]})
        if self.transport == "memory":
            return MemoryTransport(upgrader)
        if self.transport == "ws":
            return WebSocketTransport(upgrader)
        if self.transport == "wss":
            certificate, secret = certificate_files("127.0.0.1")
            return WebSocketTransport(
                upgrader, certificate=certificate, key=secret, trust=certificate
            )
        return TcpTransport(upgrader)

    @property
    def listen_on(self) -> Multiaddr:
        return parse_address(LISTEN_ON[self.transport])


STACKS = [
    Stack(transport, security, muxer)
    for transport in ("tcp", "memory", "ws")
    for security in ("noise", "tls")
    for muxer in ("yamux", "mplex")
] + [
    Stack("memory", "plaintext", "yamux"),
    Stack("tcp6", "noise", "yamux"),
    Stack("wss", "noise", "yamux"),
    Stack("wss", "tls", "mplex"),
    Stack("quic", "tls", "quic"),
    Stack("quic6", "tls", "quic"),
    Stack("webtransport", "noise", "quic"),
]


class Unlimited:
    """A memory budget without a bound, that counts."""

    def __init__(self) -> None:
        self.reserved = 0

    def try_reserve(self, size: int) -> bool:
        self.reserved += size
        return True

    def release(self, size: int) -> None:
        self.reserved -= size


@dataclass
class Pair:
    """Two connected sides, both running."""

    dialer: MuxedConnection
    listener: MuxedConnection
    dialer_key: PrivateKey
    listener_key: PrivateKey
    dialer_transport: Transport
    listening: Listener


async def connect(stack: Stack, nursery: trio.Nursery) -> Pair:
    """Two fresh sides over `stack`, connected and running in `nursery`."""
    dialer_key, listener_key = PrivateKey.generate(), PrivateKey.generate()
    dialing, listening = stack.make(dialer_key), stack.make(listener_key)
    listener = await listening.listen(stack.listen_on)
    accepted: list[MuxedConnection] = []

    async def accept() -> None:
        inbound = await listener.accept()
        accepted.append(await inbound.upgrade(Unlimited()))

    with trio.fail_after(30):
        async with trio.open_nursery() as connecting:
            connecting.start_soon(accept)
            dialed = await dialing.dial(listener.address, listener_key.peer_id, budget=Unlimited())
            nursery.start_soon(dialed.run)  # it may have to send the end of the handshake
    nursery.start_soon(accepted[0].run)
    return Pair(dialed, accepted[0], dialer_key, listener_key, dialing, listener)


@asynccontextmanager
async def connected(stack: Stack) -> AsyncIterator[Pair]:
    """A running pair over `stack`; everything is closed at the end."""
    async with trio.open_nursery() as nursery:
        pair = await connect(stack, nursery)
        try:
            yield pair
        finally:
            pair.listening.close()
            pair.dialer.abort()
            pair.listener.abort()
