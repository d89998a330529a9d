"""`carrick dht findpeer`: where a peer is."""

from __future__ import annotations

import click

from carrick.cli.dht.asking import dht_command
from carrick.cli.dht.client import Client, peer_fields, peer_lines
from carrick.cli.dht.one import ask_one, show_peers
from carrick.cli.output import Output
from carrick.identity import PeerId
from carrick.protocols.kademlia import Message, MessageType, NotFound

__all__ = ["command"]


class _PeerIdType(click.ParamType[PeerId]):
    name = "peer"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> PeerId:
        return PeerId.parse(value) if isinstance(value, str) else value  # type: ignore[return-value]


@dht_command(
    "findpeer",
    click.argument("peer", type=_PeerIdType()),
)
async def command(client: Client, output: Output, peer: PeerId) -> None:
    """Print the addresses of PEER, as the DHT knows them. -v shows the lookup."""
    if client.at is None:
        found = await client.kademlia.find_peer(peer, watch=client.trace)
        fields = client.trace.fields
    else:
        message = Message(MessageType.FIND_NODE, peer.to_bytes())
        answer, fields = await ask_one(client, message)
        known = [each for each in answer.closer if each.id == peer and each.encoded]
        if not known:
            show_peers(output, answer.closer, "it names these instead")
            raise NotFound(f"{client.at.id} does not know where {peer} is")
        found = known[0]
    output.result({**peer_fields(found), **fields}, "\n".join(peer_lines(found)))
