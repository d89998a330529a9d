"""A peerstore in a SQLite file.

Everything is in memory; the file is written behind, in transactions of changed peers.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import islice

from carrick.database import Database, Kind
from carrick.errors import IdentityError, PeerstoreError
from carrick.identity import PeerId, PublicKey
from carrick.peerstore.bounds import Bounds
from carrick.peerstore.entry import Entry, KnownAddress
from carrick.peerstore.state import PeerBook

__all__ = ["SqlitePeerstore"]

KIND = Kind(
    "peerstore",
    PeerstoreError,
    application=0x43726B50,  # "CrkP"
    version=1,
    schema="""
CREATE TABLE peers (
    id BLOB PRIMARY KEY,
    connected INTEGER NOT NULL,
    kept_until REAL NOT NULL,
    record BLOB,
    sequence TEXT NOT NULL,
    protocols TEXT,
    metadata TEXT NOT NULL,
    key BLOB
) WITHOUT ROWID;
CREATE TABLE addresses (
    peer BLOB NOT NULL,
    address BLOB NOT NULL,
    expires REAL NOT NULL,
    while_connected INTEGER NOT NULL,
    certified INTEGER NOT NULL,
    succeeded REAL NOT NULL,
    PRIMARY KEY (peer, address)
) WITHOUT ROWID;
""",
)
_SWEEP_INTERVAL = 60.0  # s between searches for expired peers


class SqlitePeerstore(PeerBook):
    """Keeps what is known of peers in a file: a `Peerstore`. One process at a time has it open.

    Nothing is written before `flush` or `close`.

    Args:
        path: the file; see `Database`.
        clock: seconds since 1970, so that times in the file mean the same after a restart.

    Raises:
        PeerstoreError: the file is in use, no peerstore, of another version, damaged, or cannot be
            written to; the message says which.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Callable[[], float] = time.time,
        *,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__(clock, bounds or Bounds())
        self._written: set[PeerId] = set()  # who is in the file
        self._dirty: dict[PeerId, None] = {}
        self._removed: dict[PeerId, None] = {}  # in the file, and nowhere else
        self._swept_at = clock()
        self._file = Database(path, KIND)
        try:
            with self._file.transaction("read") as db:
                self._load(db)
        except BaseException:
            self._file.close()
            raise

    def flush(self, limit: int | None = None) -> int:
        if not 0 <= self._clock() - self._swept_at < _SWEEP_INTERVAL:
            self.sweep()
            self._swept_at = self._clock()
        removed = list(islice(self._removed, limit))
        written = list(islice(self._dirty, None if limit is None else limit - len(removed)))
        with self._file.transaction("written") as db:
            if removed or written:  # an idle node's disk sleeps
                self._write(db, removed, written)
        for peer in removed:
            del self._removed[peer]
            self._written.discard(peer)
        for peer in written:
            del self._dirty[peer]
            self._written.add(peer)
        return len(self._removed) + len(self._dirty)

    def next_expiry(self) -> float:
        return max(super().next_expiry(), self._swept_at + _SWEEP_INTERVAL - self._clock())

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    # --- within -----------------------------------------------------------------------------------

    def _changed(self, peer: PeerId) -> None:
        super()._changed(peer)
        if peer in self._entries:
            self._dirty[peer] = None
            self._removed.pop(peer, None)
        else:
            self._dirty.pop(peer, None)
            if peer in self._written:
                self._removed[peer] = None

    def _write(self, db: sqlite3.Connection, removed: list[PeerId], written: list[PeerId]) -> None:
        db.executemany(
            "DELETE FROM addresses WHERE peer = ?",
            [(peer.to_bytes(),) for peer in (*removed, *written) if peer in self._written],
        )
        db.executemany("DELETE FROM peers WHERE id = ?", [(peer.to_bytes(),) for peer in removed])
        entries = [(peer, self._entries[peer]) for peer in written]
        db.executemany(
            "REPLACE INTO peers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [_peer_row(peer, entry, peer in self._connected) for peer, entry in entries],
        )
        db.executemany(
            "INSERT INTO addresses VALUES (?, ?, ?, ?, ?, ?)",
            [row for peer, entry in entries for row in _address_rows(peer, entry)],
        )

    def _load(self, db: sqlite3.Connection) -> None:
        """Read the file. Who was connected when it was written is not connected now."""
        addresses: dict[bytes, dict[bytes, KnownAddress]] = {}
        for raw, address, expires, while_connected, certified, succeeded in db.execute(
            "SELECT peer, address, expires, while_connected, certified, succeeded FROM addresses"
        ):
            addresses.setdefault(raw, {})[address] = KnownAddress(
                expires, bool(while_connected), bool(certified), succeeded
            )
        now = self._clock()
        for raw, connected, *columns in db.execute(
            "SELECT id, connected, kept_until, record, sequence, protocols, metadata, key"
            " FROM peers"
        ):
            try:
                peer = PeerId(raw)
                entry = _entry(addresses.get(raw, {}), *columns)
                if connected:
                    entry.disconnect(now, self._bounds)
                entry.trim(now, False, self._bounds)
                live = entry.expires > now
            except (AttributeError, IdentityError, TypeError, ValueError) as error:
                raise self._file.damaged(error) from error
            self._written.add(peer)
            if not live:
                self._removed[peer] = None
                continue
            self._update(peer, entry)
            if not connected:
                self._dirty.pop(peer, None)  # it is as it was written


def _peer_row(peer: PeerId, entry: Entry, connected: bool) -> tuple[object, ...]:
    return (
        peer.to_bytes(),
        connected,
        entry.kept_until,
        entry.record,
        str(entry.sequence),  # SQLite's integers end at 2**63
        None if entry.protocols is None else json.dumps(sorted(entry.protocols)),
        json.dumps(entry.metadata),
        None if entry.key is None else entry.key.to_protobuf(),
    )


def _address_rows(peer: PeerId, entry: Entry) -> Iterator[tuple[object, ...]]:
    for raw, known in entry.addresses.items():
        yield (
            peer.to_bytes(),
            raw,
            known.expires,
            known.while_connected,
            known.certified,
            known.succeeded,
        )


def _entry(
    addresses: dict[bytes, KnownAddress],
    kept_until: float,
    record: bytes | None,
    sequence: str,
    protocols: str | None,
    metadata: str,
    key: bytes | None,
) -> Entry:
    spoken = None if protocols is None else frozenset(json.loads(protocols))
    return Entry(
        addresses,
        record,
        int(sequence),
        spoken,
        dict(json.loads(metadata)),
        None if key is None else PublicKey.from_protobuf(key),
        kept_until,
        sum(len(protocol.encode(errors="replace")) for protocol in spoken or ()),
    )
