"""Somebody to whom nobody here has ever spoken tries the addresses that others saw."""

from __future__ import annotations

from carrick.cli.demo.stage import Person, Stage, pretty, reasons, show_address
from carrick.errors import DialError

__all__ = ["TITLE", "play"]

TITLE = "A stranger tries those addresses"


async def play(stage: Stage) -> None:
    """It finds out who is reachable by everybody. (AutoNAT will ask for this.)"""
    for person in stage.people:
        await _try(stage, person)


async def _try(stage: Stage, person: Person) -> None:
    stranger = stage.public["stranger"]
    started = stage.internet.time()
    reachable = stage.facts.setdefault("reachable", {})
    try:
        connection = await stranger.connect(person.outside)
    except DialError as error:
        reachable[person.name] = False
        tried = "; ".join(
            f"{show_address(address)}: {stage.in_words(reason)}"
            for address, reason in reasons(error)
        )
        stage.timeline.say(
            "stranger", f"→ {person.name} at {tried}", node="stranger", since=started, failed=True
        )
        return
    reachable[person.name] = True
    stage.timeline.say(
        "stranger",
        f"→ {person.name}: connected over {pretty(connection.transport)}; "
        f"{person.name} can be reached by everybody",
        node="stranger",
        since=started,
    )
    await stranger.host.disconnect(person.node.id)
