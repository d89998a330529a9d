"""What became of one relayed connection: the record of its upgrade to a direct one."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId
    from carrick.network import Connection

__all__ = ["Attempt", "AttemptOutcome", "Outcome", "Upgrade"]


class Outcome(enum.Enum):
    """What came of an upgrade, in punchr's words."""

    UNKNOWN = "UNKNOWN"
    NO_CONNECTION = "NO_CONNECTION"
    """The relayed connection ended before."""
    NO_STREAM = "NO_STREAM"
    """The peer never opened a stream for it, or we could open none."""
    CONNECTION_REVERSED = "CONNECTION_REVERSED"
    """Who was dialled dialled back."""
    CANCELLED = "CANCELLED"
    """It was not necessary, or not wanted."""
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"


class AttemptOutcome(enum.Enum):
    """What came of one attempt, in punchr's words."""

    UNKNOWN = "UNKNOWN"
    DIRECT_DIAL = "DIRECT_DIAL"
    """An ordinary dial was faster than the punch."""
    PROTOCOL_ERROR = "PROTOCOL_ERROR"
    """The exchange over the relay failed."""
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    """The exchange over the relay took too long."""
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"


@dataclass(slots=True)
class Attempt:
    """One exchange over the relay, and the punch that followed.

    Attributes:
        started, ended: seconds of `trio.current_time()`.
        addresses: where we punched, or dialled at the peer's request.
        rtt: over the relay, in this attempt, as far as it was measured.
        reason: why it failed.
        carrick: the peer speaks our extension, and so counts the time as we do.
    """

    started: float
    ended: float | None = None
    outcome: AttemptOutcome = AttemptOutcome.UNKNOWN
    addresses: tuple[Multiaddr, ...] = ()
    rtt: float | None = None
    reason: str | None = None
    carrick: bool = False

    def end(self, now: float, outcome: AttemptOutcome, reason: str | None = None) -> None:
        """It is over; the first word counts."""
        if self.ended is None:
            self.ended, self.outcome, self.reason = now, outcome, reason


class Upgrade:
    """The upgrade of one relayed connection.

    Attributes:
        relayed: the connection that is to be upgraded.
        initiator: whether we are B, who was reached over the relay and leads the upgrade.
        started: when it began, in seconds of `trio.current_time()`.
        attempts: the punches, in order.
        dialled: where we dial in the ordinary way.
        predicted: where our packets to the peer will come from, as foretold before the first one:
            later ones come from there too.
        punching: it is past the exchange: a connection that comes now ends the punch by itself.
        nearby: the peer seems to be on our side of the NAT.
        streamed: set once a stream of the protocol was opened, or when it is over.
        done: set when it is over.
        outcome, reason, connection, strategy: what came of it, once it is over.
    """

    def __init__(self, relayed: Connection, *, initiator: bool) -> None:
        self.relayed = relayed
        self.initiator = initiator
        self.started = trio.current_time()
        self.attempts: list[Attempt] = []
        self.dialled: set[Multiaddr] = set()
        self.streamed = trio.Event()
        self.done = trio.Event()
        self.outcome: Outcome | None = None
        self.reason: str | None = None
        self.connection: Connection | None = None
        self.strategy: str | None = None
        self.patience = trio.CancelScope()
        """Of A, for B's next move."""
        self.attempting = trio.CancelScope()
        """Of the attempt that runs; of B's whole work."""
        self.predicted: tuple[Multiaddr, ...] | None = None
        self.predicting = trio.Lock()
        self.punching = False
        self.nearby = False

    def __repr__(self) -> str:
        state = "running" if self.outcome is None else self.outcome.value
        return f"<Upgrade {state} to {self.peer}>"

    @property
    def peer(self) -> PeerId:
        return self.relayed.peer_id

    @property
    def attempt(self) -> Attempt | None:
        """The one that runs."""
        if self.attempts and self.attempts[-1].ended is None:
            return self.attempts[-1]
        return None

    def begin(self, attempt: Attempt) -> None:
        """A new attempt, which ends the one that runs. `attempting` is its scope."""
        self.attempting.cancel()
        self.attempting = trio.CancelScope()
        self.patience.deadline = math.inf
        self.attempts.append(attempt)
        self.streamed.set()

    def finish(
        self,
        outcome: Outcome,
        reason: str | None = None,
        *,
        connection: Connection | None = None,
        strategy: str | None = None,
    ) -> None:
        """It is over; the first word counts."""
        if not self.done.is_set():
            self.outcome, self.reason = outcome, reason
            self.connection, self.strategy = connection, strategy
            self.streamed.set()
            self.done.set()
