"""`carrick dht get`: the value under a key."""

from __future__ import annotations

import sys
from typing import Any

import click
import trio

from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one, show_peers, value_fields
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.protocols.kademlia import (
    QUORUM,
    InvalidRecord,
    IpnsRecord,
    Message,
    MessageType,
    NotFound,
)

__all__ = ["command"]


@click.command("get", cls=Command)
@click.argument("of", type=KeyType(), metavar="KEY")
@click.option(
    "--quorum",
    type=click.IntRange(min=0),
    default=QUORUM,
    show_default=True,
    help="So many answers with a value are enough; 0: ask all of the nearest peers.",
)
@asking_options
@click.pass_obj
def command(settings: Settings, of: bytes, quorum: int, asking: Asking) -> None:
    """Print the value under KEY (/ipns/…, /pk/…), as it is; it is verified. -v shows the lookup.

    With --at it is whatever that node has, not verified.
    """
    trio.run(_get, settings, of, quorum, asking)


async def _get(settings: Settings, key: bytes, quorum: int, asking: Asking) -> None:
    output = Output(settings, "dht_get")
    async with asking.client(settings, output) as client:
        if client.at is None:
            value = await client.kademlia.get_value(key, quorum=quorum, watch=client.trace)
            fields = client.trace.fields
        else:
            answer, fields = await ask_one(client, Message(MessageType.GET_VALUE, key))
            show_peers(output, answer.closer, "closer peers")
            if answer.record is None:
                raise NotFound(f"{client.at.id} has no value under this key")
            value = answer.record.value
        more = _ipns_fields(value) if key.startswith(b"/ipns/") else {}
        if output.for_people:
            sys.stdout.buffer.write(value)
            sys.stdout.flush()
            if more:
                output.note(f"it points to {more['path']}")
        else:
            output.result({**value_fields(value), **more, **fields}, None)
        output.note(str(client.trace))


def _ipns_fields(value: bytes) -> dict[str, Any]:
    """What an IPNS record says; nothing if it is none."""
    try:
        record = IpnsRecord.parse(value)
    except InvalidRecord:
        return {}
    path = record.value.decode(errors="replace")
    return {"path": path, "sequence": record.sequence, "ttl_ms": record.ttl / 1e6}
