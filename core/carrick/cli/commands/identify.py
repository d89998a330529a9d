"""`carrick identify`: ask a peer who it is."""

from __future__ import annotations

from typing import Any, Unpack

import click
import trio

from carrick import HostBuilder
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.peers import reach
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.protocols.identify import Identify

__all__ = ["command"]


@click.command("identify", cls=Command)
@target_arguments
@node_options
@click.pass_obj
def command(
    settings: Settings, target: Target, allow_unknown_peer: bool, **options: Unpack[NodeOptions]
) -> None:
    """Ask a peer who it is, what it speaks, and where it sees us."""
    check_peer_known(target, allow_unknown_peer)
    trio.run(_identify, settings, target, make_builder(settings, options))


async def _identify(settings: Settings, target: Target, builder: HostBuilder) -> None:
    async with reach(builder, target, settings.timeout) as reached:
        with trio.fail_after(settings.timeout):
            info = await reached.host.service(Identify).identify(reached.connection)
        fields = {
            "id": reached.connection.peer_id,
            "agent_version": info.agent_version,
            "protocol_version": info.protocol_version,
            "observed_addr": info.observed_address,
            "listen_addrs": list(info.listen_addresses),
            "protocols": sorted(info.protocols),
            "signed_record": info.signed_record is not None,
        }
        Output(settings, "identify").result({**reached.fields(), **fields}, _text(fields))


def _text(fields: dict[str, Any]) -> str:
    rows = [
        ("peer id", [fields["id"]]),
        ("agent", [fields["agent_version"] or "(not told)"]),
        ("family", [fields["protocol_version"] or "(not told)"]),
        ("sees us at", [fields["observed_addr"] or "(not told)"]),
        ("listens on", fields["listen_addrs"] or ["(not told)"]),
        ("speaks", fields["protocols"] or ["(not told)"]),
    ]
    return "\n".join(
        f"{name if first else '':12}{value}"
        for name, values in rows
        for first, value in ((index == 0, value) for index, value in enumerate(values))
    )
