"""The files of a crawl: written as it goes on, and read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from carrick import __version__
from carrick.addressing import parse_address
from carrick.errors import AddressError, CarrickError, FileError, IdentityError
from carrick.identity import PeerId
from carrick.protocols.kademlia.crawler.frontier import Frontier
from carrick.protocols.kademlia.crawler.records import (
    neighbors_row,
    properties_row,
    rfc3339,
    seen_row,
    undialable_row,
    visit_row,
)
from carrick.protocols.kademlia.crawler.rows import Tally, Visit
from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["CrawlFiles", "CrawlReader", "InvalidCrawl"]

VISITS, NEIGHBORS = "_visits.ndjson", "_neighbors.ndjson"
SEEN, UNDIALABLE, EDGES = "_seen.ndjson", "_undialable.ndjson", "_edges.csv"
CRAWL, PROPERTIES = "_crawl.json", "_crawl_properties.json"
STARTED, SUCCEEDED, CANCELLED = "started", "succeeded", "cancelled"  # states, as nebula has them
MAX_LINE = 8 << 20  # bytes

_TEXTS = ("AgentVersion", "ConnectDuration", "ConnectErrorStr", "CrawlErrorStr")
_LISTS = ("Maddrs", "Protocols", "NeighborIDs")


class InvalidCrawl(CarrickError):
    """A folder without a crawl, or files that are none of one."""


class CrawlFiles:
    """Writes a crawl, row by row. A context manager.

    Args:
        prefix: the path that all names begin with: folder and time.
        neighbors: write the tables too.
        edges: write them as CSV too: `source,target`, a line for each contact.
        resume: go on with the files that are there.
        more: what else `_crawl.json` shall say.

    Raises:
        FileError: they cannot be written.
    """

    def __init__(
        self,
        prefix: Path,
        *,
        neighbors: bool = False,
        edges: bool = False,
        resume: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.prefix = prefix
        self._wanted = [VISITS, SEEN, UNDIALABLE]
        self._wanted += [NEIGHBORS] if neighbors else []
        self._wanted += [EDGES] if edges else []
        self._resume = resume
        self._more = dict(more or {})
        self._started = rfc3339(datetime.now(UTC))
        self._exits = ExitStack()
        self._files: dict[str, IO[str]] = {}

    @classmethod
    def new(cls, folder: Path, **options: Any) -> CrawlFiles:
        """Files of a crawl that starts now."""
        return cls(folder / f"{datetime.now(UTC):%Y-%m-%dT%H:%M}", **options)

    def __enter__(self) -> CrawlFiles:
        try:
            self.prefix.parent.mkdir(parents=True, exist_ok=True)
            for name in self._wanted:
                path = _path(self.prefix, name)
                if self._resume:
                    _cut_torn_line(path)
                mode = "a" if self._resume else "w"
                self._files[name] = self._exits.enter_context(path.open(mode, encoding="utf-8"))
            if EDGES in self._files and not self._files[EDGES].tell():
                self._files[EDGES].write("source,target\n")
            if self._resume:
                self._started = CrawlReader(self.prefix).crawl().get("started_at", self._started)
            else:
                self._write_crawl({"state": STARTED})
        except OSError as error:
            self._exits.close()
            raise FileError(f"{error.filename}: {error.strerror}") from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._exits.close()

    def note_seen(self, peers: Iterable[PeerInfo]) -> None:
        """These are heard of for the first time."""
        for each in peers:
            self._line(SEEN, seen_row(each))
        self._files[SEEN].flush()  # before the visit that named them: none may be lost

    def write(self, visit: Visit) -> None:
        """A visit; whom it discovered comes first, so that a later run visits them."""
        self.note_seen(visit.discovered)
        if visit.neighbors or visit.error_bits:
            if NEIGHBORS in self._files:
                self._line(NEIGHBORS, neighbors_row(visit))
            if EDGES in self._files:
                source = str(visit.peer)
                self._files[EDGES].writelines(f"{source},{each.id}\n" for each in visit.neighbors)
        if not visit.dialable:
            self._line(UNDIALABLE, undialable_row(visit))
        self._line(VISITS, visit_row(visit))

    def flush(self) -> None:
        """Hand what was written to the system."""
        for each in self._files.values():
            each.flush()

    def seal(self, tally: Tally, remaining: int, state: str = SUCCEEDED) -> None:
        """The crawl is over: `state` is SUCCEEDED, or CANCELLED if it may be gone on with."""
        self.flush()
        self._write_crawl(
            {
                "state": state,
                "finished_at": rfc3339(datetime.now(UTC)),
                "crawled_peers": tally.crawled,
                "dialable_peers": tally.dialable,
                "undialable_peers": tally.undialable,
                "remaining_peers": remaining,
            }
        )
        _write_json(_path(self.prefix, PROPERTIES), properties_row(tally))

    def _line(self, name: str, row: Mapping[str, Any]) -> None:
        self._files[name].write(json.dumps(row, ensure_ascii=False) + "\n")

    def _write_crawl(self, fields: Mapping[str, Any]) -> None:
        row = {
            "id": 0,
            "state": STARTED,
            "started_at": self._started,
            "updated_at": rfc3339(datetime.now(UTC)),
            "created_at": self._started,
            "version": __version__,
            **fields,
            **self._more,
        }
        _write_json(_path(self.prefix, CRAWL), row)


class CrawlReader:
    """Reads the files of one crawl, ours or nebula's, line by line.

    Args:
        prefix: as of `CrawlFiles`.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix

    @classmethod
    def latest(cls, folder: Path) -> CrawlReader:
        """The last crawl in a folder.

        Raises:
            InvalidCrawl: there is none.
        """
        found = sorted(folder.glob(f"*{VISITS}"))
        if not found:
            raise InvalidCrawl(f"{folder}: there is no crawl: no file *{VISITS}")
        return cls(found[-1].with_name(found[-1].name.removesuffix(VISITS)))

    def crawl(self) -> dict[str, Any]:
        """`_crawl.json`; empty if it is not there."""
        path = _path(self.prefix, CRAWL)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise InvalidCrawl(f"{path}: {error}") from error
        return found if isinstance(found, dict) else {}

    def visits(self) -> Iterator[dict[str, Any]]:
        """The rows of `_visits.ndjson`.

        Raises:
            InvalidCrawl: a line that is none; the last may be torn.
        """
        return self._lines(VISITS)

    def neighbors(self) -> Iterator[dict[str, Any]]:
        """The rows of `_neighbors.ndjson`; none if tables were not written."""
        return self._lines(NEIGHBORS)

    def frontier(self, *, limit: int | None = None) -> tuple[Frontier, Tally]:
        """What a crawl that was cut off has left to do, and what it had found.

        Raises:
            InvalidCrawl: the files are none of a crawl.
        """
        frontier, tally = Frontier(limit=limit), Tally()
        for row in self._lines(SEEN):
            frontier.add(_peer_info(row))
        for row in self.visits():
            frontier.skip([_peer_id(row)])
            _count(tally, row)
        return frontier, tally

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = _path(self.prefix, name)
        if not path.exists():
            return
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == MAX_LINE:
                        raise InvalidCrawl(f"{path}:{number}: a line of more than {MAX_LINE} bytes")
                    return  # torn when it was cut off
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise InvalidCrawl(f"{path}:{number}: {error}") from error
                if (wrong := _wrong_field(row)) is not None:
                    raise InvalidCrawl(f"{path}:{number}: {wrong}")
                yield row


def _wrong_field(row: Any) -> str | None:
    """What is wrong with a row; fields that nobody reads are not looked at."""
    if not isinstance(row, dict) or not isinstance(row.get("PeerID"), str):
        return "no row with a PeerID"
    for name in _TEXTS:
        if not isinstance(row.get(name), str | None):
            return f"{name} is no text"
    for name in _LISTS:
        values = row.get(name)
        if values is not None and not (
            isinstance(values, list) and all(isinstance(each, str) for each in values)
        ):
            return f"{name} is no list of texts"
    return None


def _path(prefix: Path, name: str) -> Path:
    return prefix.with_name(prefix.name + name)


def _write_json(path: Path, value: Any) -> None:
    """Whole, or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(draft, path)


def _cut_torn_line(path: Path) -> None:
    """A run that was killed may have left half a line."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 4096)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                file.truncate(start + at + 1)
                return
            end = start
        file.truncate(0)


def _peer_id(row: Mapping[str, Any]) -> PeerId:
    try:
        return PeerId.parse(row["PeerID"])
    except IdentityError as error:
        raise InvalidCrawl(f"a row of a crawl: {error}") from error


def _peer_info(row: Mapping[str, Any]) -> PeerInfo:
    try:
        addresses = [parse_address(each) for each in row.get("Maddrs") or ()]
    except AddressError as error:
        raise InvalidCrawl(f"a row of a crawl: {error}") from error
    return PeerInfo.of(_peer_id(row), addresses)


def _count(tally: Tally, row: Mapping[str, Any]) -> None:
    tally.crawled += 1
    tally.agents[row.get("AgentVersion") or ""] += 1
    tally.protocols.update(row.get("Protocols") or ())
    if error := row.get("ConnectErrorStr"):
        tally.connect_errors[error] += 1
    else:
        tally.dialable += 1
    if error := row.get("CrawlErrorStr"):
        tally.crawl_errors[error] += 1
