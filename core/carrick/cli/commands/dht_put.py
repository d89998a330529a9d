"""`carrick dht put`: stores a value under a key."""

from __future__ import annotations

from typing import BinaryIO

import click
import trio

from carrick.cli.dht.asking import Asking, asking_options
from carrick.cli.dht.keys import KeyType
from carrick.cli.dht.one import ask_one
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.protocols.kademlia import Message, MessageType, NothingStored, Record

__all__ = ["command"]

MAX_VALUE = 1 << 20  # bytes; the DHT takes less


@click.command("put", cls=Command)
@click.argument("of", type=KeyType(), metavar="KEY")
@click.argument("file", type=click.File("rb"))
@asking_options
@click.pass_obj
def command(settings: Settings, of: bytes, file: BinaryIO, asking: Asking) -> None:
    """Store what FILE (-: stdin) holds under KEY, at the peers nearest to it.

    It must be valid for KEY: for /pk/… a public key, for /ipns/… a signed record. -v shows the
    lookup.
    """
    value = file.read(MAX_VALUE + 1)
    if len(value) > MAX_VALUE:
        raise click.UsageError(f"the value has more than {MAX_VALUE} bytes")
    trio.run(_put, settings, of, value, asking)


async def _put(settings: Settings, key: bytes, value: bytes, asking: Asking) -> None:
    output = Output(settings, "dht_put")
    async with asking.client(settings, output) as client:
        if client.at is None:
            stored = await client.kademlia.put_value(key, value, watch=client.trace)
            fields = client.trace.fields
        else:
            message = Message(MessageType.PUT_VALUE, key, Record(key, value))
            answer, fields = await ask_one(client, message)
            if answer.record is None or answer.record.value != value:
                raise NothingStored(f"{client.at.id} did not take it")
            stored = 1
        output.result({"stored": stored, **fields}, f"stored at {stored} peers")
        output.note(str(client.trace))
