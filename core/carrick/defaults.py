"""The parts that a host is made of when nothing else is said, by name.

Each entry says where a part is; it is imported only when a host that uses it is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from carrick.errors import CarrickError

if TYPE_CHECKING:
    from carrick.host import Service
    from carrick.identity import PeerId, PrivateKey
    from carrick.interfaces import Budget, Handshake, Muxer, Role, Security, Transport
    from carrick.transports.bytestream import MuxerFactory, Upgrader

__all__ = [
    "MUXERS",
    "SECURITIES",
    "TRANSPORTS",
    "default_services",
    "muxer_by_name",
    "security_by_name",
    "transport_by_name",
]

TRANSPORTS = ("tcp",)
SECURITIES = ("noise", "tls")
MUXERS = ("yamux",)


def transport_by_name(name: str, upgrader: Upgrader) -> Transport:
    """`tcp` or `memory`."""
    if name == "tcp":
        from carrick.transports.tcp import TcpTransport

        return TcpTransport(upgrader)
    if name == "memory":
        from carrick.transports.memory import MemoryTransport

        return MemoryTransport(upgrader)
    raise _unknown("transport", name, ("tcp", "memory"))


def security_by_name(name: str, key: PrivateKey, keylog: Callable[[str], None] | None) -> Security:
    """`noise` or `tls`."""
    if name == "noise":
        from carrick.transports.security.noise import Noise

        return Noise(key, keylog=keylog)
    if name == "tls":
        return _LazyTls(key, keylog)
    raise _unknown("security protocol", name, ("noise", "tls"))


class _LazyTls:
    """TLS, imported when the first connection takes it: that needs some 50 ms, and few do."""

    id = "/tls/1.0.0"

    def __init__(self, key: PrivateKey, keylog: Callable[[str], None] | None) -> None:
        self._key = key
        self._keylog = keylog

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> Handshake:
        return self._tls.handshake(role, expected_peer=expected_peer, muxers=muxers)

    @cached_property
    def _tls(self) -> Security:
        from carrick.transports.security.tls import Tls

        return Tls(self._key, keylog=self._keylog)


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
    """Identify and ping."""
    from carrick.protocols.identify import Identify
    from carrick.protocols.ping import Ping

    return [Identify(), Ping()]


def _unknown(kind: str, name: str, known: tuple[str, ...]) -> CarrickError:
    return CarrickError(f"unknown {kind} {name!r}; there are {' and '.join(known)}")
