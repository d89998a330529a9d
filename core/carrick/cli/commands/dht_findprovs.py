"""`carrick dht findprovs`: who provides some content."""

from __future__ import annotations

import click

from carrick.cli.dht.asking import dht_command
from carrick.cli.dht.client import Client, peer_fields, peer_lines
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one, show_peers
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NotFound, PeerInfo

__all__ = ["command"]


@dht_command(
    "findprovs",
    click.argument("dht_key", type=KeyType(), metavar="KEY"),
    click.option(
        "-n",
        "--count",
        type=click.IntRange(min=0),
        default=20,
        show_default=True,
        help="So many providers are enough; 0: all that the nearest peers know.",
    ),
)
async def command(client: Client, output: Output, dht_key: bytes, count: int) -> None:
    """Print who provides KEY, the CID of some content. -v shows the lookup."""

    def show(provider: PeerInfo) -> None:
        if output.for_people:
            output.result({}, "\n".join(peer_lines(provider)))

    if client.at is None:
        providers = await client.kademlia.find_providers(
            dht_key, count=count, watch=client.trace, found=show
        )
        fields = client.trace.fields
    else:
        answer, fields = await ask_one(client, Message(MessageType.GET_PROVIDERS, dht_key))
        providers = list(answer.providers[: count or None])
        for each in providers:
            show(each)
        show_peers(output, answer.closer, "closer peers")
    if not providers:
        asked = client.trace.rpcs
        raise NotFound(f"nobody provides that, as far as {asked} peers that were asked know")
    if not output.for_people:
        output.result({"providers": [*map(peer_fields, providers)], **fields}, None)
