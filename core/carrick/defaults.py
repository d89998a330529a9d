"""The parts that a host is made of when nothing else is said, by name.

Each entry says where a part is; it is imported only when a host that uses it is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from carrick.errors import CarrickError
from carrick.lazy import LazySecurity, LazyTransport

if TYPE_CHECKING:
    import random

    from carrick.host import Service
    from carrick.identity import PrivateKey
    from carrick.interfaces import Budget, Muxer, Role, Security, SocketOpener, Transport
    from carrick.network import Limits
    from carrick.transports.bytestream import MuxerFactory, Upgrader
    from carrick.transports.quic import EndpointPool

__all__ = [
    "MUXERS",
    "PUBLIC_ONLY",
    "SECURITIES",
    "TRANSPORTS",
    "HostParts",
    "default_services",
    "muxer_by_name",
    "security_by_name",
    "transport_by_name",
]

TRANSPORTS = ("quic", "tcp", "ws", "webtransport")
PUBLIC_ONLY = ("quic", "webtransport")
"""Transports that no pre-shared key protects: left out of private networks."""
SECURITIES = ("noise", "tls")
MUXERS = ("yamux",)


@dataclass
class HostParts:
    """What the transports of one host are made of.

    Args:
        sockets: opens sockets.
        rng: for timing, not for secrets.
    """

    upgrader: Upgrader
    key: PrivateKey
    limits: Limits
    sockets: SocketOpener
    rng: random.Random

    @cached_property
    def endpoints(self) -> EndpointPool:
        """The UDP endpoints that all transports over QUIC share."""
        from carrick.transports.quic import EndpointPool, EngineSettings

        inbound = min(EngineSettings().max_streams, self.limits.streams_inbound_per_connection)
        return EndpointPool(EngineSettings(max_streams=inbound), sockets=self.sockets)


def transport_by_name(name: str, parts: HostParts) -> Transport:
    """`tcp`, `quic`, `webtransport`, `memory`, or `ws`, which `wss` and `websocket` name too."""
    if name == "tcp":
        from carrick.transports.tcp import TcpTransport

        return TcpTransport(parts.upgrader, sockets=parts.sockets, rng=parts.rng)
    if name == "memory":
        from carrick.transports.memory import MemoryTransport

        return MemoryTransport(parts.upgrader)
    if name in ("ws", "wss", "websocket"):
        return LazyTransport("ws", "wss", make=lambda: _websocket(parts))
    if name == "quic":
        return LazyTransport("quic-v1", make=lambda: _quic(parts))
    if name == "webtransport":
        return LazyTransport("webtransport", make=lambda: _webtransport(parts))
    raise _unknown("transport", name, ("tcp", "quic", "webtransport", "memory", "ws"))


def _websocket(parts: HostParts) -> Transport:
    from carrick.transports.websocket import WebSocketTransport

    return WebSocketTransport(parts.upgrader, sockets=parts.sockets)


def _quic(parts: HostParts) -> Transport:
    from carrick.transports.quic import QuicTransport

    return QuicTransport(parts.key, pool=parts.endpoints, rng=parts.rng)


def _webtransport(parts: HostParts) -> Transport:
    from carrick.transports.webtransport import WebTransportTransport

    return WebTransportTransport(parts.key, pool=parts.endpoints)


def security_by_name(name: str, key: PrivateKey, keylog: Callable[[str], None] | None) -> Security:
    """`noise` or `tls`."""
    if name == "noise":
        return LazySecurity("/noise", lambda: _noise(key, keylog))
    if name == "tls":
        return LazySecurity("/tls/1.0.0", lambda: _tls(key, keylog))
    raise _unknown("security protocol", name, ("noise", "tls"))


def _noise(key: PrivateKey, keylog: Callable[[str], None] | None) -> Security:
    from carrick.transports.security.noise import Noise

    return Noise(key, keylog=keylog)


def _tls(key: PrivateKey, keylog: Callable[[str], None] | None) -> Security:
    from carrick.transports.security.tls import Tls

    return Tls(key, keylog=keylog)


def muxer_by_name(
    name: str, *, max_streams: int, max_inbound: int, max_backlog: int
) -> tuple[str, MuxerFactory]:
    """`yamux` or `mplex`: the protocol id, and how to make one.

    Args:
        max_streams: of one connection, both directions together.
        max_inbound: of these, opened by the peer.
        max_backlog: of these, not accepted yet.
    """
    if name == "yamux":
        from carrick.transports.muxers.yamux import Yamux, YamuxConfig

        config = YamuxConfig(
            max_streams=max_streams, max_inbound=max_inbound, max_backlog=max_backlog
        )

        def make_yamux(role: Role, budget: Budget, now: float) -> Muxer:
            return Yamux(role, budget=budget, config=config, now=now)

        return Yamux.id, make_yamux
    if name == "mplex":
        from carrick.transports.muxers.mplex import Mplex, MplexConfig

        mplex_config = MplexConfig(
            max_streams=max_streams, max_inbound=max_inbound, max_backlog=max_backlog
        )

        def make_mplex(role: Role, budget: Budget, now: float) -> Muxer:
            return Mplex(role, config=mplex_config, now=now)

        return Mplex.id, make_mplex
    raise _unknown("muxer", name, ("yamux", "mplex"))


def default_services() -> list[Service]:
    """Identify, ping, AutoNAT, relays as a client (found and kept by AutoRelay), and DCUtR."""
    from carrick.protocols.autonat import AutoNat
    from carrick.protocols.dcutr import Dcutr
    from carrick.protocols.identify import Identify
    from carrick.protocols.ping import Ping
    from carrick.protocols.relay import AutoRelay, RelayClient

    return [Identify(), Ping(), AutoNat(), RelayClient(), AutoRelay(), Dcutr()]


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> CarrickError:
    return CarrickError(f"unknown {kind} {name!r}; there are {' and '.join(known)}")
