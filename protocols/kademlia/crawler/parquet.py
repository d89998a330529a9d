"""A crawl's rows as Parquet. Needs pyarrow: the extra `lab`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

from carrick.errors import CarrickError
from carrick.protocols.kademlia.crawler.files import CrawlReader

__all__ = ["MissingLibrary", "check_parquet", "write_parquet"]

_BATCH = 4096  # rows that are held at once
_LISTS = ("Maddrs", "FilteredMaddrs", "ListenMaddrs", "Protocols", "DialErrors", "NeighborIDs")
_TIMES = ("VisitStartedAt", "VisitEndedAt")
_VISITS = (
    *("PeerID", "Maddrs", "FilteredMaddrs", "ListenMaddrs", "ConnectMaddr", "Protocols"),
    *("AgentVersion", "ConnectDuration", "CrawlDuration", "VisitStartedAt", "VisitEndedAt"),
    *("ConnectErrorStr", "CrawlErrorStr", "DialErrors", "NeighborCount", "Requests"),
    *("RTTMillis", "Version"),
)
_NEIGHBORS = ("PeerID", "NeighborIDs", "ErrorBits")


class MissingLibrary(CarrickError):
    """An optional library is not installed."""


def check_parquet() -> Any:
    """The library.

    Raises:
        MissingLibrary: it is not there.
    """
    try:
        import pyarrow.parquet  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingLibrary(
            "Parquet needs pyarrow, which is not installed: pip install 'carrick[lab]'"
        ) from error
    return pyarrow


def write_parquet(reader: CrawlReader) -> list[Path]:
    """Write `_visits.parquet` and, if there are tables, `_neighbors.parquet` beside the crawl's
    other files.

    Raises:
        MissingLibrary: there is no pyarrow.
        InvalidCrawl: the crawl's files are none.
    """
    pyarrow = check_parquet()
    written = []
    for name, columns, rows in (
        ("_visits.parquet", _VISITS, reader.visits()),
        ("_neighbors.parquet", _NEIGHBORS, reader.neighbors()),
    ):
        batches = _batches(rows)
        first = next(batches, None)
        if first is None:
            continue
        schema = pyarrow.schema([(column, _type(pyarrow, column)) for column in columns])
        path = reader.prefix.with_name(reader.prefix.name + name)
        with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in chain([first], batches):
                values = {column: [row.get(column) for row in batch] for column in columns}
                writer.write_table(pyarrow.table(_typed(pyarrow, values), schema=schema))
        written.append(path)
    return written


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _type(pyarrow: Any, column: str) -> Any:
    if column in _LISTS:
        return pyarrow.list_(pyarrow.string())
    if column in _TIMES:
        return pyarrow.timestamp("us", tz="UTC")
    if column in ("NeighborCount", "Requests"):
        return pyarrow.int32()
    return pyarrow.float64() if column == "RTTMillis" else pyarrow.string()


def _typed(pyarrow: Any, values: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Times come as text, and may have been written with any offset."""
    return {
        column: pyarrow.array(
            [datetime.fromisoformat(each) if each and column in _TIMES else each for each in found],
            type=_type(pyarrow, column),
        )
        for column, found in values.items()
    }
