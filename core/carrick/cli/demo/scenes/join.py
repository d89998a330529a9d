"""Both dial out, to a node that they know by name."""

from __future__ import annotations

import trio

from carrick.cli.demo.stage import Person, Stage
from carrick.cli.demo.words import pretty
from carrick.cli.output import human_time
from carrick.errors import DialError

__all__ = ["TITLE", "play"]

TITLE = "Both join, by a name that everybody knows"


async def play(stage: Stage) -> None:
    """The first connection, found by DNS."""
    stage.focus("Ana", "name-server", "bootstrap", "Ben")
    peer = stage.public["bootstrap"].id
    async with trio.open_nursery() as nursery:
        for person in stage.people.values():
            nursery.start_soon(_join, stage, person, f"/dnsaddr/bootstrap.example/p2p/{peer}")


async def _join(stage: Stage, person: Person, address: str) -> None:
    started = stage.internet.time()
    found = "asked DNS"
    try:
        connection = await person.node.connect(address)
    except DialError:
        stage.say(person, "asked DNS in vain: no answer", since=started, failed=True)
        found = "knows its address"
        started = stage.internet.time()
        connection = await person.node.connect(stage.public["bootstrap"])
    ready = stage.internet.time() - connection.opened_at
    stage.say(
        person,
        f"{found}, and reached the bootstrap node over {pretty(connection.transport)}; "
        f"{pretty(connection.security)} proved who both are "
        f"(identify took {human_time(ready)} of it)",
        since=started,
    )
