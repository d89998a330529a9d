"""The Carrick host of an app: exactly one transport, one security protocol and one muxer."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import trio
from multiaddr import Multiaddr

from carrick import CarrickError, HostBuilder
from carrick.addressing import Reach, reach, split_peer
from carrick.identity import PeerId
from carrick.transports.bytestream import Upgrader
from carrick.transports.websocket import WebSocketTransport, self_signed
from interop.apps.environment import STANDALONE, Settings, SettingsError
from interop.apps.resp import RedisError

__all__ = ["EXIT_UNSUPPORTED", "Unsupported", "main", "make_builder", "published", "wait_for_end"]

EXIT_FAILED = 1
EXIT_UNSUPPORTED = 2

_SUFFIXES = {
    "tcp": "/tcp/0",
    "ws": "/tcp/0/ws",
    "wss": "/tcp/0/wss",
    "quic-v1": "/udp/0/quic-v1",
    "webtransport": "/udp/0/quic-v1/webtransport",
}
_NAMES = {"quic-v1": "quic"}  # where ours are not those of the suites
_SECURITIES = ("noise", "tls")
_MUXERS = ("yamux", "mplex")


class Unsupported(Exception):
    """Carrick does not offer what was asked for."""


def make_builder(settings: Settings) -> HostBuilder:
    """A builder of the host that the test asks for.

    Raises:
        Unsupported: Carrick lacks the transport, security protocol or muxer.
    """
    transport, security, muxer = settings.transport, settings.security, settings.muxer
    if transport not in _SUFFIXES:
        raise Unsupported(f"transport {transport}")
    chosen = _web if transport == "wss" else _NAMES.get(transport, transport)
    builder = HostBuilder().transports(chosen)
    if transport not in STANDALONE:
        if security not in _SECURITIES:
            raise Unsupported(f"security {security}")
        if muxer not in _MUXERS:
            raise Unsupported(f"muxer {muxer}")
        builder = builder.security(security).muxers(muxer)
    if settings.is_dialer:
        return builder
    family = "ip6" if ":" in settings.listen_ip else "ip4"
    return builder.listen(f"/{family}/{settings.listen_ip}{_SUFFIXES[transport]}")


def _web(upgrader: Upgrader) -> WebSocketTransport:
    """As the suites want it: a certificate that nobody signed, and none is checked."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.pem"
        file.write_bytes(b"".join(self_signed("localhost")))
        return WebSocketTransport(upgrader, certificate=file, verify=False)


def published(addresses: list[Multiaddr]) -> str:
    """The address that a listener tells: the first that others can reach."""
    outside = [address for address in addresses if reach(address) is not Reach.LOOPBACK]
    return str((outside or addresses)[0])


def peer_of(address: str) -> tuple[Multiaddr, PeerId]:
    """A listener's published address, and who is there.

    Raises:
        SettingsError: it names no peer.
    """
    bare, peer = split_peer(Multiaddr(address))
    if peer is None:
        raise SettingsError(f"{address} names no peer")
    return bare, peer


async def wait_for_end(timeout: float) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TimeoutError: neither came within `timeout` seconds.
    """
    with trio.move_on_after(timeout):
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                return
    raise TimeoutError(f"nobody ended the test within {timeout:g} s")


class Runnable(Protocol):
    """What every app's settings have."""

    @property
    def timeout(self) -> int: ...
    @property
    def debug(self) -> bool: ...


R = TypeVar("R", bound=Runnable)


def main(run: Callable[[R], Awaitable[None]], read: Callable[[Mapping[str, str]], R]) -> int:
    """Run an app of one role from what `read` makes of the environment; the exit code.

    Results go to standard output, everything else to standard error.
    """
    try:
        settings = read(os.environ)
        logging.basicConfig(
            stream=sys.stderr,
            level=logging.DEBUG if settings.debug else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        trio.run(run, settings)
    except Unsupported as missing:
        print(f"unsupported: {missing}", file=sys.stderr)
        return EXIT_UNSUPPORTED
    except trio.TooSlowError:
        print(f"timeout: not done within {settings.timeout} s", file=sys.stderr)
        return EXIT_FAILED
    except (CarrickError, RedisError, SettingsError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0
