"""The strategies `reverse` and `punch`: what a peer that is relayed does for a direct connection.

Both wait for what the upgrade of the relayed connection brings; the service does the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from carrick.errors import DialError
from carrick.host import Goal, Result, Step, Strategy
from carrick.protocols.dcutr.upgrade import Attempt, AttemptOutcome, Upgrade

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = ["Punch", "RelayAsAgreed", "Reverse"]

_RESULTS = {
    AttemptOutcome.SUCCESS: Result.OK,
    AttemptOutcome.DIRECT_DIAL: Result.SKIPPED,
    AttemptOutcome.CANCELLED: Result.CANCELLED,
    AttemptOutcome.UNKNOWN: Result.CANCELLED,
}


class Upgrader(Protocol):
    """What the strategies need of the service."""

    def upgrade(self, relayed: Connection) -> Upgrade: ...
    def bar(self, goal: Goal) -> bool: ...
    def unbar(self, peer: PeerId) -> None: ...


class Reverse:
    """The peer dials us."""

    name = "reverse"

    def __init__(self, upgrader: Upgrader) -> None:
        self._upgrader = upgrader

    async def reach(self, goal: Goal, step: Step) -> Connection:
        """Fails when the peer begins to punch instead, or does nothing."""
        upgrade = self._upgrader.upgrade(await goal.relayed())
        await upgrade.streamed.wait()
        if not upgrade.done.is_set():
            raise DialError("the peer did not dial back, and wants to punch", peer=goal.peer)
        goal.trace.outcome = upgrade.outcome.value if upgrade.outcome else None
        if upgrade.connection is None:
            raise DialError(upgrade.reason or "the peer did not dial back", peer=goal.peer)
        if upgrade.strategy != self.name:
            raise DialError("another way was faster", peer=goal.peer)
        step.address = upgrade.connection.remote_address
        return upgrade.connection


class Punch:
    """Both dial at the same moment."""

    name = "punch"

    def __init__(self, upgrader: Upgrader) -> None:
        self._upgrader = upgrader

    async def reach(self, goal: Goal, step: Step) -> Connection:
        """Takes a dial of the peer's that comes late, too."""
        upgrade = self._upgrader.upgrade(await goal.relayed())
        try:
            await upgrade.done.wait()
        finally:
            step.attempts += [_told(attempt) for attempt in upgrade.attempts]
        goal.trace.outcome = upgrade.outcome.value if upgrade.outcome else None
        if upgrade.connection is None:
            raise DialError(upgrade.reason or "no direct connection came about", peer=goal.peer)
        if upgrade.strategy != self.name and not upgrade.attempts:
            raise DialError("it was not necessary", peer=goal.peer)
        step.address = upgrade.connection.remote_address
        return upgrade.connection


class RelayAsAgreed:
    """The strategy `relay`, such that the peer is not led to what the caller does not want.

    With strategies that lack `reverse` the peer learns no direct address of ours over the relay;
    with those that lack `punch` its streams for that are refused.
    """

    def __init__(self, relay: Strategy, upgrader: Upgrader) -> None:
        self._relay = relay
        self._upgrader = upgrader

    @property
    def name(self) -> str:
        return self._relay.name

    async def reach(self, goal: Goal, step: Step) -> Connection:
        barred = self._upgrader.bar(goal)
        try:
            connection = await self._relay.reach(goal, step)
        except BaseException:
            self._upgrader.unbar(goal.peer)
            raise
        if barred:
            connection.call_at_end(lambda _: self._upgrader.unbar(goal.peer))
        return connection


def _told(attempt: Attempt) -> Step:
    """An attempt in the words of the trace."""
    address = attempt.addresses[0] if attempt.addresses else None
    step = Step(Punch.name, attempt.started, address=address)
    if attempt.ended is not None:
        result = _RESULTS.get(attempt.outcome, Result.FAILED)
        step.end(attempt.ended, result, attempt.reason)
    return step
