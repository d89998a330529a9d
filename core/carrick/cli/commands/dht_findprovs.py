"""`carrick dht findprovs`: who provides some content."""

from __future__ import annotations

import click
import trio

from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.dht.client import peer_fields, peer_lines
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one, show_peers
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NotFound, PeerInfo

__all__ = ["command"]


@click.command("findprovs", cls=Command)
@click.argument("of", type=KeyType(), metavar="KEY")
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="So many providers are enough; 0: all that the nearest peers know.",
)
@asking_options
@click.pass_obj
def command(settings: Settings, of: bytes, count: int, asking: Asking) -> None:
    """Print who provides KEY, the CID of some content. -v shows the lookup."""
    trio.run(_find, settings, of, count, asking)


async def _find(settings: Settings, key: bytes, count: int, asking: Asking) -> None:
    output = Output(settings, "dht_findprovs")

    def show(provider: PeerInfo) -> None:
        if output.for_people:
            output.result({}, "\n".join(peer_lines(provider)))

    async with asking.client(settings, output) as client:
        if client.at is None:
            providers = await client.kademlia.find_providers(
                key, count=count, watch=client.trace, found=show
            )
            fields = client.trace.fields
        else:
            answer, fields = await ask_one(client, Message(MessageType.GET_PROVIDERS, key))
            providers = list(answer.providers[: count or None])
            for each in providers:
                show(each)
            show_peers(output, answer.closer, "closer peers")
        if not providers:
            asked = client.trace.rpcs
            raise NotFound(f"nobody provides that, as far as {asked} peers that were asked know")
        if not output.for_people:
            output.result({"providers": [*map(peer_fields, providers)], **fields}, None)
        output.note(str(client.trace))
