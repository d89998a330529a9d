"""AutoRelay: finds relays, and keeps slots on a few of them for as long as we need them."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.addressing import Reach, reach, with_peer
from carrick.errors import (
    PEER_FAILURES,
    NoAddresses,
    ProtocolError,
    ProtocolNotSupported,
)
from carrick.host import Dependence, Host, NatChanged, Reachability, ReachabilityChanged
from carrick.host.host import Target, resolve_target
from carrick.identity import PeerId
from carrick.network import Connection
from carrick.network.events import ConnectionOpened, Event
from carrick.network.firewall import guarded
from carrick.protocols.identify import PeerUpdated
from carrick.protocols.relay.candidates import Candidate, Candidates, Failure
from carrick.protocols.relay.client import RelayClient, Reservation
from carrick.protocols.relay.errors import (
    CircuitFailed,
    RelayRefused,
    RelayResourcesExceeded,
    ReservationRefused,
)
from carrick.protocols.relay.events import ReservationLost
from carrick.protocols.relay.messages import HOP
from carrick.protocols.relay.transport import split_relay

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["AutoRelay", "AutoRelayOptions", "RelaySource"]

_log = logging.getLogger("carrick.relay")

RelaySource: TypeAlias = "Callable[[int], Awaitable[Iterable[Target]]]"
"""Finds relays, about so many; ids, or addresses with ids."""

_BUSY = (ReservationRefused, RelayResourcesExceeded, CircuitFailed)
_UNSUITABLE = (RelayRefused, ProtocolError, ProtocolNotSupported, NoAddresses)
_SEARCH_PATIENCE = 60.0  # s for a source to answer
_SEARCH_REST = 600.0  # s between two questions to the host's sources that know nobody new, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoRelayOptions:
    """How many relays, and when. Times are in seconds.

    Attributes:
        relays: on how many different relays to keep a slot.
        always: from the start, whatever is known of our reachability: for a command that runs
            once, and for tests. Otherwise while strangers do not reach us.
        grace: how long to wait for a verdict on our reachability; while there is none
            afterwards, we count as private.
        min_candidates: when slots are missing and fewer relays are known, the source is asked.
        max_candidates: so many are kept in mind, besides those that were given.
        candidate_age: after which one that was not heard of again is forgotten.
        backoff: for which one that failed is left alone at most; less if it was only busy.
        search_interval: from one question to the source to the next; the host's own sources are
            asked more seldom while they name nobody new.
        allow_private: take connected peers, and slots, of a local network too.
    """

    # go-libp2p p2p/host/autorelay/options.go; `grace` is ours
    relays: int = 2
    always: bool = False
    grace: float = 60.0
    min_candidates: int = 4
    max_candidates: int = 20
    candidate_age: float = 1800.0
    backoff: float = 3600.0
    search_interval: float = 30.0
    allow_private: bool = False


class AutoRelay:
    """Decides on which relays the host's `RelayClient` keeps slots.

    It asks relays that were given first, then peers that are connected and offer to relay, then
    those that `source` finds. Slots that were reserved by hand count, and are left alone. When a
    relay is lost the next one is asked; when strangers turn out to reach us, all are released.

    Args:
        relays: to be preferred.
        source: finds others, when there are too few; None: what services such as the DHT know
            (`Host.find_peers`).
    """

    def __init__(
        self,
        relays: Iterable[Target] = (),
        source: RelaySource | None = None,
        options: AutoRelayOptions | None = None,
    ) -> None:
        self.options = options or AutoRelayOptions()
        self._given = tuple(relays)
        self._source = source
        self._candidates = Candidates(
            most=self.options.max_candidates,
            age=self.options.candidate_age,
            backoff=self.options.backoff,
        )
        self._reachability = Reachability.UNKNOWN
        self._grace_until = math.inf
        self._ours: dict[PeerId, Reservation] = {}
        self._asking: set[PeerId] = set()
        self._next_search = -math.inf
        self._search_pause = self._longest_pause = self.options.search_interval
        self._wake = trio.Event()
        self._host: Host
        self._client: RelayClient
        self._nursery: trio.Nursery

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """The slots that it keeps."""
        return tuple(self._ours.values())

    @property
    def candidates(self) -> tuple[PeerId, ...]:
        """The relays that are known, those left alone for now included."""
        return self._candidates.peers

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep slots, until cancelled.

        Raises:
            CarrickError: the host runs no `RelayClient`.
            ValueError: a given relay has no id.
        """
        self._host, self._client = host, host.service(RelayClient)
        self._grace_until = trio.current_time() + self.options.grace
        for relay in self._given:
            if not self._offer(relay, given=True):
                raise ValueError(f"a relay's address must end with /p2p/<its id>: {relay}")
        for connection in host.connections:
            if self._may_relay(connection):
                self._offer(connection.peer_id)
        kinds: tuple[type[Event], ...] = (
            ConnectionOpened,
            NatChanged,
            PeerUpdated,
            ReachabilityChanged,
            ReservationLost,
        )
        with host.events.subscribe(*kinds, where=self._concerns_us) as events:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._keep)
                task_status.started()
                async for event in events:
                    self._note(event)

    # --- what is known ----------------------------------------------------------------------------

    def _concerns_us(self, event: Event) -> bool:
        match event:
            case ConnectionOpened(connection) | PeerUpdated(connection):
                return self._may_relay(connection)
        return True

    def _note(self, event: Event) -> None:
        match event:
            case ConnectionOpened(connection) | PeerUpdated(connection):
                if not self._offer(connection.peer_id):
                    return
            case ReachabilityChanged(reachability):
                if reachability is Reachability.UNKNOWN:
                    self._grace_until = trio.current_time() + self.options.grace
                self._reachability = reachability
        self._wake.set()

    def _may_relay(self, connection: Connection) -> bool:
        """Whether the peer of a connection may be asked to relay."""
        if connection.is_relayed or not self._is_far(reach(connection.remote_address)):
            return False
        return HOP in (self._host.peerstore.protocols(connection.peer_id) or ())

    def _offer(self, relay: Target, *, given: bool = False) -> bool:
        peer, hints = resolve_target(relay)
        if peer is None or peer == self._host.id:
            return False
        now, lot = trio.current_time(), self._host.rng.random()
        return self._candidates.offer(peer, now, lot=lot, hints=hints, given=given)

    def _is_promising(self, found: Target) -> bool:
        """As far as we know: of strangers we know nothing."""
        peer, _ = resolve_target(found)
        known = None if peer is None else self._host.peerstore.protocols(peer)
        return not known or HOP in known

    def _is_far(self, where: Reach) -> bool:
        return self.options.allow_private or where in (Reach.PUBLIC, Reach.NAME)

    def _needed(self, now: float) -> bool:
        if self.options.always:
            return True
        if self._reachability is Reachability.UNKNOWN:
            return bool(self._ours) or now >= self._grace_until
        # AutoNAT's servers are peers of ours, and such a NAT lets in all whom we have sent to.
        fooled = self._host.nat.udp.filtering is Dependence.ADDRESS
        return fooled or self._reachability is Reachability.PRIVATE

    # --- what is done -----------------------------------------------------------------------------

    async def _keep(self) -> None:
        await self._host.ready.wait()
        if self._source is None and self._host.finds_peers:
            self._source = self._host.find_peers
            self._longest_pause = max(_SEARCH_REST, self.options.search_interval)
        while True:
            self._wake = trio.Event()
            now = trio.current_time()
            if self._needed(now):
                self._drop_lost(now)
                deadline = self._fill(now)
            else:
                self._release()
                unknown = self._reachability is Reachability.UNKNOWN
                deadline = self._grace_until if unknown else math.inf
            with trio.move_on_at(deadline):
                await self._wake.wait()

    def _release(self) -> None:
        for relay in tuple(self._ours):
            del self._ours[relay]
            self._client.release(relay)

    def _drop_lost(self, now: float) -> None:
        """Give up slots that are no longer ours: their place is for another relay."""
        for relay, reservation in tuple(self._ours.items()):
            if not reservation.active:
                del self._ours[relay]
                self._client.release(relay)
                self._candidates.failed(relay, Failure.LOST, now, self._host.rng.random())

    def _fill(self, now: float) -> float:
        """Ask as many relays as slots are missing; returns when to look again."""
        kept = self._client.reservations
        active = sum(each.active and each.relay not in self._asking for each in kept)
        missing = self.options.relays - active - len(self._asking)
        if missing <= 0:
            return math.inf
        taken = {each.relay for each in kept} | self._asking
        deadline = math.inf
        if self._source is not None:
            if now >= self._next_search and self._too_few(now, taken):
                self._next_search = now + self._search_pause
                self._nursery.start_soon(self._search, self._source)
            deadline = max(self._next_search, now)
        while missing > 0:
            candidate = self._candidates.best(now, self._connected(), taken)
            if candidate is None:
                break
            taken.add(candidate.peer)
            self._asking.add(candidate.peer)
            self._nursery.start_soon(self._ask, candidate)
            missing -= 1
        return min(deadline, self._candidates.next_time(now, taken)) if missing else math.inf

    def _too_few(self, now: float, taken: set[PeerId]) -> bool:
        return len(self._candidates.ready(now, taken)) < self.options.min_candidates

    def _connected(self) -> dict[PeerId, float]:
        found = {}
        for peer in self._candidates.peers:
            connection = self._host.swarm.connection(peer)
            if connection is not None and not connection.is_relayed:
                found[peer] = math.inf if connection.rtt is None else connection.rtt
        return found

    async def _ask(self, candidate: Candidate) -> None:
        relay = candidate.peer
        failure: Failure | None = None
        try:
            target: Target = [with_peer(each, relay) for each in candidate.hints] or relay
            reservation = await self._client.reserve(target)
            if candidate.given or self._is_useful(reservation):
                self._ours[relay] = reservation
                self._candidates.succeeded(relay)
            else:
                self._client.release(relay)
                failure = Failure.UNSUITABLE
        except PEER_FAILURES as error:
            _log.debug("no slot on %s: %s", relay, error)
            failure = _kind(error)
        finally:
            self._asking.discard(relay)
            self._wake.set()
        if failure is not None:
            now, chance = trio.current_time(), self._host.rng.random()
            self._candidates.failed(relay, failure, now, chance)

    def _is_useful(self, reservation: Reservation) -> bool:
        """Strangers reach us there."""
        found = [split_relay(each) for each in reservation.addresses]
        places = [relay[0] for relay in found if relay is not None]
        return any(place is not None and self._is_far(reach(place)) for place in places)

    async def _search(self, source: RelaySource) -> None:
        self._search_pause = min(2 * self._search_pause, self._longest_pause)

        async def ask() -> None:
            with trio.move_on_after(_SEARCH_PATIENCE):
                for relay in await source(self.options.max_candidates):
                    if self._is_promising(relay) and self._offer(relay):
                        self._search_pause = self.options.search_interval

        def failed(error: Exception) -> None:
            expected = isinstance(error, PEER_FAILURES)
            level = logging.DEBUG if expected else logging.ERROR
            _log.log(level, "no relays found: %s", error, exc_info=None if expected else error)

        await guarded(ask, failed=failed)
        self._wake.set()


def _kind(error: Exception) -> Failure:
    if isinstance(error, _BUSY):
        return Failure.BUSY
    return Failure.UNSUITABLE if isinstance(error, _UNSUITABLE) else Failure.UNREACHABLE
