"""`carrick dht provide`: says that we provide some content."""

from __future__ import annotations

import click
import trio

from carrick import Host, HostBuilder
from carrick.cli.dht.client import enter
from carrick.cli.dht.flags import DhtFlags, member_options
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.trace import LookupTrace
from carrick.cli.listening import Listening, listen_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.serving import foreground
from carrick.cli.targets import Target, TargetType, check_peer_known
from carrick.errors import PeerTimeout
from carrick.protocols.kademlia import Kademlia, Mode, NothingStored

__all__ = ["command"]


@click.command("provide", cls=Command)
@click.argument("keys", type=KeyType(), nargs=-1, required=True, metavar="KEY…")
@click.option("--once", is_flag=True, help="Say it, and end; nobody will reach us afterwards.")
@click.option(
    "--at", type=TargetType(), metavar="TARGET", help="Tell this one node, and nobody else."
)
@member_options
@listen_options
@click.pass_obj
def command(
    settings: Settings,
    keys: tuple[bytes, ...],
    once: bool,
    at: Target | None,
    flags: DhtFlags,
    listening: Listening,
) -> None:
    """Tell the peers nearest to each KEY, the CID of some content, that we provide it.

    We stay, so that we can be reached, and say it again every 22 hours, until Ctrl-C or SIGTERM.
    """
    if at is not None:
        check_peer_known(at, False)
    kademlia = Kademlia(flags.options(Mode.CLIENT, bootstrap=at is None))
    builder = listening.builder(settings).services(kademlia)
    trio.run(_run, settings, builder, listening, kademlia, flags, keys, once, at)


async def _run(
    settings: Settings,
    builder: HostBuilder,
    listening: Listening,
    kademlia: Kademlia,
    flags: DhtFlags,
    keys: tuple[bytes, ...],
    once: bool,
    at: Target | None,
) -> None:
    output = Output(settings, "dht_provide")
    async with foreground(settings, builder, listening) as node:
        with trio.move_on_after(settings.timeout) as patience:
            if at is None:
                await enter(node.host, kademlia, flags.bootstrap_peers())
            for key in keys:
                trace = LookupTrace(output, show=settings.verbosity > 0)
                if at is None:
                    told = await kademlia.provide(key, watch=trace)
                else:
                    told = await _tell_one(node.host, kademlia, key, at)
                fields = {**node.fields, "key": key.hex(), "told": told, **trace.fields}
                output.result(fields, f"{told} peers know that we provide {key.hex()}")
                output.note(str(trace))
        if patience.cancelled_caught:
            raise PeerTimeout(f"not done within {settings.timeout:g} s")
        if not once:
            output.note("Ctrl-C to stop")
            await node.wait()  # the service says it again


async def _tell_one(host: Host, kademlia: Kademlia, key: bytes, at: Target) -> int:
    connection = await host.connect(at)
    dht = kademlia.networks[0].dht
    told = await dht.tell_providers(key, [dht.describe(connection.peer_id)])
    if not told:
        raise NothingStored(f"{connection.peer_id} did not take it")
    return told
