"""`carrick dht ping`: how fast a peer answers in the DHT."""

from __future__ import annotations

import click
import trio

from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output, human_time, milliseconds
from carrick.cli.targets import Target, TargetType, check_peer_known
from carrick.identity import PeerId
from carrick.protocols.kademlia import Message, MessageType

__all__ = ["command"]


@click.command("ping", cls=Command)
@click.argument("target", type=TargetType())
@click.option(
    "-n", "--count", type=click.IntRange(min=1), default=3, show_default=True, help="How often."
)
@asking_options
@click.pass_obj
def command(settings: Settings, target: Target, count: int, asking: Asking) -> None:
    """Send TARGET the DHT's own PING. A peer id alone is looked up in the DHT."""
    check_peer_known(target, False)
    at = asking.at if isinstance(target, PeerId) else target
    asking = Asking(at=at, flags=asking.flags, node=asking.node)
    trio.run(_ping, settings, target, count, asking)


async def _ping(settings: Settings, target: Target, count: int, asking: Asking) -> None:
    output = Output(settings, "dht_ping")
    async with asking.client(settings, output) as client:
        peer = client.at
        if peer is None:
            assert isinstance(target, PeerId)
            peer = await client.kademlia.find_peer(target, watch=client.trace)
            await client.host.connect(peer.addresses)
        for number in range(1, count + 1):
            started = trio.current_time()
            await client.dht.ask(peer, Message(MessageType.PING))
            rtt = trio.current_time() - started
            output.result(
                {"id": peer.id, "seq": number, "rtt_ms": milliseconds(rtt), **client.trace.fields},
                f"pong from {peer.id} {human_time(rtt)}",
            )
