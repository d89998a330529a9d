"""Who has a public address can be dialled back by whoever is behind a NAT, of whatever kind."""

from __future__ import annotations

from carrick.addressing import with_peer
from carrick.cli.demo.meet import meet
from carrick.cli.demo.scenes.hopeless import arrive
from carrick.cli.demo.stage import Stage
from carrick.protocols.relay import RelayClient

__all__ = ["TITLE", "play"]

TITLE = "Eva has no router: Dan, whom nobody can dial, dials her back"


async def play(stage: Stage) -> None:
    """Over the relay she asks, and he comes by himself."""
    stage.focus("Eva", "relay", "Dan")
    dan = stage.people["Dan"]
    await arrive(stage, "Eva", None, 2.0)
    start = stage.internet.time()
    (reservation,) = dan.node.service(RelayClient).reservations
    where = [with_peer(each, dan.node.id) for each in reservation.addresses]
    met = await meet(stage, stage.people["Eva"], dan, where)
    await met.settle()
    met.tell_outcome()
    stage.facts["reversal"] = met.fields()
    stage.focus("Eva", "relay", "Dan", start=start)
