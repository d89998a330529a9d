"""`carrick relay serve`: a node that relays for others."""

from __future__ import annotations

import click
import trio

from carrick import HostBuilder
from carrick.cli.listening import Listening, listen_options
from carrick.cli.options import Command, Duration, Settings, Size
from carrick.cli.output import Output
from carrick.cli.relays import limit_text
from carrick.cli.serving import foreground

__all__ = ["command"]


@click.command("serve", cls=Command)
@click.option(
    "--max-reservations",
    type=click.IntRange(min=0),
    default=128,
    show_default=True,
    help="How many peers may have a slot.",
)
@click.option(
    "--max-circuits",
    type=click.IntRange(min=0),
    default=16,
    show_default=True,
    help="How many circuits may begin or end at one peer.",
)
@click.option(
    "--limit-time",
    type=Duration(),
    default="2m",
    show_default=True,
    help="How long a circuit may last.",
)
@click.option(
    "--limit-bytes",
    type=Size(),
    default="128KiB",
    show_default=True,
    help="How much a circuit may carry in each direction.",
)
@click.option(
    "--unlimited", is_flag=True, help="No limit of time or bytes: any traffic of any peer."
)
@click.option(
    "--per-ip",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How many slots one IPv4 address or IPv6 /56 may have.",
)
@listen_options
@click.pass_obj
def command(
    settings: Settings,
    max_reservations: int,
    max_circuits: int,
    limit_time: float,
    limit_bytes: int,
    unlimited: bool,
    per_ip: int,
    listening: Listening,
) -> None:
    """Run a node that relays for others, until Ctrl-C or SIGTERM.

    What it carries is sealed by the peers at both ends; it cannot be read here.
    """
    from carrick.protocols.relay import Capacity, Limit, RelayOptions, RelayService

    if limit_time < 1 or not limit_bytes:
        raise click.UsageError("a limit is at least 1 s and 1 byte; --unlimited lifts both")
    options = RelayOptions(
        limit=Limit() if unlimited else Limit(round(limit_time), limit_bytes),
        capacity=Capacity(
            reservations=max_reservations,
            circuits_per_peer=max_circuits,
            reservations_per_ip=per_ip,
        ),
    )
    builder = listening.builder(settings).services(RelayService(options))
    trio.run(_serve, settings, builder, listening)


async def _serve(settings: Settings, builder: HostBuilder, listening: Listening) -> None:
    from carrick.cli.api.answers import serving_fields
    from carrick.protocols.relay import RelayService

    async with foreground(settings, builder, listening) as node:
        output = Output(settings, "relay_serve")
        serving = serving_fields(node.host.service(RelayService))
        output.result({**node.fields, **serving}, "\n".join(node.fields["addresses"]))
        output.note(
            f"{node.host.id} relays, {limit_text(serving)} for each circuit; Ctrl-C to stop"
        )
        await node.wait()
