"""Others tell us how they see us: what our NAT does to us."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from carrick.addressing import Multiaddr, transport_name
from carrick.cli.demo.stage import Person, Stage, end_of, pretty, reasons, show_address, show_end
from carrick.errors import DialError
from carrick.protocols.identify import Identify
from carrick.testing import PORT, Node

__all__ = ["TITLE", "mapping", "play"]

TITLE = "Both learn from others how they look from outside (identify)"

OBSERVERS = ("bootstrap", "relay", "tokyo", "quito", "oslo", "accra")


async def play(stage: Stage) -> None:
    """Each connects to all the public nodes, and compares what they say."""
    observers = {name: stage.public[name] for name in OBSERVERS}
    async with trio.open_nursery() as nursery:
        for person in stage.people:
            nursery.start_soon(_look, stage, person, observers)
    for person in stage.people:
        found = stage.facts.setdefault("mapping", {}).setdefault(person.name, {})
        for transport, views in person.seen.items():
            found[transport] = mapping(views.values(), person.machine.address)


async def _look(stage: Stage, person: Person, observers: dict[str, Node]) -> None:
    started = stage.internet.time()
    async with trio.open_nursery() as nursery:
        for name, node in observers.items():
            nursery.start_soon(_ask, stage, person, name, node)
    for transport, views in sorted(person.seen.items()):
        verdict = mapping(views.values(), person.machine.address)
        addresses = sorted({show_end(address) for address in views.values()})
        shown = ", ".join(addresses[:2]) + (", …" if len(addresses) > 2 else "")
        stage.say(
            person,
            f"{pretty(transport)}: {len(views)} observers saw {shown}: {verdict}",
            since=started,
        )


async def _ask(stage: Stage, person: Person, name: str, observer: Node) -> None:
    started = stage.internet.time()
    try:
        connection = await person.node.connect(observer)
    except DialError as error:
        for address, reason in reasons(error):
            text = f"→ {name} at {show_address(address)}: {reason}"
            stage.say(person, text, since=started, failed=True)
        return
    info = await person.node.service(Identify).identify(connection)
    address = info.observed_address
    if address is not None:
        person.seen.setdefault(transport_name(address) or "?", {})[name] = address


def mapping(seen: Iterable[Multiaddr], own: str) -> str:
    """What these views say of the NAT between, in the words of RFC 4787."""
    views = list(seen)
    ends = {end_of(view) for view in views}
    if len(views) < 2:
        return "too few to tell"
    if len(ends) > 1:
        return "another address for each destination (address- or port-dependent mapping)"
    ((host, port),) = ends
    if host == own:
        return "no translation"
    kept = "the port is kept" if port == PORT else "another port"
    return f"one address for all (endpoint-independent mapping; {kept})"
