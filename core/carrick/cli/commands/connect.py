"""`carrick connect`: reach a peer, and show how."""

from __future__ import annotations

from typing import Unpack

import click
import trio

from carrick import HostBuilder
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output, milliseconds
from carrick.cli.peers import reach
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.protocols import ping

__all__ = ["command"]


@click.command("connect", cls=Command)
@target_arguments
@node_options
@click.pass_obj
def command(
    settings: Settings, target: Target, allow_unknown_peer: bool, **options: Unpack[NodeOptions]
) -> None:
    """Connect to a peer and show what was negotiated."""
    check_peer_known(target, allow_unknown_peer)
    trio.run(_connect, settings, target, make_builder(settings, options))


async def _connect(settings: Settings, target: Target, builder: HostBuilder) -> None:
    async with reach(builder, target, settings.timeout) as reached:
        rtt = None
        if ping.ID in (reached.connection.protocols or ()):
            rtt = await reached.host.service(ping.Ping).ping_once(reached.connection)
        Output(settings, "connect").result(
            {**reached.fields(), "rtt_ms": milliseconds(rtt)},
            f"{reached}\n/p2p/{reached.connection.peer_id}",
        )
