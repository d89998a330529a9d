"""A SQLite file of one kind, open in one process at a time."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from carrick.errors import CarrickError

__all__ = ["Database", "Kind"]

_REASONS = {
    sqlite3.SQLITE_BUSY: "it is in use by another process",
    sqlite3.SQLITE_CORRUPT: "it is damaged; delete it to begin anew",
    sqlite3.SQLITE_READONLY: "it, or its folder, cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "its folder cannot be written to",
    sqlite3.SQLITE_FULL: "the disk is full",
}


@dataclass(frozen=True)
class Kind:
    """What files are.

    Attributes:
        name: in messages, such as "peerstore".
        error: raised for whatever cannot be done with a file, in words for a person.
        application: in the header of the file (SQLite's application id).
        version: of the schema, in the header too.
        schema: statements, each ended by ";"; an empty file is set up by them.
    """

    name: str
    error: type[CarrickError]
    application: int
    version: int
    schema: str


class Database:
    """An open file. A write ahead log makes a transaction that has ended survive the end of the
    process, by a kill too; after a loss of power the last ones may be missing.

    Args:
        path: made (mode 0600) if it is not there. SQLite keeps `<path>-wal` beside it.

    Raises:
        `kind.error`: the file is in use, of something else (it stays untouched), of another
            version, damaged, or cannot be written to; the message says which.
    """

    def __init__(self, path: str | os.PathLike[str], kind: Kind) -> None:
        self._path = os.path.abspath(path)
        self._kind = kind
        self._db: sqlite3.Connection | None = None
        with self._clear_errors("opened"):
            _create(self._path)
            db = sqlite3.connect(self._path, timeout=0, isolation_level="IMMEDIATE")
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        self._db = db

    @property
    def closed(self) -> bool:
        return self._db is None

    @contextmanager
    def transaction(self, done: str) -> Iterator[sqlite3.Connection]:
        """For the block, which is undone if it raises.

        Args:
            done: what is being done to the file, such as "written", for the message of an error.

        Raises:
            `kind.error`: it is closed, or SQLite could not.
        """
        if self._db is None:
            raise self._kind.error(f"the {self._kind.name} {self._path} is closed")
        with self._clear_errors(done), self._db as db:
            yield db

    def damaged(self, why: object) -> CarrickError:
        """The error that says that what is in the file makes no sense."""
        return self._kind.error(
            f"the {self._kind.name} {self._path} is damaged ({why}); delete it to begin anew"
        )

    def close(self) -> None:
        """More than once does nothing."""
        if self._db is None:
            return
        with self._clear_errors("closed"):
            self._db.close()
        self._db = None

    # --- within -----------------------------------------------------------------------------------

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Lock the file, see what it is, and set it up if it is empty."""
        kind, path = self._kind, self._path
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != kind.application and (application or version or tables):
            raise kind.error(f"{path} is an SQLite database of something else, no {kind.name}")
        if application == kind.application and version != kind.version:
            raise kind.error(
                f"the {kind.name} {path} has version {version}, this program knows {kind.version}; "
                "use another file, or delete it"
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a commit is written, not waited for on the disk
        db.execute("BEGIN EXCLUSIVE")
        if not tables:
            for statement in kind.schema.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {kind.application}")
            db.execute(f"PRAGMA user_version = {kind.version}")
        db.commit()

    @contextmanager
    def _clear_errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without SQLite's extension bits
            why = _REASONS.get(code, str(error))
            if code == sqlite3.SQLITE_NOTADB:
                why = f"it is no {self._kind.name}"
            raise self._failed(done, why) from error
        except OSError as error:
            raise self._failed(done, error.strerror or str(error)) from error

    def _failed(self, done: str, why: str) -> CarrickError:
        return self._kind.error(f"the {self._kind.name} {self._path} cannot be {done}: {why}")


def _create(path: str) -> None:
    """See to a regular file. One that is there is not opened: closing it would lose the locks of
    another connection of this process on it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is no regular file") from None
