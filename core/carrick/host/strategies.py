"""How a peer is reached: by which strategies, and what came of each.

A strategy is one way to a peer: `direct` (its addresses), `reverse` (it dials us), `punch` (both
dial at once), `relay` (the last resort). Services bring theirs by `Host.add_strategy`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiaddr import Multiaddr

    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = [
    "STRATEGIES",
    "ConnectTrace",
    "Direct",
    "Goal",
    "Relay",
    "Result",
    "Step",
    "Strategy",
]

STRATEGIES = ("direct", "reverse", "punch", "relay")


class Result(enum.Enum):
    """What came of a step."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(slots=True)
class Step:
    """One strategy within one `connect`, or one attempt within a strategy.

    Attributes:
        started, ended: seconds of `trio.current_time()`; `ended` is None while it runs.
        reason: why it failed or was skipped.
        address: where the connection leads, or what was tried.
        attempts: what it was made of: addresses dialled, punches.
    """

    strategy: str
    started: float
    ended: float | None = None
    result: Result = Result.RUNNING
    reason: str | None = None
    address: Multiaddr | None = None
    attempts: list[Step] = field(default_factory=list)

    def begin(self, now: float, address: Multiaddr | None = None) -> Step:
        """An attempt within this step."""
        attempt = Step(self.strategy, now, address=address)
        self.attempts.append(attempt)
        return attempt

    def end(self, now: float, result: Result, reason: str | None = None) -> None:
        """It is over; the first word counts."""
        if self.result is Result.RUNNING:
            self.ended, self.result, self.reason = now, result, reason

    def to_json(self, origin: float) -> dict[str, Any]:
        """`{strategy, start_ms, end_ms, result, reason, address, attempts}`; times since
        `origin`."""
        return {
            "strategy": self.strategy,
            "start_ms": _ms(self.started - origin),
            "end_ms": None if self.ended is None else _ms(self.ended - origin),
            "result": self.result.value,
            "reason": self.reason,
            "address": None if self.address is None else str(self.address),
            "attempts": [each.to_json(origin) for each in self.attempts],
        }


@dataclass(slots=True)
class ConnectTrace:
    """What one `connect` did, step by step. Steps may go on after it has returned a relayed
    connection.

    Attributes:
        started: seconds of `trio.current_time()`.
        outcome: punchr's name for it: `UNKNOWN`, `NO_CONNECTION`, `NO_STREAM`,
            `CONNECTION_REVERSED`, `CANCELLED`, `FAILED`, `SUCCESS`; None: nothing was punched.
    """

    started: float = 0.0
    steps: list[Step] = field(default_factory=list)
    outcome: str | None = None
    _settled: trio.Event = field(default_factory=trio.Event, repr=False, compare=False)

    async def settled(self) -> None:
        """Wait until all steps have ended, also those that went on in the background."""
        await self._settled.wait()

    def settle(self) -> None:
        """All steps have ended. For the engine."""
        self._settled.set()

    def begin(self, strategy: str, now: float) -> Step:
        """A step. For the engine."""
        step = Step(strategy, now)
        self.steps.append(step)
        return step

    def to_json(self) -> list[dict[str, Any]]:
        return [step.to_json(self.started) for step in self.steps]


class Goal(Protocol):
    """What one `connect` wants, as strategies see it."""

    @property
    def peer(self) -> PeerId: ...
    @property
    def strategies(self) -> Sequence[str]:
        """Those that may be used, in the order in which they start."""

    @property
    def direct(self) -> bool:
        """A relayed connection is not the aim, only a means."""

    @property
    def trace(self) -> ConnectTrace: ...

    async def dial(self, step: Step, *, relayed: bool = False) -> Connection:
        """Dial the peer at its addresses, those that were given and those that the address sources
        know; each becomes an attempt of `step`.

        Args:
            relayed: at those over relays, instead of the direct ones.

        Raises:
            DialError: with one cause per address.
        """

    async def relayed(self) -> Connection:
        """The relayed connection with the peer, over which the two can agree on a direct one. It is
        made once for all strategies.

        Raises:
            CarrickError: the peer is not reached over any relay.
        """


class Strategy(Protocol):
    """One way to reach a peer."""

    @property
    def name(self) -> str:
        """As in `STRATEGIES`."""

    async def reach(self, goal: Goal, step: Step) -> Connection:
        """Reach the peer; `step` takes what there is to tell, its end apart.

        May be cancelled when another strategy was faster.

        Raises:
            CarrickError: why not.
        """


class Direct:
    """Dials the peer."""

    name = "direct"

    async def reach(self, goal: Goal, step: Step) -> Connection:
        return await goal.dial(step)


class Relay:
    """Dials the peer over relays: those of its addresses, or else those that relay to us."""

    name = "relay"

    async def reach(self, goal: Goal, step: Step) -> Connection:
        return await goal.dial(step, relayed=True)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
