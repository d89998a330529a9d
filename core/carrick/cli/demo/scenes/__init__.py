"""The scenes of the demonstration, in the order in which they are played.

A scene is an async function of the stage. It says what happened (`stage.say`), and leaves what
later scenes and the summary need in the stage's people and facts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from carrick.cli.demo.scenes import (
    contact,
    dial,
    forward,
    join,
    mirror,
    opening,
    request,
    strangers,
    transfer,
)
from carrick.cli.demo.stage import Stage

__all__ = ["SCENES", "Scene"]

Scene: TypeAlias = tuple[str, Callable[[Stage], Awaitable[None]]]

# Relay, hole punching and the DHT join here: `contact` is what the DHT will do, and behind `dial`
# stand the relayed connection and the punch.
SCENES: tuple[Scene, ...] = (
    (opening.TITLE, opening.play),
    (join.TITLE, join.play),
    (mirror.TITLE, mirror.play),
    (strangers.TITLE, strangers.play),
    (contact.TITLE, contact.play),
    (dial.TITLE, dial.play),
    (forward.TITLE, forward.play),
    (request.TITLE, request.play),
    (transfer.TITLE, transfer.play),
)
