"""`carrick ping`: how far away a peer is."""

from __future__ import annotations

from contextlib import aclosing
from typing import Unpack

import click
import trio

from carrick import HostBuilder
from carrick.cli.errors import NOT_FOUND
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output, human_time, milliseconds
from carrick.cli.peers import Reached, path, reach
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.errors import PeerTimeout
from carrick.protocols.ping import Ping, PingOptions

__all__ = ["command"]

PATIENCE = 10.0  # s for one ping at most; go-libp2p the same


@click.command("ping", cls=Command)
@target_arguments
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many pings; 0: until Ctrl-C.",
)
@click.option(
    "-i",
    "--interval",
    type=Duration(),
    default=1.0,
    help="From one ping to the next. Default: 1s.",
)
@node_options
@click.pass_obj
def command(
    settings: Settings,
    target: Target,
    allow_unknown_peer: bool,
    count: int,
    interval: float,
    **options: Unpack[NodeOptions],
) -> int:
    """Measure the round-trip time to a peer."""
    check_peer_known(target, allow_unknown_peer)
    builder = make_builder(settings, options).services(
        Ping(PingOptions(timeout=min(settings.timeout, PATIENCE)))
    )
    return trio.run(_run, settings, target, builder, count or None, interval)


async def _run(
    settings: Settings, target: Target, builder: HostBuilder, count: int | None, interval: float
) -> int:
    async with reach(builder, target, settings.timeout) as reached:
        output = Output(settings, "ping")
        output.note(f"connected: {reached}")
        return await _Pings(reached, output).run(count, interval)


class _Pings:
    """The pings of one run, and what they came to."""

    def __init__(self, reached: Reached, output: Output) -> None:
        self._reached = reached
        self._output = output
        self._times: list[float] = []
        self._sent = 0

    async def run(self, count: int | None, interval: float) -> int:
        """Ping; a ping that is not answered is counted and does not end the run."""
        try:
            while count is None or self._sent < count:
                remaining = None if count is None else count - self._sent
                try:
                    await self._until_a_loss(remaining, interval)
                except PeerTimeout as loss:
                    self._sent += 1
                    self._show(None, f"no answer: {loss.message}")
        finally:
            self._summarize()
        return 0 if self._times else NOT_FOUND

    async def _until_a_loss(self, count: int | None, interval: float) -> None:
        service, connection = self._reached.host.service(Ping), self._reached.connection
        async with aclosing(service.ping(connection, count=count, interval=interval)) as times:
            async for time in times:
                self._times.append(time)
                self._sent += 1
                way = f"{path(connection)} {connection.remote_address}"
                self._show(time, f"pong from {connection.peer_id} via {way} {human_time(time)}")

    def _show(self, time: float | None, text: str) -> None:
        connection = self._reached.connection
        fields = {
            "id": connection.peer_id,
            "seq": self._sent,
            "rtt_ms": milliseconds(time),
            "path": path(connection),
            "addr": connection.remote_address,
        }
        self._output.result(fields, text)

    def _summarize(self) -> None:
        times = self._times
        fields = {
            "id": self._reached.connection.peer_id,
            "sent": self._sent,
            "received": len(times),
            "min_ms": milliseconds(min(times, default=None)),
            "avg_ms": milliseconds(sum(times) / len(times) if times else None),
            "max_ms": milliseconds(max(times, default=None)),
        }
        text = f"{self._sent} sent, {len(times)} answered"
        if times:
            average = sum(times) / len(times)
            text += ", min/avg/max " + " / ".join(
                map(human_time, (min(times), average, max(times)))
            )
        settings = self._output.settings
        if settings.template is None:
            Output(settings, "ping_summary").result(fields, text)
