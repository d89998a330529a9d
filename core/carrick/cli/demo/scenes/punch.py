"""Meanwhile their nodes looked for a direct way."""

from __future__ import annotations

from carrick.cli.demo.stage import Stage

__all__ = ["TITLE", "play"]

TITLE = "Meanwhile their nodes looked for a direct way"


async def play(stage: Stage) -> None:
    """Told afterwards, by the records: it began while they were talking."""
    met = stage.meeting
    if met is None:
        stage.say(stage.ana, "cannot: there is no connection", failed=True)
        return
    await met.settle()
    attempts = met.theirs.attempts if met.theirs is not None else []
    begun = attempts[0].started if attempts else met.first.opened_at
    stage.focus("Ana", "relay", "Ben", start=begun, end=stage.internet.time())
    met.tell_outcome()
    stage.facts["meeting"] = met.fields()
