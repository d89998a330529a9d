"""Others try whether strangers get in (AutoNAT); who is not reached takes a place at a relay."""

from __future__ import annotations

import trio

from carrick.cli.demo.stage import Person, Stage
from carrick.cli.output import human_bytes
from carrick.host import Dependence, Reachability
from carrick.protocols.autonat import AutoNat
from carrick.protocols.relay import AutoRelay, Reservation

__all__ = ["TITLE", "play"]

TITLE = "Can strangers reach them? Who cannot be reached takes a place at a relay"


async def play(stage: Stage) -> None:
    """Both as their services decide: nobody tells them to."""
    stage.focus("Ana", "relay", "tokyo", "quito", "oslo", "Ben")
    async with trio.open_nursery() as nursery:
        for person in stage.people.values():
            nursery.start_soon(_settle, stage, person)


async def _settle(stage: Stage, person: Person) -> None:
    autonat, autorelay = person.node.service(AutoNat), person.node.service(AutoRelay)
    said = Reachability.UNKNOWN

    def settled() -> bool:
        nonlocal said
        if autonat.reachability is not said:
            said = autonat.reachability
            _tell_verdict(stage, person, said)
        open_to_all = said is Reachability.PUBLIC and not _lets_in_acquaintances(person)
        return open_to_all or bool(autorelay.reservations)

    await person.until(settled)
    for reservation in autorelay.reservations:
        unsure = said is Reachability.UNKNOWN
        _tell(stage, person, reservation, unsure=unsure)
    stage.facts.setdefault("reachable", {})[person.name] = not autorelay.reservations


def _tell_verdict(stage: Stage, person: Person, verdict: Reachability) -> None:
    if verdict is Reachability.PUBLIC:
        but = "no relay is needed"
        if _lets_in_acquaintances(person):
            but = "but the router lets in whom it has met, and it had met these"
        stage.say(person, f"others dialled back from ports it had never seen, and got in: {but}")
    else:
        stage.say(person, "others dialled back from ports it had never seen, and did not get in")


def _lets_in_acquaintances(person: Person) -> bool:
    """AutoNAT's servers are that: a restricted cone deceives it."""
    return person.node.host.nat.udp.filtering is Dependence.ADDRESS


def _tell(stage: Stage, person: Person, reservation: Reservation, *, unsure: bool) -> None:
    limit = reservation.limit
    stage.facts.setdefault("reserved", {})[person.name] = stage.in_words(str(reservation.relay))
    allows = ""
    if limit.data and limit.duration:
        allows = f", which lends each connection {human_bytes(limit.data)} and {limit.duration} s"
    why = "is seen at no address twice, so nobody could try; after a minute " if unsure else ""
    name = stage.in_words(str(reservation.relay))
    stage.say(person, f"{why}has a place at the node “{name}”{allows}")
