"""One person reaches another, and what happened on the way: read off the trace, the records of
DCUtR, and the packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from carrick import Connection
from carrick.addressing import Multiaddr
from carrick.cli.demo.stage import Person, Stage
from carrick.cli.demo.words import nat_in_words, show_address, show_path
from carrick.cli.output import human_time, milliseconds
from carrick.host import ConnectTrace, NatBehaviour, Result
from carrick.protocols.dcutr import Attempt, Upgrade

__all__ = ["Meeting", "meet"]


@dataclass(eq=False)
class Meeting:
    """One person has reached another.

    Attributes:
        trace: of `connect`.
        first: the connection that `connect` returned.
        started: when it was called.
        mine, theirs: what DCUtR did, if the two were relayed; once `settle` has returned.
    """

    stage: Stage
    one: Person
    other: Person
    trace: ConnectTrace
    first: Connection
    started: float
    mine: Upgrade | None = None
    theirs: Upgrade | None = None

    async def settle(self) -> None:
        """Wait until nothing more is tried."""
        await self.trace.settled()
        self.mine = self.one.upgrade(self.other)
        self.theirs = self.other.upgrade(self.one)

    @property
    def connection(self) -> Connection | None:
        """The best that they have now."""
        return self.one.connection(self.other)

    @property
    def way(self) -> str:
        """`direct`, `reverse`, `punch` or `relay`: which strategy led to it."""
        succeeded = [each.strategy for each in self.trace.steps if each.result is Result.OK]
        return next((each for each in succeeded if each != "relay"), "relay")

    @property
    def reason(self) -> str | None:
        """Why it stayed relayed."""
        told = [
            each.reason for each in self.trace.steps if each.strategy == "punch" and each.reason
        ]
        return told[-1] if told and self.way == "relay" else None

    def fields(self) -> dict[str, Any]:
        best = self.connection
        return {
            "way": self.way,
            "outcome": self.trace.outcome,
            "reason": self.reason,
            "address": None if best is None else best.remote_address,
            "trace": self.trace.to_json(),
        }

    # --- telling ----------------------------------------------------------------------------------

    def tell_outcome(self) -> None:
        """What became of it, beyond the first connection."""
        match self.way:
            case "direct":
                self._say("a direct connection at once: nothing is left to do")
            case "reverse":
                self._tell_direct(f"{self.other.name} dialled back, and got in")
            case "punch":
                self._tell_punch()
            case "relay":
                self._tell_relayed()

    def _tell_direct(self, how: str) -> None:
        upgrade = self.mine
        if upgrade is not None and upgrade.connection is not None:
            connection = upgrade.connection
            self.stage.say(
                self.one,
                f"{how}: direct, with {show_path(connection)}",
                at=connection.opened_at,
                since=self.started,
                note="direct",
            )

    def _tell_punch(self) -> None:
        leader, upgrade = self.other, self.theirs
        if upgrade is None or self.mine is None:
            return
        for number, attempt in enumerate(upgrade.attempts, 1):
            if attempt.rtt is None or not attempt.addresses:
                continue
            agreed = f"attempt {number}: " if len(upgrade.attempts) > 1 else ""
            first, *others = map(show_address, attempt.addresses)
            where = f"{first} and {len(others)} more" if others else first
            self.stage.say(
                leader,
                f"{agreed}asked over the relay where {self.one.name} is ({where}); "
                f"question and answer took {human_time(attempt.rtt)}: so “now” takes half of it",
                at=attempt.started + attempt.rtt,
                since=attempt.started,
                note=f"now takes {human_time(attempt.rtt / 2)}",
            )
            self._tell_crossing(attempt)
        self._tell_direct("the hole is punched")

    def _tell_crossing(self, attempt: Attempt) -> None:
        """When the first packet of each left, by what the simulator recorded."""
        begin = attempt.started + 1.5 * (attempt.rtt or 0.0) - 0.001  # SYNC arrives then
        mine = self.departure(self.one, self.other, begin)
        theirs = self.departure(self.other, self.one, begin)
        if mine is None or theirs is None:
            return
        apart = abs(mine - theirs)
        self.stage.facts["apart_ms"] = milliseconds(apart)
        self.stage.timeline.say(
            "both",
            f"dial each other at the same instant ({human_time(apart)} apart): each router sees "
            "its own side write first, and lets the answer in",
            at=max(mine, theirs),
            note="both dial at once",
        )

    def _tell_relayed(self) -> None:
        self._say(f"stays on the relay: {self.reason or 'nothing else worked'}", failed=True)
        for person in (self.one, self.other):
            nat = person.node.host.nat
            self.stage.say(person, f"UDP: {nat_in_words(nat.udp)}; TCP: {nat.tcp.type}")
        nats = [person.node.host.nat for person in (self.one, self.other)]
        blocked = any(nat.udp.blocked for nat in nats)
        behaviours = [nat.tcp if blocked else nat.udp for nat in nats]
        self._say(_why(*behaviours))

    def departure(self, sender: Person, receiver: Person, begin: float) -> float | None:
        """When the first packet left `sender` for the router of `receiver`."""
        places = {receiver.outside, receiver.machine.address}
        return next(
            (
                entry.time
                for entry in self.stage.internet.trace
                if entry.time >= begin
                and entry.sender == sender.machine.name
                and entry.destination[0] in places
            ),
            None,
        )

    def _say(self, text: str, *, failed: bool = False) -> None:
        self.stage.say(self.one, text, failed=failed)


async def meet(stage: Stage, one: Person, other: Person, where: list[Multiaddr]) -> Meeting:
    """`one` connects to `other`, and says what it got first.

    Raises:
        DialError: nothing worked.
    """
    trace, started = ConnectTrace(), stage.internet.time()
    connection = await one.node.connect(where, trace=trace)
    got, over = ("relayed", "over") if connection.is_relayed else ("direct", "at")
    stage.say(
        one,
        f"reached {other.name}: {got}, {over} {show_path(connection)}; sealed from end to end",
        at=connection.opened_at,
        since=started,
        note=got,
    )
    return Meeting(stage, one, other, trace, connection, started)


def _why(here: NatBehaviour, there: NatBehaviour) -> str:
    if here.is_symmetric and there.is_symmetric:
        return "neither can tell the other at which door to knock"
    if here.is_symmetric or there.is_symmetric:
        return (
            "one cannot tell at which door it will appear, and the other's router lets nobody "
            "else in"
        )
    return "no packet found a way in"
