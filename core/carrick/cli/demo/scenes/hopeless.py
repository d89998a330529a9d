"""A pair that no punch can help: both NATs are symmetric."""

from __future__ import annotations

import trio

from carrick.addressing import Multiaddr, with_peer
from carrick.cli.demo.meet import meet
from carrick.cli.demo.scenes.mirror import until_classified
from carrick.cli.demo.stage import Person, Stage
from carrick.cli.demo.talking import compare
from carrick.protocols.relay import RelayClient
from carrick.testing import on_machine

__all__ = ["TITLE", "arrive", "play", "reserve"]

TITLE = "Cleo and Dan have routers of the worst kind: they stay on the relay, and know why"

NAT = "symmetric"


async def play(stage: Stage) -> None:
    """They do not waste their time on it."""
    stage.focus("Cleo", "relay", "Dan")
    async with trio.open_nursery() as nursery:
        for name, distance in (("Cleo", 1.0), ("Dan", 1.5)):
            nursery.start_soon(arrive, stage, name, NAT, distance)
    cleo, dan = stage.people["Cleo"], stage.people["Dan"]
    where = await reserve(stage, dan)
    start = stage.internet.time()
    met = await meet(stage, cleo, dan, where)
    await met.settle()
    met.tell_outcome()
    stage.facts["hopeless"] = met.fields() | await compare(met, met.first)
    stage.focus("Cleo", "relay", "Dan", start=start)


async def arrive(stage: Stage, name: str, nat: str | None, distance: float) -> None:
    """Somebody joins, and learns where others see them."""
    person = await stage.enter(name, nat, distance=distance)
    for node in ("bootstrap", "relay"):
        await person.node.connect(stage.public[node])
    await until_classified(person)
    behind = "has a public address" if nat is None else f"is behind a router of the kind “{nat}”"
    stage.say(person, behind)


async def reserve(stage: Stage, person: Person) -> list[Multiaddr]:
    """A place at the relay, asked for by hand; the addresses that come with it."""
    with on_machine(person.machine):
        client = person.node.service(RelayClient)
        reservation = await client.reserve(stage.public["relay"].addresses)
    stage.say(person, "has a place at the relay")
    return [with_peer(each, person.node.id) for each in reservation.addresses]
