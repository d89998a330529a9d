"""A node in the foreground: it listens, answers its API, and stops cleanly at a signal."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from carrick import Host, HostBuilder
from carrick.addressing import address_text, tcp_endpoint
from carrick.cli.listening import Listening
from carrick.cli.options import Settings
from carrick.errors import FileError, ListenError, UnsupportedAddress
from carrick.network.events import ConnectionClosed, ConnectionOpened, ConnectionRefused

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Running", "foreground"]

ADDRESS_6 = "/ip6/::/tcp/0"  # left out where there is no IPv6
QUIC_ADDRESSES = ("/ip4/0.0.0.0", "/ip6/::")  # at the port of TCP, where that is free

_log = logging.getLogger("carrick.cli")


@dataclass(frozen=True, slots=True)
class Running:
    """A node that has started.

    Attributes:
        fields: what there is to tell of it in JSON: `id`, `addresses`, `metrics` and `api`.
    """

    host: Host
    fields: dict[str, Any]

    async def wait(self) -> None:
        """Until it is stopped."""
        gc.freeze()  # what a start leaves behind stays: no collection looks at it again
        gc.set_threshold(5000)  # what lives for one dial ends before a collection sees it
        await trio.sleep_forever()


@asynccontextmanager
async def foreground(
    settings: Settings, builder: HostBuilder, listening: Listening
) -> AsyncGenerator[Running, None]:
    """A node, for the time of the block; SIGINT and SIGTERM end the block.

    A second signal, while the node closes, ends the process.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, ExitStack() as exits:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, signals, nursery.cancel_scope)
            async with builder.open() as host:
                if not listening.addresses:
                    await _listen_ipv6(host)
                    await _listen_quic(host)
                nursery.start_soon(_log_connections, host)
                addresses = [address_text(address) for address in host.addresses]
                fields: dict[str, Any] = {"id": host.id, "addresses": addresses}
                if listening.metrics is not None:
                    fields["metrics"] = await nursery.start(_serve_metrics, host, listening.metrics)
                if not listening.no_api:
                    fields["api"] = _start_api(settings, listening, host, nursery, exits)
                yield Running(host, fields)
                nursery.cancel_scope.cancel()


async def _cancel_at(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        _log.info("%s: closing", signal.Signals(number).name)
        scope.cancel()
        return


async def _listen_ipv6(host: Host) -> None:
    try:
        await host.listen(ADDRESS_6)
    except ListenError as error:
        _log.info("no IPv6: %s", error)


async def _listen_quic(host: Host) -> None:
    """Listen on QUIC too, at the port number that TCP has; in a private network there is none."""
    ports = [
        endpoint[1] for each in host.swarm.listen_addresses if (endpoint := tcp_endpoint(each))
    ]
    for where, port in zip(QUIC_ADDRESSES, ports, strict=False):
        for number in (port, 0):
            try:
                await host.listen(f"{where}/udp/{number}/quic-v1")
                break
            except (ListenError, UnsupportedAddress) as error:
                _log.info("no QUIC: %s", error)


def _start_api(
    settings: Settings, listening: Listening, host: Host, nursery: trio.Nursery, exits: ExitStack
) -> str | None:
    """Where the API is; None if there is none, and nobody asked for one by name.

    Raises:
        FileError: it cannot be where it was asked for.
    """
    from carrick.cli.api.answers import methods
    from carrick.cli.api.server import api_socket, serve_api

    path = listening.api or settings.home_api
    try:
        socket = exits.enter_context(api_socket(path))
    except FileError as error:
        if listening.api is not None:
            raise
        _log.warning("%s; this node cannot be asked by `carrick status`", error)
        return None
    nursery.start_soon(serve_api, socket, methods(host))
    return str(path)


async def _serve_metrics(
    host: Host, endpoint: str, *, task_status: TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve metrics, and tell their URL."""
    from carrick.host.metrics import HostMetrics, parse_endpoint, serve_metrics

    metrics = HostMetrics(host)
    async with trio.open_nursery() as nursery:
        await nursery.start(metrics.run)
        where = parse_endpoint(endpoint)
        address, port = await nursery.start(serve_metrics, metrics.registry, where)
        name = f"[{address}]" if ":" in address else address
        task_status.started(f"http://{name}:{port}/metrics")


async def _log_connections(host: Host) -> None:
    if not _log.isEnabledFor(logging.INFO):
        return
    with host.events.subscribe(ConnectionOpened, ConnectionClosed, ConnectionRefused) as events:
        async for event in events:
            match event:
                case ConnectionOpened(connection):
                    _log.info("connected: %r", connection)
                case ConnectionClosed(connection):
                    _log.info("disconnected: %r (%s)", connection, connection.close_reason)
                case ConnectionRefused(address, cause):
                    _log.info("refused %s: %s", address, cause or type(cause).__name__)
