"""One request to one node, and its answer."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import trio

from carrick.cli.dht.client import Client, peer_fields, peer_lines
from carrick.cli.output import Output
from carrick.protocols.kademlia import Hop, HopKind, Message, PeerInfo

__all__ = ["ask_one", "show_peers", "value_fields"]


async def ask_one(client: Client, message: Message) -> tuple[Message, dict[str, Any]]:
    """Ask the node of `--at`: its answer, and what is told of it in JSON.

    Raises:
        CarrickError: it does not answer.
    """
    assert client.at is not None
    started = trio.current_time()
    client.trace(Hop(HopKind.ASKED, client.at.id, started))
    answer = await client.dht.ask(client.at, message)
    now = trio.current_time()
    closer = tuple(each.id for each in answer.closer)
    found = len(answer.providers) + (answer.record is not None)
    kind = HopKind.FOUND if found else HopKind.ANSWERED
    client.trace(Hop(kind, client.at.id, now, now - started, closer, found))
    fields = {
        "at": client.at.id,
        "rpc": message.type.name,
        "closer": [{**peer_fields(each), "connection": each.connection} for each in answer.closer],
        **client.trace.fields,
    }
    return answer, fields


def show_peers(output: Output, peers: Sequence[PeerInfo], what: str) -> None:
    """Tell people of those that an answer names besides what was asked for."""
    if peers:
        output.note(f"{what}:")
    for each in peers:
        output.note("  " + "\n  ".join(peer_lines(each)))


def value_fields(value: bytes) -> dict[str, Any]:
    """A value in JSON: as text if it is some, and in base64."""
    try:
        text: str | None = value.decode()
    except UnicodeDecodeError:
        text = None
    return {"value": base64.b64encode(value).decode(), "text": text, "size": len(value)}
