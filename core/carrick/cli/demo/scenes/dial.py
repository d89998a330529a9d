"""Ana dials Ben."""

from __future__ import annotations

from carrick.cli.demo.stage import Stage, pretty, reasons, show_address
from carrick.errors import DialError

__all__ = ["TITLE", "dial_ben", "play"]

TITLE = "Ana dials Ben, at every address"


async def play(stage: Stage) -> None:
    """Which works if Ben's router lets strangers in."""
    started = stage.internet.time()
    await dial_ben(stage)
    if stage.link is None:
        dropped = stage.dropped_by(stage.ben, started)
        stage.timeline.say(
            "Ben's router",
            (f"dropped {dropped} packets that" if dropped else "refused what")
            + " nobody at home had asked for (the relay and hole punching will join here)",
            since=started,
        )


async def dial_ben(stage: Stage) -> None:
    """Try all that Ana knows of Ben; `stage.link` is what comes of it."""
    started = stage.internet.time()
    try:
        connection = await stage.ana.node.connect(stage.addresses_of_ben)
    except DialError as error:
        for address, reason in reasons(error):
            text = f"→ {show_address(address)}: {stage.in_words(reason)}"
            stage.say(stage.ana, text, failed=True)
        return
    stage.link = connection
    stage.say(
        stage.ana,
        f"→ {show_address(connection.remote_address)}: connected, {pretty(connection.transport)}",
        since=started,
    )
    back = next(each for each in stage.ben.node.connections if each.peer_id == stage.ana.node.id)
    stage.say(stage.ben, f"sees Ana at {show_address(back.remote_address)}")
