"""Publishes again what we publish, before others forget it; and forgets what others published.

What we hold for others we do not hand on: as with go, whoever published it does so again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from carrick.errors import CarrickError
from carrick.protocols.kademlia.bulk import send_plan
from carrick.protocols.kademlia.dht import Dht
from carrick.protocols.kademlia.errors import InvalidRecord, NotFound
from carrick.protocols.kademlia.interfaces import Publication, PublicationStore
from carrick.protocols.kademlia.keyspace import BITS, key_of, peer_key
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.schedule import REPUBLISH, Schedule

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Republisher"]

_log = logging.getLogger("carrick.kademlia")

EXPIRE = 3600.0  # s between two looks for what has expired (go-libp2p-kad-dht, records)
RETRY = 600.0  # s after nobody took it
LOOKUP = 180.0  # s for one lookup
KEYS_AT_ONCE = 1024  # that share a lookup


class Republisher:
    """What we publish in one DHT.

    Args:
        publications: keeps it, beyond a restart; None: it does not last.
        interval: seconds until something is published again, at most.
    """

    def __init__(
        self,
        dht: Dht,
        publications: PublicationStore | None = None,
        *,
        interval: float = REPUBLISH,
    ) -> None:
        self._dht = dht
        self._store = publications
        self._provided = Schedule(interval)
        self._put = Schedule(interval)
        self._values: dict[bytes, bytes] = {}
        self._changed = trio.Event()
        if publications is not None:
            for key, value, at in publications.load():
                if value is not None:
                    self._values[key] = value
                (self._provided if value is None else self._put).published(key, at)

    @property
    def provided(self) -> int:
        """How many keys we provide."""
        return len(self._provided)

    @property
    def put(self) -> int:
        """How many values we publish."""
        return len(self._put)

    def add_provided(self, key: bytes, *, taken: bool = True) -> None:
        """We have just told others that we provide `key`; if nobody took it, we try again soon."""
        self._note(self._provided, Publication(key, None, self._dht.clock()))
        if not taken:
            self._provided.failed(key, self._dht.clock() + RETRY)

    def add_value(self, key: bytes, value: bytes, *, taken: bool = True) -> None:
        """We have just put `value`; if nobody took it, we try again soon."""
        self._values[key] = value
        self._note(self._put, Publication(key, value, self._dht.clock()))
        if not taken:
            self._put.failed(key, self._dht.clock() + RETRY)

    def stop_providing(self, key: bytes) -> bool:
        """Returns whether we did provide it. Others forget it when it expires."""
        self._dht.providers.remove(key, self._dht.own)
        if self._store is not None:
            self._store.drop(key, provided=True)
        return self._provided.remove(key)

    def stop_publishing(self, key: bytes) -> bool:
        """Returns whether we did publish a value under it. It stays until it expires."""
        self._values.pop(key, None)
        if self._store is not None:
            self._store.drop(key, provided=False)
        return self._put.remove(key)

    def _note(self, schedule: Schedule, publication: Publication) -> None:
        schedule.published(publication.key, publication.at)
        if self._store is not None:
            self._store.keep(publication)
        self._changed.set()
        self._changed = trio.Event()

    # --- in the background ------------------------------------------------------------------------

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, self._provided, self.provide_again)
            nursery.start_soon(self._follow, self._put, self.put_again)
            nursery.start_soon(self._expire)
            task_status.started()

    async def _follow(
        self, schedule: Schedule, publish: Callable[[bytes], Awaitable[None]]
    ) -> None:
        while True:
            now = self._dht.clock()
            key = schedule.next_key(now) if len(self._dht.table) else None
            if key is not None:
                await publish(key)
                continue
            # The clock may be set meanwhile, and whom to ask may come: look now and then.
            with trio.move_on_after(min(max(schedule.next_at - now, RETRY / 10), EXPIRE)):
                await self._changed.wait()

    async def _expire(self) -> None:
        while True:
            await trio.sleep(EXPIRE)
            now = self._dht.clock()
            gone = self._dht.records.expire(now), self._dht.providers.expire(now)
            _log.debug("%d records and %d providers have expired", *gone)

    async def put_again(self, key: bytes) -> None:
        """Put our value once more; one that is no longer valid, or has been replaced, no more."""
        value = self._values[key]
        try:
            with suppress(NotFound):
                if await self._dht.get_value(key, quorum=0) != value:
                    raise InvalidRecord("there is a better one")
            await self._dht.put_value(key, value)
        except InvalidRecord as error:
            _log.info("%r is no longer published: %s", key, error)
            self.stop_publishing(key)
        except CarrickError as error:
            _log.info("%r is not published for now: %s", key, error)
            self._put.failed(key, self._dht.clock() + RETRY)
        else:
            if self._values.get(key) == value:
                self.add_value(key, value)

    async def provide_again(self, key: bytes) -> None:
        """Tell those nearest to `key` once more, and on the way those of the keys around it."""
        dht, now = self._dht, self._dht.clock()
        plan: dict[bytes, Sequence[PeerInfo]] = {key: ()}
        with trio.move_on_after(LOOKUP):
            plan = await self._plan(key, now)
        told = await send_plan(plan, dht.tell_keys)
        for each in plan:
            if each not in self._provided:
                continue  # we have stopped meanwhile
            if told.get(each):
                dht.providers.add(each, dht.describe(dht.own), now)
                self._note(self._provided, Publication(each, None, now))
            else:
                self._provided.failed(each, now + RETRY)

    async def _plan(self, key: bytes, now: float) -> dict[bytes, Sequence[PeerInfo]]:
        """Whom to tell of which key. One lookup for more than the k nearest shows all peers within
        a distance, and thereby the k nearest of the keys around."""
        dht, place = self._dht, key_of(key)
        wide = 2 * dht.k if len(self._provided) > 1 else dht.k
        found = (await dht.closest_peers(key, count=wide)).region
        if len(found) > wide:
            return {key: found}
        if len(found) < wide:  # that is everybody
            keys = self._provided.near(key, 0, now, KEYS_AT_ONCE)
            return {each: _nearest(found, key_of(each), dht.k) for each in keys}
        seen = peer_key(found[-1].id) ^ place
        plan: dict[bytes, Sequence[PeerInfo]] = {key: found[: dht.k]}
        for each in self._provided.near(key, BITS - seen.bit_length(), now, KEYS_AT_ONCE):
            nearest = _nearest(found, key_of(each), dht.k)
            # Whoever is as near to it as these is no farther from `key` than both ways together.
            away = key_of(each) ^ place
            if away + (peer_key(nearest[-1].id) ^ key_of(each)) <= seen:
                plan[each] = nearest
        return plan


def _nearest(peers: Sequence[PeerInfo], place: int, count: int) -> list[PeerInfo]:
    return sorted(peers, key=lambda peer: peer_key(peer.id) ^ place)[:count]
