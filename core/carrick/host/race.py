"""One `connect`: its strategies start one after another, and the first connection that will do
wins."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import trio

from carrick.errors import CarrickError, DialError, NoAddresses
from carrick.host.strategies import ConnectTrace, Result, Step, Strategy
from carrick.network import Connection, Search, Way
from carrick.network.firewall import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from multiaddr import Multiaddr

    from carrick.host.alarms import Alarm
    from carrick.identity import PeerId

__all__ = ["BACKGROUND", "HEAD_START", "Race", "Surroundings", "Watch"]

HEAD_START = 0.5  # s; what go-libp2p gives direct addresses before relayed ones (RelayDelay)
BACKGROUND = 60.0  # s that the rest of a race may take after it has given a relayed connection

_log = logging.getLogger("carrick.host")

# punchr's names for how a race ended that the strategy did not name itself.
_OUTCOMES = {
    ("reverse", Result.OK): "CONNECTION_REVERSED",
    ("punch", Result.OK): "SUCCESS",
    ("punch", Result.FAILED): "FAILED",
    ("punch", Result.CANCELLED): "CANCELLED",
}


class Surroundings(Protocol):
    """What a race needs of the engine."""

    @property
    def strategies(self) -> Mapping[str, Strategy]: ...

    def spawn(self, function: Callable[..., Awaitable[None]], *args: object) -> bool:
        """Run it in a task; False: the host is closing."""

    def call_at(self, time: float, function: Callable[[], None]) -> Alarm: ...
    def may_go_on(self, race: Race) -> bool:
        """Whether there is room for it in the background."""

    def ended(self, race: Race) -> None:
        """None of its tasks is left."""

    def own_relays(self) -> Iterable[Multiaddr]:
        """Where peers are relayed to us, without `/p2p/<us>`."""


@dataclass(slots=True)
class _Run:
    """A strategy that runs."""

    step: Step
    scope: trio.CancelScope


class Race:
    """See `carrick.host.strategies.Goal`.

    Args:
        search: the peer, and where it may be.
        strategies: their names, in the order in which they start.
        direct: a relayed connection will not do.
        deadline: when what goes on in the background ends, in seconds of `trio.current_time()`.
    """

    def __init__(
        self,
        engine: Surroundings,
        search: Search,
        strategies: Sequence[str],
        *,
        direct: bool,
        trace: ConnectTrace,
        deadline: float,
    ) -> None:
        self.peer: PeerId = search.peer
        self.strategies = strategies
        self.direct = direct
        self.trace = trace
        self.connection: Connection | None = None
        """The one that has won."""
        self.means: Connection | None = None
        """The relayed one, if there is any."""
        self._engine = engine
        self._search = search
        self._deadline = deadline
        self._queue = deque(strategies)
        self._running: dict[str, _Run] = {}
        self._failures: dict[str, Exception] = {}
        self._alarm: Alarm | None = None
        self._decided = trio.Event()
        self._relay_ended: trio.Event | None = None
        self._stopped: str | None = None
        self._over = False

    async def run(self) -> Connection:
        """The first connection that will do.

        Raises:
            DialError: with one cause for each address and strategy tried.
        """
        try:
            if self._queue[0] == "direct":
                # Most peers are reached so, and at once: that needs no task.
                run = self._begin(self._queue.popleft())
                self._set_alarm("direct")
                await self._carry(run)
            else:
                self._advance()
            if not self._decided.is_set():
                await self._decided.wait()
        except BaseException:
            self.stop("cancelled")
            raise
        if self.connection is None:
            raise self._error()
        return self.connection

    def stop(self, reason: str) -> None:
        """Start nothing more, and end what runs."""
        self._stopped = self._stopped or reason
        self._queue.clear()
        for run in self._running.values():
            run.scope.cancel()
        if not self._running:
            self._settle()

    # --- what strategies see ----------------------------------------------------------------------

    async def dial(self, step: Step, *, relayed: bool = False) -> Connection:
        watch = Watch(step)
        if not relayed:
            return await self._search.connect(Way.DIRECT, watch=watch)
        try:
            return await self._search.connect(Way.RELAYED, watch=watch)
        except NoAddresses:
            # It may be on a relay on which we are.
            ours = tuple(self._engine.own_relays())
            if not ours:
                raise NoAddresses("no relay is known to lead to it", peer=self.peer) from None
        return await self._search.dial(ours, watch=watch)

    async def relayed(self) -> Connection:
        if self._relay_ended is None:
            self._start("relay")
        assert self._relay_ended is not None
        await self._relay_ended.wait()
        if self.means is not None and not self.means.closed:
            return self.means
        raise NoAddresses("it is not reached over any relay", peer=self.peer)

    # --- one strategy after another ---------------------------------------------------------------

    def _advance(self) -> None:
        """Start the next strategy; if none is left or runs, that was all."""
        self._drop_alarm()
        while self._queue:
            name = self._queue.popleft()
            if name == "relay" and (self.direct or self._relay_ended is not None):
                continue  # it is but a means; or it runs already
            if name not in self._engine.strategies:
                step = self.trace.begin(name, trio.current_time())
                step.end(step.started, Result.SKIPPED, "no service of this host brings it")
                continue
            self._start(name)
            self._set_alarm(name)
            return
        if not self._running:
            self._settle()

    def _start(self, name: str) -> None:
        run = self._begin(name)
        if not self._engine.spawn(self._carry, run):
            self._ended(run.step, None, None)

    def _begin(self, name: str) -> _Run:
        scope = trio.CancelScope()
        if self.connection is not None:
            scope.deadline = self._deadline
        if name == "relay":
            self._relay_ended = trio.Event()
        run = self._running[name] = _Run(self.trace.begin(name, trio.current_time()), scope)
        return run

    async def _carry(self, run: _Run) -> None:
        step = run.step
        found: Connection | None = None
        error: Exception | None = None

        async def reach() -> None:
            nonlocal found
            found = await self._engine.strategies[step.strategy].reach(self, step)

        def failed(cause: Exception) -> None:
            nonlocal error
            error = cause
            if not isinstance(cause, CarrickError):
                _log.error("the strategy %s failed", step.strategy, exc_info=cause)

        try:
            with run.scope:
                await guarded(reach, failed=failed)
        except BaseException:
            self._stopped = self._stopped or "cancelled"  # from outside
            self._queue.clear()
            raise
        finally:
            self._ended(step, found, error)

    def _ended(self, step: Step, found: Connection | None, error: Exception | None) -> None:
        now = trio.current_time()
        name = step.strategy
        del self._running[name]
        for attempt in step.attempts:
            attempt.end(now, Result.CANCELLED)
        if name != "relay" and found is not None and found.is_relayed and not self._takes_relayed:
            found, error = None, CarrickError("it is only relayed", peer=self.peer)
        if found is not None:
            step.address = found.remote_address
            step.end(now, Result.OK)
            self._reached(name, found)
        elif error is not None:
            step.end(now, Result.FAILED, _reason(error))
            self._failures[name] = error
        else:
            step.end(now, Result.CANCELLED, self._stopped or "not done in time")
        if name == "relay":
            assert self._relay_ended is not None
            self._relay_ended.set()
        if self.trace.outcome is None:
            self.trace.outcome = self._outcome(step)
        if not self._running:
            self._advance()

    def _outcome(self, step: Step) -> str | None:
        """punchr's name for it, if the strategy did not name it itself."""
        unrelayed = self._relay_ended is not None and self.means is None
        if unrelayed and step.strategy in ("reverse", "punch") and step.result is Result.FAILED:
            return "NO_CONNECTION"
        return _OUTCOMES.get((step.strategy, step.result))

    @property
    def _takes_relayed(self) -> bool:
        return "relay" in self.strategies and not self.direct

    def _reached(self, name: str, connection: Connection) -> None:
        if connection.is_relayed:
            self.means = connection
            if not self._takes_relayed:
                return
        if self.connection is None:
            self.connection = connection
            self._decided.set()
        if not connection.is_relayed:
            if name == "direct":
                self.trace.outcome = None  # whatever went on beside it was not needed
            self.stop("another strategy was quicker")
        elif not self._engine.may_go_on(self):
            self.stop("too many races go on in the background")
        else:
            # The caller waits no more: the dial that it waited for ends, all else goes on.
            for other, run in self._running.items():
                run.scope.deadline = self._deadline
                if other == "direct":
                    run.step.end(trio.current_time(), Result.CANCELLED, "the relay was quicker")
                    run.scope.cancel()

    # --- time, and the end ------------------------------------------------------------------------

    def _set_alarm(self, name: str) -> None:
        """The next strategy has to wait no longer than this, now that `name` has started."""
        if self._queue:
            nothing_to_dial = name == "direct" and self._search.only_relayed
            wait = 0.0 if nothing_to_dial else HEAD_START
            self._alarm = self._engine.call_at(trio.current_time() + wait, self._advance)

    def _drop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _settle(self) -> None:
        if not self._over:
            self._over = True
            self._drop_alarm()
            self._decided.set()
            self.trace.settle()
            self._engine.ended(self)

    def _error(self) -> Exception:
        """Why nothing came of it: what happened at addresses, if anything did."""
        begun = [step.strategy for step in self.trace.steps if step.strategy in self._failures]
        failures = [(name, self._failures[name]) for name in begun]
        if len(failures) == 1 and isinstance(failures[0][1], DialError):
            return failures[0][1]
        causes: list[tuple[object, BaseException]] = []
        for name, error in failures:
            causes += getattr(error, "causes", ()) or [(name, error)]
        tried = [cause for cause in causes if not isinstance(cause[1], NoAddresses)]
        if tried:
            return DialError("the peer could not be reached", peer=self.peer, causes=tried)
        if causes:
            return NoAddresses("no address is known", peer=self.peer)
        skipped = [(each.strategy, CarrickError(each.reason or "")) for each in self.trace.steps]
        return DialError("the peer could not be reached", peer=self.peer, causes=skipped)


class Watch:
    """Makes an attempt of each address that is dialled; see `carrick.network.dial.DialWatch`."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def started(self, address: Multiaddr) -> None:
        self._step.begin(trio.current_time(), address)

    def ended(self, address: Multiaddr, outcome: Connection | BaseException | None) -> None:
        now = trio.current_time()
        attempt = next(
            (each for each in reversed(self._step.attempts) if each.address == address), None
        )
        if attempt is None:
            if self._step.result is not Result.RUNNING:
                return
            attempt = self._step.begin(now, address)
            if outcome is None:
                attempt.end(now, Result.SKIPPED, "another address was quicker")
                return
        if outcome is None:
            attempt.end(now, Result.CANCELLED, "another address was quicker")
        elif isinstance(outcome, BaseException):
            attempt.end(now, Result.FAILED, _reason(outcome))
        else:
            attempt.end(now, Result.OK)


def _reason(error: BaseException) -> str:
    """In one line."""
    text = error.message if isinstance(error, CarrickError) else str(error)
    return text or type(error).__name__
