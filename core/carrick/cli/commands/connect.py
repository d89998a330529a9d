"""`carrick connect`: reach a peer, and show how."""

from __future__ import annotations

import click
import trio

from carrick.cli.dialling import Dialling, dial_options
from carrick.cli.errors import RELAYED
from carrick.cli.options import Command, Duration, Settings
from carrick.cli.output import Output, milliseconds
from carrick.cli.peers import Reached, reach
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.cli.traces import trace_lines
from carrick.host import ConnectTrace
from carrick.protocols import ping

__all__ = ["command"]


@click.command("connect", cls=Command)
@target_arguments
@click.option("--direct", is_flag=True, help="Exit with 3 if it ends with a relayed connection.")
@click.option(
    "--wait-direct",
    type=Duration(),
    default=10.0,
    help="How long a relayed connection is given to become a direct one. Default: 10s.",
)
@click.option("--trace", "show_trace", is_flag=True, help="Show what was tried, and how it went.")
@dial_options
@click.pass_obj
def command(
    settings: Settings,
    target: Target,
    allow_unknown_peer: bool,
    direct: bool,
    wait_direct: float,
    show_trace: bool,
    dialling: Dialling,
) -> int:
    """Connect to a peer and show how it was reached, and what was negotiated."""
    check_peer_known(target, allow_unknown_peer)
    dialling.places(target)  # a wrong --relay shows before anything starts
    return trio.run(_connect, settings, target, dialling, direct, wait_direct, show_trace)


async def _connect(
    settings: Settings,
    target: Target,
    dialling: Dialling,
    direct: bool,
    wait_direct: float,
    show_trace: bool,
) -> int:
    output, trace = Output(settings, "connect"), ConnectTrace()
    builder = dialling.builder(settings)
    try:
        async with reach(
            builder, target, settings.timeout, dialling=dialling, trace=trace
        ) as reached:
            reached = await reached.upgraded(wait_direct)
            rtt = await _rtt(reached)
            fields = {
                **reached.fields(),
                "strategy": reached.strategy,
                "outcome": trace.outcome,
                "attempts": reached.attempts,
                "rtt_ms": milliseconds(rtt),
            }
            if show_trace:
                fields["trace"] = trace.to_json()
            text = [str(reached), f"/p2p/{reached.connection.peer_id}"]
            output.result(fields, "\n".join(text + trace_lines(trace) if show_trace else text))
            return RELAYED if direct and reached.connection.is_relayed else 0
    except BaseException:
        if show_trace and trace.steps:
            output.note("\n".join(trace_lines(trace)))
        raise


async def _rtt(reached: Reached) -> float | None:
    if ping.ID not in (reached.connection.protocols or ()):
        return None
    return await reached.host.service(ping.Ping).ping_once(reached.connection)
