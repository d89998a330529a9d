"""The scenes of the demonstration, in the order in which they are played.

A scene is an async function of the stage. It says what happened (`stage.say`), and leaves what
later scenes and the summary need in the stage's people and facts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from carrick.cli.demo.scenes import (
    contact,
    forwarding,
    hopeless,
    join,
    meeting,
    mirror,
    opening,
    punch,
    reservation,
    reversal,
    talk,
)
from carrick.cli.demo.stage import Stage

__all__ = ["ANA_AND_BEN", "OTHERS", "SCENES", "Scene"]

Scene: TypeAlias = tuple[str, Callable[[Stage], Awaitable[None]]]

# The DHT takes the place of `contact`.
ANA_AND_BEN: tuple[Scene, ...] = (
    (opening.TITLE, opening.play),
    (join.TITLE, join.play),
    (mirror.TITLE, mirror.play),
    (reservation.TITLE, reservation.play),
    (contact.TITLE, contact.play),
    (meeting.TITLE, meeting.play),
    (punch.TITLE, punch.play),
    (talk.TITLE, talk.play),
)
OTHERS: tuple[Scene, ...] = (
    (hopeless.TITLE, hopeless.play),
    (reversal.TITLE, reversal.play),
    (forwarding.TITLE, forwarding.play),
)
SCENES = ANA_AND_BEN + OTHERS
