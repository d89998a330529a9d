"""`carrick listen`: a node in the foreground."""

from __future__ import annotations

import click
import trio

from carrick import HostBuilder
from carrick.cli.dht.flags import DhtFlags, member_options
from carrick.cli.listening import Listening, listen_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.serving import foreground
from carrick.host import Service

__all__ = ["command"]


@click.command("listen", cls=Command)
@click.option("--perf", is_flag=True, help="Serve perf: any peer may make us send without end.")
@click.option("--relay-service", is_flag=True, help="Relay for others, with go-libp2p's limits.")
@click.option(
    "--dht",
    type=click.Choice(["server", "client", "auto"]),
    is_flag=False,
    flag_value="auto",
    help="Take part in a DHT (--network): as a server, as a client, or (auto: --dht alone) as a "
    "server while strangers reach us, and always in a network of one's own.",
)
@member_options
@listen_options
@click.pass_obj
def command(
    settings: Settings,
    perf: bool,
    relay_service: bool,
    dht: str | None,
    flags: DhtFlags,
    listening: Listening,
) -> None:
    """Run a node in the foreground, until Ctrl-C or SIGTERM.

    Its identity is --key, or this machine's own key if it has one, or a new one.
    """
    builder = listening.builder(settings)
    if perf:
        from carrick.protocols.perf import Perf

        builder = builder.services(Perf())
    if relay_service:
        from carrick.protocols.relay import RelayService

        builder = builder.services(RelayService())
    if dht is not None:
        builder = builder.services(_kademlia(flags, dht))
    elif flags.bootstrap:
        raise click.UsageError("--bootstrap is for a node of a DHT: add --dht")
    elif flags.full_table:
        raise click.UsageError("--full-table is for a node of a DHT: add --dht")
    trio.run(_listen, settings, builder, listening)


def _kademlia(flags: DhtFlags, mode: str) -> Service:
    from carrick.protocols.kademlia import Kademlia, Mode

    network = flags.described()
    if mode == "auto" and network.scope != "wan":
        mode = "server"  # nobody from the internet will ever reach us
    # The first node of a network has nobody to enter by.
    return Kademlia(flags.options(Mode(mode), bootstrap=bool(network.bootstrap)))


async def _listen(settings: Settings, builder: HostBuilder, listening: Listening) -> None:
    async with foreground(settings, builder, listening) as node:
        output = Output(settings, "listen")
        if "metrics" in node.fields:
            output.note(f"metrics at {node.fields['metrics']}")
        output.result(node.fields, "\n".join(node.fields["addresses"]))
        output.note(f"{node.host.id} listens; Ctrl-C to stop")
        await node.wait()
