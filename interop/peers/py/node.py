"""The py-libp2p host that offers exactly one transport, security and muxer."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import ifaddr
from libp2p import new_host
from libp2p.abc import IHost
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.host.ping import handle_ping
from libp2p.perf import PerfService
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

SUFFIXES = {"tcp": "/tcp/0", "ws": "/tcp/0/ws", "quic-v1": "/udp/0/quic-v1"}
DIAL_ONLY = {"wss"}
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


@asynccontextmanager
async def open_host(
    transport: str, security: str, muxer: str, listen: Multiaddr | None = None
) -> AsyncIterator[IHost]:
    if transport not in SUFFIXES.keys() | DIAL_ONLY:
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
    )
    if listen is None:
        # A dialer asks once, itself: js-libp2p answers one identify stream at a time.
        host._schedule_identify = lambda peer_id, *, reason: None  # type: ignore[attr-defined]
    async with host.run(listen_addrs=[listen] if listen else []):
        host.set_stream_handler(PING, handle_ping)
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
