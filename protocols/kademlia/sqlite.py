"""What a DHT server holds, and what it publishes, in a SQLite file.

As the peerstore's: everything is in memory, within the same bounds as without a file, and the file
is written behind, in transactions.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Generic, TypeVar

from carrick.database import Database, Kind
from carrick.errors import CarrickError, IdentityError, ProtocolError
from carrick.identity import PeerId
from carrick.protocols.kademlia.interfaces import (
    ProviderStore,
    Publication,
    PublicationStore,
    RecordStore,
)
from carrick.protocols.kademlia.messages import PeerInfo
from carrick.protocols.kademlia.providers import MemoryProviders
from carrick.protocols.kademlia.stores import MemoryRecords
from carrick.wire import FrameReader, encode_frame

__all__ = ["DhtFile", "DhtFileError"]

MAX_BEHIND = 4096  # changes that are not written yet
_MAX_ADDRESS = 1 << 16  # bytes

K = TypeVar("K")


class DhtFileError(CarrickError):
    """The file of a DHT cannot be used; the message says why."""


KIND = Kind(
    "DHT store",
    DhtFileError,
    application=0x43726B44,  # "CrkD"
    version=1,
    schema="""
CREATE TABLE records (
    network TEXT, key BLOB, value BLOB NOT NULL, at REAL NOT NULL, PRIMARY KEY (network, key)
) WITHOUT ROWID;
CREATE TABLE providers (
    network TEXT, key BLOB, peer BLOB, addresses BLOB NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (network, key, peer)
) WITHOUT ROWID;
CREATE TABLE published (
    network TEXT, key BLOB, provided INTEGER, value BLOB, at REAL NOT NULL,
    PRIMARY KEY (network, key, provided)
) WITHOUT ROWID;
""",
)


class DhtFile:
    """The stores of the DHTs of one host. One process at a time has the file open.

    Args:
        path: the file; see `Database`.

    Raises:
        DhtFileError: the file is in use, of something else, of another version, damaged, or cannot
            be written to; the message says which.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Database(path, KIND)
        self._journals: list[_Journal[Any]] = []

    def records(self, network: str) -> RecordStore:
        """The values of one DHT, by its protocol id. Ask for it once."""
        store = MemoryRecords()
        for key, value, at in self._rows("SELECT key, value, at FROM records", network):
            store.put(key, value, at)

        def row(key: bytes) -> tuple[object, ...] | None:
            held = store.held(key)
            return None if held is None else (network, key, *held)

        journal = _Journal(
            "DELETE FROM records WHERE network = ? AND key = ?",
            "REPLACE INTO records VALUES (?, ?, ?, ?)",
            lambda key: (network, key),
            row,
        )
        store.watch(self._follow(journal))
        return store

    def providers(self, network: str) -> ProviderStore:
        """The providers of one DHT, by its protocol id. Ask for it once."""
        store = MemoryProviders()
        for key, peer, addresses, at in self._rows(
            "SELECT key, peer, addresses, at FROM providers", network
        ):
            store.add(key, self._provider(peer, addresses), at)

        def row(pair: tuple[bytes, PeerId]) -> tuple[object, ...] | None:
            held = store.held(*pair)
            if held is None:
                return None
            return (network, pair[0], pair[1].to_bytes(), _join(held[0].encoded), held[1])

        journal = _Journal(
            "DELETE FROM providers WHERE network = ? AND key = ? AND peer = ?",
            "REPLACE INTO providers VALUES (?, ?, ?, ?, ?)",
            lambda pair: (network, pair[0], pair[1].to_bytes()),
            row,
        )
        store.watch(self._follow(journal))
        return store

    def publications(self, network: str) -> PublicationStore:
        """What we publish ourselves in one DHT. Ask for it once."""
        rows = self._rows("SELECT key, value, at FROM published", network)
        kept = {(key, value is None): Publication(key, value, at) for key, value, at in rows}

        def row(which: tuple[bytes, bool]) -> tuple[object, ...] | None:
            found = kept.get(which)
            return found and (network, found.key, which[1], found.value, found.at)

        journal = _Journal(
            "DELETE FROM published WHERE network = ? AND key = ? AND provided = ?",
            "REPLACE INTO published VALUES (?, ?, ?, ?, ?)",
            lambda which: (network, *which),
            row,
        )
        return _Publications(kept, self._follow(journal))

    def flush(self, limit: int | None = None) -> int:
        """Write up to `limit` changes; returns how many are left."""
        with self._file.transaction("written") as db:
            for journal in self._journals:
                written = journal.write(db, limit)
                limit = None if limit is None else limit - written
        return sum(len(journal) for journal in self._journals)

    def close(self) -> None:
        """Write what is left. More than once does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    # --- within -----------------------------------------------------------------------------------

    def _follow(self, journal: _Journal[K]) -> Callable[[K], None]:
        self._journals.append(journal)

        def note(key: K) -> None:
            if journal.note(key) >= MAX_BEHIND:
                self.flush()

        return note

    def _rows(self, query: str, network: str) -> list[Any]:
        with self._file.transaction("read") as db:
            return db.execute(f"{query} WHERE network = ? ORDER BY at", (network,)).fetchall()

    def _provider(self, peer: bytes, addresses: bytes) -> PeerInfo:
        try:
            frames = FrameReader(_MAX_ADDRESS)
            frames.feed(addresses)
            return PeerInfo(PeerId(peer), tuple(iter(frames.next, None)))
        except (IdentityError, ProtocolError) as error:
            raise self._file.damaged(error) from error


class _Journal(Generic[K]):
    """What has changed in one store since it was written.

    Args:
        columns: the key as its columns.
        row: what is to be written; None: it is gone.
    """

    def __init__(
        self,
        delete: str,
        replace: str,
        columns: Callable[[K], tuple[object, ...]],
        row: Callable[[K], tuple[object, ...] | None],
    ) -> None:
        self._delete = delete
        self._replace = replace
        self._columns = columns
        self._row = row
        self._changed: dict[K, None] = {}

    def __len__(self) -> int:
        return len(self._changed)

    def note(self, key: K) -> int:
        """Returns how many changes wait."""
        self._changed[key] = None
        return len(self._changed)

    def write(self, db: sqlite3.Connection, limit: int | None) -> int:
        """Returns how many were written."""
        keys = list(islice(self._changed, limit))
        rows = {key: self._row(key) for key in keys}
        gone = [self._columns(key) for key, row in rows.items() if row is None]
        db.executemany(self._delete, gone)
        db.executemany(self._replace, [row for row in rows.values() if row is not None])
        for key in keys:
            del self._changed[key]
        return len(keys)


class _Publications:
    """See `carrick.protocols.kademlia.interfaces.PublicationStore`."""

    def __init__(
        self,
        kept: dict[tuple[bytes, bool], Publication],
        changed: Callable[[tuple[bytes, bool]], None],
    ) -> None:
        self._kept = kept
        self._changed = changed

    def load(self) -> Iterable[Publication]:
        return tuple(self._kept.values())

    def keep(self, publication: Publication) -> None:
        which = publication.key, publication.value is None
        self._kept[which] = publication
        self._changed(which)

    def drop(self, key: bytes, *, provided: bool) -> None:
        if self._kept.pop((key, provided), None) is not None:
            self._changed((key, provided))


def _join(addresses: Iterable[bytes]) -> bytes:
    return b"".join(encode_frame(each) for each in addresses)
