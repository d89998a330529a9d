"""`carrick dht put`: stores a value under a key."""

from __future__ import annotations

from typing import BinaryIO

import click

from carrick.cli.dht.asking import dht_command
from carrick.cli.dht.client import Client
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NothingStored, Record

__all__ = ["command"]

MAX_VALUE = 1 << 20  # bytes; the DHT takes less


def _read(context: click.Context, parameter: click.Parameter, file: BinaryIO) -> bytes:
    value = file.read(MAX_VALUE + 1)
    if len(value) > MAX_VALUE:
        raise click.UsageError(f"the value has more than {MAX_VALUE} bytes")
    return value


@dht_command(
    "put",
    click.argument("dht_key", type=KeyType(value=True), metavar="KEY"),
    click.argument("value", type=click.File("rb"), metavar="FILE", callback=_read),
)
async def command(client: Client, output: Output, dht_key: bytes, value: bytes) -> None:
    """Store what FILE (-: stdin) holds under KEY, at the peers nearest to it.

    It must be valid for KEY: for /pk/… a public key, for /ipns/… a signed record. -v shows the
    lookup.
    """
    if client.at is None:
        stored = await client.kademlia.put_value(dht_key, value, watch=client.trace)
        fields = client.trace.fields
    else:
        message = Message(MessageType.PUT_VALUE, dht_key, Record(dht_key, value))
        answer, fields = await ask_one(client, message)
        if answer.record is None or answer.record.value != value:
            raise NothingStored(f"{client.at.id} did not take it")
        stored = 1
    output.result({"stored": stored, **fields}, f"stored at {stored} peers")
