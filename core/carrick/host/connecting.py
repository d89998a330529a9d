"""The engine behind `Host.connect`: every way to a peer, one after another and side by side."""

from __future__ import annotations

import math
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from carrick.errors import CarrickError, DialError, NoAddresses
from carrick.host.alarms import Alarm, Alarms
from carrick.host.race import BACKGROUND, Race, Watch
from carrick.host.strategies import STRATEGIES, ConnectTrace, Direct, Relay, Result, Strategy
from carrick.interfaces import Direction
from carrick.network import Connection, Swarm, Way

if TYPE_CHECKING:
    from multiaddr import Multiaddr
    from trio_typing import TaskStatus

    from carrick.identity import PeerId

__all__ = ["Connector"]

MAX_BACKGROUND = 64  # races that go on after they have given a relayed connection; our own bound


class Connector:
    """Reaches peers by the strategies of a host.

    A strategy starts when those before it have failed, or have not succeeded within their head
    start. `run` must run.

    Args:
        own_relays: where peers are relayed to us, without `/p2p/<us>`.

    Attributes:
        strategies: by name; `direct` and `relay` are there from the start.
    """

    def __init__(self, swarm: Swarm, own_relays: Callable[[], Iterable[Multiaddr]]) -> None:
        self.strategies: dict[str, Strategy] = {each.name: each for each in (Direct(), Relay())}
        self.own_relays = own_relays
        self._swarm = swarm
        self._alarms = Alarms()
        self._races: set[Race] = set()
        self._handed_out: weakref.WeakSet[Connection] = weakref.WeakSet()
        """Relayed connections that a caller has got, and may use."""
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Home of all strategies, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._alarms.run)
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # before it closes: nothing more is started in it
                for race in tuple(self._races):
                    race.stop("the host is closing")

    async def reach(
        self,
        peer: PeerId | None,
        addresses: Iterable[Multiaddr] = (),
        *,
        strategies: Sequence[str] = STRATEGIES,
        direct: bool = False,
        trace: ConnectTrace | None = None,
        timeout: float = math.inf,
    ) -> Connection:
        """A connection that is there and will do, or a new one, which may not have passed the
        connection steps. See `Host.connect`.

        Args:
            peer: None takes whoever answers at `addresses`.
            timeout: seconds that what goes on in the background may take. For the rest the caller
                sets a deadline.
        """
        self._check(strategies)
        if peer is None:
            return await self._reach_anybody(addresses, strategies, trace)
        way = _wanted(strategies, direct)
        present = self._swarm.pathfinder.present(peer, way)
        if present is not None:
            return self._take(present, trace)
        trace = ConnectTrace() if trace is None else trace
        trace.started = now = trio.current_time()
        try:
            search = self._swarm.pathfinder.search(peer, addresses)
        except DialError:
            trace.settle()
            raise
        deadline = now + min(timeout, BACKGROUND)
        race = Race(self, search, strategies, direct=direct, trace=trace, deadline=deadline)
        self._races.add(race)
        try:
            connection = await race.run()
        except DialError:
            present = self._swarm.pathfinder.present(peer, way)
            if present is None:
                raise
            connection = present  # the peer has reached us meanwhile
        return self._take(connection)

    def _check(self, strategies: Sequence[str]) -> None:
        if strategies is STRATEGIES:
            return
        known = dict.fromkeys((*STRATEGIES, *self.strategies))
        unknown = [name for name in strategies if name not in known]
        if unknown or not strategies or len(set(strategies)) < len(strategies):
            wrong = f"no strategy {unknown[0]!r}" if unknown else f"strategies {strategies!r}"
            raise ValueError(f"{wrong}: name each once, of {', '.join(known)}")

    async def _reach_anybody(
        self, addresses: Iterable[Multiaddr], strategies: Sequence[str], trace: ConnectTrace | None
    ) -> Connection:
        if trace is None:
            trace = ConnectTrace()
        trace.started = trio.current_time()
        step = trace.begin("direct", trace.started)
        try:
            if "direct" not in strategies:
                raise NoAddresses("it must be said who is to be there: add /p2p/ and the peer id")
            connection = await self._swarm.dialer.dial(None, addresses, watch=Watch(step))
            step.address = connection.remote_address
            step.end(trio.current_time(), Result.OK)
        except CarrickError as error:
            step.end(trio.current_time(), Result.FAILED, error.message)
            raise
        finally:
            step.end(trio.current_time(), Result.CANCELLED)
            trace.settle()
        return connection

    def _take(self, connection: Connection, trace: ConnectTrace | None = None) -> Connection:
        """Hand it out; `trace` is given if it was there already."""
        if connection.is_relayed:
            self._handed_out.add(connection)
        if trace is not None:
            trace.started = now = trio.current_time()
            step = trace.begin("relay" if connection.is_relayed else "direct", now)
            step.address = connection.remote_address
            step.end(now, Result.OK, "it was there already")
            trace.settle()
        return connection

    # --- what races need --------------------------------------------------------------------------

    def spawn(self, function: Callable[..., Awaitable[None]], *args: object) -> bool:
        if self._nursery is None:
            return False
        self._nursery.start_soon(function, *args)
        return True

    def call_at(self, time: float, function: Callable[[], None]) -> Alarm:
        return self._alarms.call_at(time, function)

    def may_go_on(self, race: Race) -> bool:
        going_on = sum(each.connection is not None for each in self._races if each is not race)
        return going_on < MAX_BACKGROUND

    def ended(self, race: Race) -> None:
        self._races.discard(race)
        means = race.means
        if (
            means is not None
            and race.connection is None
            and means.direction is Direction.OUTBOUND
            and means.opened_at >= race.trace.started
            and means not in self._handed_out
            and not any(other.means is means for other in self._races)
            and not means.streams
        ):
            # It was made for nothing but this.
            self.spawn(means.aclose)


def _wanted(strategies: Sequence[str], direct: bool) -> Way:
    """Which connections will do."""
    if direct or "relay" not in strategies:
        return Way.DIRECT
    return Way.RELAYED if len(strategies) == 1 else Way.ANY
