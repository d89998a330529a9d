"""`carrick ping`: how far away a peer is."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

import click
import trio

from carrick import Connection
from carrick.cli.dialling import Dialling, dial_options
from carrick.cli.errors import NOT_FOUND, RELAYED
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output, human_time, milliseconds
from carrick.cli.peers import Reached, path, reach
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.errors import ConnectionClosed, PeerTimeout
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
@click.option("--force-relay", is_flag=True, help="Reach it over a relay only.")
@click.option(
    "--until-direct",
    is_flag=True,
    help="End with the first direct pong; exit with 3 if there is none.",
)
@dial_options
@click.pass_obj
def command(
    settings: Settings,
    target: Target,
    allow_unknown_peer: bool,
    count: int,
    interval: float,
    force_relay: bool,
    until_direct: bool,
    dialling: Dialling,
) -> int:
    """Measure the round-trip time to a peer.

    Each pong says whether it came over a relay or directly; pings move to a direct connection as
    soon as there is one.
    """
    check_peer_known(target, allow_unknown_peer)
    if force_relay and until_direct:
        raise click.UsageError("--force-relay and --until-direct exclude each other")
    if force_relay:
        dialling = replace(dialling, strategies=("relay",))
    dialling.places(target)  # a wrong --relay shows before anything starts
    return trio.run(_run, settings, target, dialling, count or None, interval, until_direct)


async def _run(
    settings: Settings,
    target: Target,
    dialling: Dialling,
    count: int | None,
    interval: float,
    until_direct: bool,
) -> int:
    options = PingOptions(timeout=min(settings.timeout, PATIENCE))
    builder = dialling.builder(settings).services(Ping(options))
    async with reach(builder, target, settings.timeout, dialling=dialling) as reached:
        output = Output(settings, "ping")
        output.note(f"connected: {reached}")
        only_relayed = dialling.strategies == ("relay",)
        pings = _Pings(reached, output, only_relayed=only_relayed, until_direct=until_direct)
        return await pings.run(count, interval)


class _Pings:
    """The pings of one run, and what they came to."""

    def __init__(
        self, reached: Reached, output: Output, *, only_relayed: bool, until_direct: bool
    ) -> None:
        self._host = reached.host
        self._connection = reached.connection
        self._output = output
        self._only_relayed = only_relayed
        self._until_direct = until_direct
        self._times: list[float] = []
        self._sent = 0
        self._direct = False

    async def run(self, count: int | None, interval: float) -> int:
        """Ping; a ping that is not answered is counted and does not end the run."""
        try:
            while not self._done(count):
                remaining = None if count is None else count - self._sent
                try:
                    await self._until_a_loss(remaining, interval)
                except PeerTimeout as loss:
                    self._sent += 1
                    self._show(None, f"no answer: {loss.message}")
                except ConnectionClosed:
                    if self._best() is self._connection:
                        raise
                self._connection = self._best()
        finally:
            self._summarize()
        if not self._times:
            return NOT_FOUND
        return RELAYED if self._until_direct and not self._direct else 0

    def _done(self, count: int | None) -> bool:
        return (self._until_direct and self._direct) or self._sent == count

    def _best(self) -> Connection:
        """The connection to ping on now."""
        best = self._host.swarm.connection(self._connection.peer_id)
        return self._connection if best is None or self._only_relayed else best

    async def _until_a_loss(self, count: int | None, interval: float) -> None:
        """Or until there is a better connection."""
        connection = self._connection
        service, peer = self._host.service(Ping), connection.peer_id
        async with aclosing(service.ping(connection, count=count, interval=interval)) as times:
            async for time in times:
                self._times.append(time)
                self._sent += 1
                self._direct |= not connection.is_relayed
                self._show(time, f"pong from {peer} via {_way(connection)} {human_time(time)}")
                if self._until_direct and self._direct:
                    return
                if self._best() is not connection:
                    break
            else:
                return
        await trio.sleep(interval)

    def _show(self, time: float | None, text: str) -> None:
        connection = self._connection
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
            "id": self._connection.peer_id,
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


def _way(connection: Connection) -> str:
    """`relay 12D3KooW…`, or `direct /ip4/…`."""
    if not connection.is_relayed:
        return f"direct {connection.remote_address}"
    circuit = str(connection.remote_address).partition("/p2p-circuit")[0]
    return f"relay {circuit.rpartition('/p2p/')[2]}"
