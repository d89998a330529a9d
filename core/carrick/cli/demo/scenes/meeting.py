"""Ana reaches Ben as soon as she can: over the relay, if there is no other way yet."""

from __future__ import annotations

from carrick.cli.demo.meet import meet
from carrick.cli.demo.stage import Stage
from carrick.cli.demo.talking import read
from carrick.cli.demo.words import reasons, show_address
from carrick.errors import DialError

__all__ = ["TITLE", "play"]

TITLE = "Ana reaches Ben, and data flows at once"


async def play(stage: Stage) -> None:
    """What `connect` returns first is used at once."""
    stage.focus("Ana", "relay", "Ben")
    try:
        met = await meet(stage, stage.ana, stage.ben, stage.addresses_of_ben)
    except DialError as error:
        for address, reason in reasons(error):
            text = f"→ {show_address(address)}: {stage.in_words(reason)}"
            stage.say(stage.ana, text, failed=True)
        return
    stage.meeting = met
    await read(met, met.first)
