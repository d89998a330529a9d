"""`carrick dht closest`: the peers nearest to a key."""

from __future__ import annotations

import click

from carrick.cli.dht.asking import dht_command
from carrick.cli.dht.client import Client, peer_fields, peer_lines
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NotFound

__all__ = ["command"]


@dht_command(
    "closest",
    click.argument("dht_key", type=KeyType(), metavar="KEY"),
    click.option(
        "-n",
        "--count",
        type=click.IntRange(min=1),
        default=20,
        show_default=True,
        help="Print so many at most.",
    ),
)
async def command(client: Client, output: Output, dht_key: bytes, count: int) -> None:
    """Print the peers nearest to KEY, nearest first. -v shows the lookup."""
    if client.at is None:
        neighbours = await client.kademlia.closest_peers(dht_key, watch=client.trace)
        closest, fields = neighbours.closest, client.trace.fields
    else:
        answer, fields = await ask_one(client, Message(MessageType.FIND_NODE, dht_key))
        closest = list(answer.closer)
    if not closest:
        raise NotFound("nobody near to it answered")
    closest = closest[:count]
    output.result(
        {"closest": [*map(peer_fields, closest)], **fields},
        "\n".join(line for each in closest for line in peer_lines(each)[:1]),
    )
