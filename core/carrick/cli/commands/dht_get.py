"""`carrick dht get`: the value under a key."""

from __future__ import annotations

import sys
from typing import Any

import click

from carrick.cli.dht.asking import dht_command
from carrick.cli.dht.client import Client
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one, show_peers, value_fields
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


@dht_command(
    "get",
    click.argument("dht_key", type=KeyType(value=True), metavar="KEY"),
    click.option(
        "--quorum",
        type=click.IntRange(min=0),
        default=QUORUM,
        show_default=True,
        help="So many answers with a value are enough; 0: ask all of the nearest peers.",
    ),
)
async def command(client: Client, output: Output, dht_key: bytes, quorum: int) -> None:
    """Print the value under KEY (/ipns/…, /pk/…), as it is; it is verified. -v shows the lookup.

    With --at it is whatever that node has, not verified.
    """
    if client.at is None:
        value = await client.kademlia.get_value(dht_key, quorum=quorum, watch=client.trace)
        fields = client.trace.fields
    else:
        answer, fields = await ask_one(client, Message(MessageType.GET_VALUE, dht_key))
        show_peers(output, answer.closer, "closer peers")
        if answer.record is None:
            raise NotFound(f"{client.at.id} has no value under this dht_key")
        value = answer.record.value
    more = _ipns_fields(value) if dht_key.startswith(b"/ipns/") else {}
    if output.for_people:
        sys.stdout.buffer.write(value)
        sys.stdout.flush()
        if more:
            output.note(f"it points to {more['path']}")
    else:
        output.result({**value_fields(value), **more, **fields}, None)


def _ipns_fields(value: bytes) -> dict[str, Any]:
    """What an IPNS record says; nothing if it is none."""
    try:
        record = IpnsRecord.parse(value)
    except InvalidRecord:
        return {}
    path = record.value.decode(errors="replace")
    return {"path": path, "sequence": record.sequence, "ttl_ms": record.ttl / 1e6}
