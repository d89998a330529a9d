"""`carrick relay reserve`: a slot on a relay."""

from __future__ import annotations

import click
import trio

from carrick import HostBuilder
from carrick.addressing import with_peer
from carrick.cli.listening import Listening, listen_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.relays import reservation_text
from carrick.cli.serving import foreground
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.errors import PeerTimeout
from carrick.protocols.relay import RelayClient, ReservationGained, ReservationLost

__all__ = ["command"]


@click.command("reserve", cls=Command)
@target_arguments
@click.option("--once", is_flag=True, help="Reserve, show what was granted, and end.")
@listen_options
@click.pass_obj
def command(
    settings: Settings, target: Target, allow_unknown_peer: bool, once: bool, listening: Listening
) -> None:
    """Reserve a slot on the relay TARGET, and keep it until Ctrl-C or SIGTERM."""
    check_peer_known(target, allow_unknown_peer)
    trio.run(_reserve, settings, listening.builder(settings), listening, target, once)


async def _reserve(
    settings: Settings, builder: HostBuilder, listening: Listening, target: Target, once: bool
) -> None:
    from carrick.cli.api.answers import reservation_fields

    async with foreground(settings, builder, listening) as node:
        host, output = node.host, Output(settings, "relay_reserve")
        with trio.move_on_after(settings.timeout) as patience:
            reservation = await host.service(RelayClient).reserve(target)
        if patience.cancelled_caught:
            raise PeerTimeout(f"no reservation within {settings.timeout:g} s", address=target)
        granted = reservation_fields(reservation)
        addresses = [with_peer(each, host.id) for each in reservation.addresses]
        output.result(
            {**node.fields, **granted, "addresses": addresses},
            "\n".join(map(str, addresses)),
        )
        output.note(reservation_text(granted))
        if once:
            return
        output.note("Ctrl-C to stop")
        with host.events.subscribe(ReservationGained, ReservationLost) as changes:
            async for change in changes:
                lost = isinstance(change, ReservationLost)
                output.note("lost; asking again" if lost else "reserved again")
