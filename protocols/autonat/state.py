"""What the answers of several servers amount to, and whom to ask about what next. No I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from carrick.addressing import Multiaddr
from carrick.host import Reachability

__all__ = ["Asking", "Tracker", "Verdict", "overall"]

MAX_ADDRESSES = 50  # go-libp2p addrs_reachability_tracker.go
MAX_VOTERS = 8  # whose last word counts
MAX_SERVERS = 256  # of whom it is remembered when they were asked
KEPT = 3 * 3600.0  # s that a word counts
ASK_AGAIN = 120.0  # s until one server is asked about one address again (go: about anything)
PACE = 5.0  # s between two requests to one server: its limit is 12 a minute (go's options.go)
REFUSED = 3600.0  # s until it is asked about something again that it did not want to judge
MAX_UNDER_WAY = 5  # requests at once; go's addrs_reachability_tracker.go
BACKOFF = (60.0, 3600.0)  # s that a server is left alone after a failure: at first, at most

K = TypeVar("K", bound=Hashable)


class Verdict:
    """The words of several voters about one thing.

    A verdict needs `confidence` more voters on its side than on the other. It stands until the
    other side has that many, or until nothing is known any more, so that one liar does not make
    it come and go.
    """

    def __init__(self, confidence: int) -> None:
        self.reachability = Reachability.UNKNOWN
        self._confidence = confidence
        self._words: OrderedDict[Hashable, tuple[bool, float]] = OrderedDict()
        """By voter, the last heard last."""

    @property
    def score(self) -> int:
        return sum(1 if reachable else -1 for reachable, _ in self._words.values())

    @property
    def settled(self) -> bool:
        """The words on the verdict's side outweigh the others by enough."""
        wanted = {Reachability.PUBLIC: 1, Reachability.PRIVATE: -1, Reachability.UNKNOWN: 0}
        return wanted[self.reachability] * self.score >= self._confidence

    @property
    def last_heard(self) -> float:
        """When the last word came; -inf if there is none."""
        return next(reversed(self._words.values()))[1] if self._words else -math.inf

    def record(self, voter: Hashable, reachable: bool, now: float) -> None:
        """The last word of `voter`."""
        self._words[voter] = reachable, now
        self._words.move_to_end(voter)
        while len(self._words) > MAX_VOTERS:
            self._words.popitem(last=False)
        self.expire(now)

    def expire(self, now: float) -> None:
        while self._words and self.first_heard + KEPT <= now:
            self._words.popitem(last=False)
        score = self.score
        if score >= self._confidence:
            self.reachability = Reachability.PUBLIC
        elif score <= -self._confidence:
            self.reachability = Reachability.PRIVATE
        elif not self._words:
            self.reachability = Reachability.UNKNOWN

    @property
    def first_heard(self) -> float:
        """When the oldest word came."""
        return next(iter(self._words.values()))[1] if self._words else math.inf


@dataclass(slots=True)
class _Server:
    ready_at: float = -math.inf
    failures: int = 0
    asked: dict[Hashable, float] = field(default_factory=dict)
    """When it may be asked about each thing again."""

    def forget(self, now: float) -> None:
        self.asked = {key: time for key, time in self.asked.items() if time > now}


@dataclass(frozen=True, slots=True)
class Asking(Generic[K]):
    """Ask `server` about the first of `things` that it can judge; the first is the one wanted."""

    server: Hashable
    things: tuple[K, ...]


class Tracker(Generic[K]):
    """Decides whom to ask about which things, and judges by the answers.

    A server here is one voice: all servers of one network are one (`addresses.voter`).

    Args:
        confidence: as for `Verdict`.
        refresh: how often a settled thing is asked about again, in seconds.
        ask_again: after which time one server is asked about one thing again.
        per_request: how many things one request may name.
    """

    def __init__(
        self,
        *,
        confidence: int,
        refresh: float,
        ask_again: float = ASK_AGAIN,
        per_request: int = 10,
    ) -> None:
        self._confidence = confidence
        self._refresh = refresh
        self._ask_again = ask_again
        self._per_request = per_request
        self._verdicts: dict[K, Verdict] = {}
        """The most wanted first."""
        self._servers: OrderedDict[Hashable, _Server] = OrderedDict()
        self._under_way: dict[Hashable, Asking[K]] = {}
        """By server."""
        self._start = -math.inf
        self._recheck = -math.inf

    @property
    def verdicts(self) -> Mapping[K, Verdict]:
        return self._verdicts

    def set_things(self, things: Iterable[K], start: float) -> None:
        """Judge these and no others, the first ones first.

        Args:
            start: if there are new ones, nothing is asked before that time: more may come.
        """
        wanted = list(dict.fromkeys(things))[:MAX_ADDRESSES]
        if any(each not in self._verdicts for each in wanted):
            self._start = start
        self._verdicts = {
            each: self._verdicts.get(each) or Verdict(self._confidence) for each in wanted
        }

    def recheck(self, now: float) -> None:
        """Something suggests that verdicts are wrong: settled ones are asked about again."""
        self._recheck = now

    def next(self, servers: Sequence[Hashable], now: float) -> Asking[K] | None:
        """Whom to ask about what now; it is under way until `heard` or `failed`."""
        for verdict in self._verdicts.values():
            verdict.expire(now)
        if now < self._start or len(self._under_way) >= MAX_UNDER_WAY:
            return None
        for thing, verdict in self._verdicts.items():
            if self._due(verdict) > now or not self._needs_more(thing, verdict):
                continue
            for server in servers:
                if server not in self._under_way and self._ready(server, thing) <= now:
                    return self._ask(server, thing, now)
        return None

    def next_time(self, servers: Sequence[Hashable]) -> float:
        """When there may be something to do, if nothing is heard meanwhile; inf for never."""
        times = [verdict.first_heard + KEPT for verdict in self._verdicts.values()]
        if len(self._under_way) < MAX_UNDER_WAY:
            times += [
                max(self._due(verdict), self._ready(server, thing), self._start)
                for thing, verdict in self._verdicts.items()
                if self._needs_more(thing, verdict)
                for server in servers
                if server not in self._under_way
            ]
        return min(times, default=math.inf)

    def heard(self, server: Hashable, thing: K, reachable: bool, now: float) -> None:
        """The server judged `thing`, hence none of those that were named before it."""
        asking = self._under_way.pop(server, None)
        state = self._remember(server)
        state.ready_at, state.failures = now + PACE, 0
        state.forget(now)
        for each in asking.things if asking is not None else ():
            if each == thing:
                break
            state.asked[each] = now + REFUSED
        state.asked[thing] = now + self._ask_again
        if thing in self._verdicts:
            self._verdicts[thing].record(server, reachable, now)

    def failed(self, server: Hashable, now: float, *, refused: bool = False) -> None:
        """The server gave no answer that can be used.

        Args:
            refused: it cannot, or does not want to, judge any of the things.
        """
        asking = self._under_way.pop(server, None)
        state = self._remember(server)
        state.forget(now)
        if refused and asking is not None:
            state.ready_at = now + PACE
            state.asked.update(dict.fromkeys(asking.things, now + REFUSED))
        else:
            first, most = BACKOFF
            state.ready_at = now + min(most, first * 2 ** min(state.failures, 16))
            state.failures += 1

    def _ask(self, server: Hashable, thing: K, now: float) -> Asking[K]:
        others = [
            each
            for each, verdict in self._verdicts.items()
            if each != thing and not verdict.settled and self._ready(server, each) <= now
        ]
        asking = Asking(server, (thing, *others)[: self._per_request])
        self._under_way[server] = asking
        return asking

    def _needs_more(self, thing: K, verdict: Verdict) -> bool:
        """Not more at once than can settle it."""
        under_way = sum(1 for each in self._under_way.values() if each.things[0] == thing)
        return under_way < (1 if verdict.settled else self._confidence)

    def _due(self, verdict: Verdict) -> float:
        if not verdict.settled or verdict.last_heard < self._recheck:
            return -math.inf
        return verdict.last_heard + self._refresh

    def _ready(self, server: Hashable, thing: K) -> float:
        state = self._servers.get(server)
        if state is None:
            return -math.inf
        return max(state.ready_at, state.asked.get(thing, -math.inf))

    def _remember(self, server: Hashable) -> _Server:
        state = self._servers.setdefault(server, _Server())
        self._servers.move_to_end(server)
        if len(self._servers) > MAX_SERVERS:
            self._servers.popitem(last=False)
        return state


def overall(addresses: Mapping[Multiaddr, Verdict], node: Verdict) -> Reachability:
    """The verdict on the host: by its addresses (v2) if they were judged, else by v1."""
    found = {verdict.reachability for verdict in addresses.values()}
    if Reachability.PUBLIC in found:
        return Reachability.PUBLIC
    if any(verdict.score > 0 for verdict in addresses.values()):
        return Reachability.UNKNOWN  # one may still turn out to be reachable
    if Reachability.PRIVATE in found:
        return Reachability.PRIVATE
    return node.reachability
