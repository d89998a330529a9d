"""Others tell us where they see us, and so what our NAT does to us."""

from __future__ import annotations

import trio

from carrick.cli.demo.stage import Person, Stage
from carrick.cli.demo.words import nat_in_words
from carrick.host import Layers
from carrick.protocols.nat import NatDetector

__all__ = ["TITLE", "play", "until_classified"]

TITLE = "Both learn from others how they look from outside"


async def play(stage: Stage) -> None:
    """By identify from peers, and from the STUN server."""
    stage.focus("Ana", "STUN server", "Ben", start=0.0)
    async with trio.open_nursery() as nursery:
        for person in stage.people.values():
            nursery.start_soon(_look, stage, person)


async def _look(stage: Stage, person: Person) -> None:
    async with trio.open_nursery() as nursery:
        for node in stage.public.values():
            nursery.start_soon(person.node.connect, node)
    _tell_sightings(stage, person)
    await until_classified(person)
    nat = person.node.host.nat
    for protocol, behaviour in (("UDP", nat.udp), ("TCP", nat.tcp)):
        stage.say(person, f"{protocol}: {nat_in_words(behaviour)}")
    if nat.layers not in (Layers.UNKNOWN, Layers.NONE):
        stage.say(person, f"layers: {nat.layers.value}")
    stage.facts.setdefault("nat", {})[person.name] = {
        "udp": nat.udp.type,
        "tcp": nat.tcp.type,
        "address": nat.address,
    }


async def until_classified(person: Person) -> None:
    """Until the STUN server has told what it can."""
    findings = person.node.service(NatDetector)
    await person.until(
        lambda: bool(findings.findings.udp.bindings or findings.findings.tcp.bindings)
    )


def _tell_sightings(stage: Stage, person: Person) -> None:
    by_protocol: dict[str, dict[str, tuple[str, int]]] = {}
    for each in person.node.host.observed.sightings(stage.internet.time()):
        by_protocol.setdefault(each.protocol, {})[str(each.observer)] = each.seen
    stage.facts.setdefault("seen", {})[person.name] = by_protocol
    for protocol, views in sorted(by_protocol.items()):
        ends = list(dict.fromkeys(f"{host} port {port}" for host, port in views.values()))
        shown = ", ".join(ends[:2]) + (", …" if len(ends) > 2 else "")
        count = f"{len(views)} peers see" if len(views) > 1 else "1 peer sees"
        stage.say(person, f"{count} {shown} ({protocol.upper()})")
