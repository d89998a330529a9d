"""The py-libp2p host that offers exactly one transport, security and muxer."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import ifaddr
from certificate import server_context
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.host.ping import handle_ping
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.perf import PerfService
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

ECHO = "/carrick/benchmarks/echo/1.0.0"
BLOCK = 65536
MANY = 20_000  # more than any test asks for; py-libp2p ends at 250 connections by default

SUFFIXES = {
    "tcp": "/tcp/0",
    "ws": "/tcp/0/ws",
    "wss": "/tcp/0/wss",
    "quic-v1": "/udp/0/quic-v1",
}
MUXERS = {
    "yamux": {TProtocol(YAMUX): Yamux},
    "mplex": {TProtocol(MPLEX_PROTOCOL_ID): Mplex},
}
SECURITY = {"noise", "tls"}


class Unsupported(Exception):
    """The library, or this peer, does not offer what was asked for."""


def listen_address(transport: str, host: str) -> Multiaddr:
    if transport not in SUFFIXES:
        raise Unsupported(f"listening on {transport}")
    family = "ip6" if ":" in host else "ip4"
    return Multiaddr(f"/{family}/{host}{SUFFIXES[transport]}")


def resource_manager() -> ResourceManager:
    """One that allows many connections and streams, as fast as they come."""
    return ResourceManager(
        limits=ResourceLimits(max_connections=MANY, max_memory_mb=8192, max_streams=10 * MANY),
        connection_limits=ConnectionLimits(),
        enable_rate_limiting=False,
    )


async def serve_echo(stream: INetStream) -> None:
    """Send back whatever comes."""
    try:
        while data := await stream.read(BLOCK):
            await stream.write(data)
    except StreamEOF:
        pass
    await stream.close()


@asynccontextmanager
async def open_host(
    transport: str, security: str, muxer: str, listen: Multiaddr | None = None
) -> AsyncIterator[IHost]:
    if transport not in SUFFIXES:
        raise Unsupported(f"transport {transport}")
    if security not in SECURITY:
        raise Unsupported(f"security {security}")
    if muxer not in MUXERS:
        raise Unsupported(f"muxer {muxer}")
    key_pair = create_new_key_pair()
    if security == "noise":
        noise_key = create_noise_key_pair().private_key
        sec_opt = {TProtocol(NOISE): NoiseTransport(key_pair, noise_privkey=noise_key)}
    else:
        sec_opt = {TProtocol(TLS): TLSTransport(key_pair)}
    any_certificate = ssl.create_default_context()
    any_certificate.check_hostname = False
    any_certificate.verify_mode = ssl.CERT_NONE
    host = new_host(
        key_pair=key_pair,
        sec_opt=sec_opt,
        muxer_opt=MUXERS[muxer],
        listen_addrs=[listen] if listen else None,
        enable_tcp=transport == "tcp",
        enable_websocket=transport in ("ws", "wss"),
        enable_quic=transport == "quic-v1",
        tls_client_config=any_certificate if transport == "wss" else None,
        tls_server_config=server_context() if transport == "wss" and listen else None,
        connection_config=ConnectionConfig(max_connections=MANY, high_watermark=MANY),
        resource_manager=resource_manager(),
    )
    if listen is None:
        # A dialer asks once, itself: js-libp2p answers one identify stream at a time.
        host._schedule_identify = lambda peer_id, *, reason: None  # type: ignore[attr-defined]
    async with host.run(listen_addrs=[listen] if listen else []):
        host.set_stream_handler(PING, handle_ping)
        host.set_stream_handler(TProtocol(ECHO), serve_echo)
        await PerfService(host).start()
        yield host


def addresses(host: IHost) -> list[str]:
    """What others can dial, wildcards replaced by the addresses of the interfaces."""
    found = []
    for address in host.get_transport_addrs():
        text = str(address).split("/p2p/")[0]
        if text.startswith("/ip4/0.0.0.0/"):
            ips = [ip.ip for a in ifaddr.get_adapters() for ip in a.ips if ip.is_IPv4]
            found += [text.replace("0.0.0.0", ip, 1) for ip in ips]
        else:
            found.append(text)
    return [f"{text}/p2p/{host.get_id()}" for text in found]
