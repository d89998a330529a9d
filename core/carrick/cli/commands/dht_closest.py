"""`carrick dht closest`: the peers nearest to a key."""

from __future__ import annotations

import click
import trio

from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.dht.client import peer_fields, peer_lines
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NotFound

__all__ = ["command"]


@click.command("closest", cls=Command)
@click.argument("of", type=KeyType(), metavar="KEY")
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Print so many at most.",
)
@asking_options
@click.pass_obj
def command(settings: Settings, of: bytes, count: int, asking: Asking) -> None:
    """Print the peers nearest to KEY, nearest first. -v shows the lookup."""
    trio.run(_find, settings, of, count, asking)


async def _find(settings: Settings, key: bytes, count: int, asking: Asking) -> None:
    output = Output(settings, "dht_closest")
    async with asking.client(settings, output) as client:
        if client.at is None:
            neighbours = await client.kademlia.closest_peers(key, watch=client.trace)
            closest, fields = neighbours.closest, client.trace.fields
        else:
            answer, fields = await ask_one(client, Message(MessageType.FIND_NODE, key))
            closest = list(answer.closer)
        if not closest:
            raise NotFound("nobody near to it answered")
        closest = closest[:count]
        output.result(
            {"closest": [*map(peer_fields, closest)], **fields},
            "\n".join(line for each in closest for line in peer_lines(each)[:1]),
        )
        output.note(str(client.trace))
