"""`carrick listen`: a node in the foreground."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Unpack

import click
import trio

from carrick import Host, HostBuilder
from carrick.addressing import address_text, tcp_endpoint
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.errors import ListenError, UnsupportedAddress
from carrick.network.events import ConnectionClosed, ConnectionOpened, ConnectionRefused

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["command"]

DEFAULT_ADDRESS = "/ip4/0.0.0.0/tcp/0"
DEFAULT_ADDRESS_6 = "/ip6/::/tcp/0"  # left out where there is no IPv6
QUIC_ADDRESSES = ("/ip4/0.0.0.0", "/ip6/::")  # at the port of TCP, where that is free

_log = logging.getLogger("carrick.cli")


@click.command("listen", cls=Command)
@click.option(
    "--listen",
    "addresses",
    multiple=True,
    metavar="MADDR",
    envvar="CARRICK_LISTEN",
    help="Where to listen; repeatable. Default: TCP and QUIC, on all interfaces, any free port.",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="MADDR",
    envvar="CARRICK_ANNOUNCE",
    help="Tell peers these addresses instead of the real ones; repeatable.",
)
@click.option(
    "--append-announce",
    multiple=True,
    metavar="MADDR",
    envvar="CARRICK_APPEND_ANNOUNCE",
    help="Tell peers these addresses too; repeatable.",
)
@click.option(
    "--no-announce",
    multiple=True,
    metavar="CIDR",
    envvar="CARRICK_NO_ANNOUNCE",
    help="Never tell addresses in this network; repeatable.",
)
@click.option("--perf", is_flag=True, help="Serve perf: any peer may make us send without end.")
@click.option("--count-loopback", is_flag=True, help="Limits count loopback as a public address.")
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    envvar="CARRICK_METRICS",
    help="Serve Prometheus metrics there, at /metrics. Default host: 127.0.0.1.",
)
@node_options
@click.pass_obj
def command(
    settings: Settings,
    addresses: tuple[str, ...],
    announce: tuple[str, ...],
    append_announce: tuple[str, ...],
    no_announce: tuple[str, ...],
    perf: bool,
    count_loopback: bool,
    metrics: str | None,
    **options: Unpack[NodeOptions],
) -> None:
    """Run a node in the foreground, until Ctrl-C or SIGTERM.

    Its identity is --key, or this machine's own key if it has one, or a new one.
    """
    limits = {"count_loopback": True} if count_loopback else {}
    builder = make_builder(settings, options, own_key=True, **limits)
    try:
        builder = builder.announce(*announce, append=append_announce, withhold=no_announce)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    builder = builder.listen(*(addresses or (DEFAULT_ADDRESS,)))
    if perf:
        from carrick.protocols.perf import Perf

        builder = builder.services(Perf())
    trio.run(_serve, settings, builder, not addresses, metrics)


async def _serve(
    settings: Settings, builder: HostBuilder, also_ipv6: bool, metrics: str | None
) -> None:
    """Serve until a signal comes; a second one, while closing, ends at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at, signals, nursery.cancel_scope)
            async with builder.open() as host:
                if also_ipv6:
                    await _listen_ipv6(host)
                    await _listen_quic(host)
                nursery.start_soon(_log_connections, host)
                addresses = [address_text(address) for address in host.addresses]
                fields: dict[str, Any] = {"id": host.id, "addresses": addresses}
                output = Output(settings, "listen")
                if metrics is not None:
                    fields["metrics"] = await nursery.start(_serve_metrics, host, metrics)
                    output.note(f"metrics at {fields['metrics']}")
                output.result(fields, "\n".join(addresses))
                output.note(f"{host.id} listens; Ctrl-C to stop")
                gc.freeze()  # what a start leaves behind stays: no collection looks at it again
                await trio.sleep_forever()


async def _cancel_at(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for number in signals:
        _log.info("%s: closing", signal.Signals(number).name)
        scope.cancel()
        return


async def _listen_ipv6(host: Host) -> None:
    try:
        await host.listen(DEFAULT_ADDRESS_6)
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
