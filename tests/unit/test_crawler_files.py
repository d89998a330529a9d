"""The files of a crawl."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carrick.addressing import parse_address
from carrick.errors import FileError
from carrick.identity import PeerId
from carrick.protocols.kademlia import PeerInfo
from carrick.protocols.kademlia.crawler import (
    CrawlFiles,
    CrawlReader,
    InvalidCrawl,
    MissingLibrary,
    Tally,
    Visit,
    check_parquet,
    write_parquet,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
ADDRESS = parse_address("/ip4/192.0.2.7/tcp/4001")
# nebula, db/json.go (65580d4): the fields of JSONVisit and JSONNeighbors
NEBULA_VISIT = (
    *("PeerID", "Maddrs", "FilteredMaddrs", "ListenMaddrs", "ConnectMaddr", "Protocols"),
    *("AgentVersion", "ConnectDuration", "CrawlDuration", "VisitStartedAt", "VisitEndedAt"),
    *("ConnectErrorStr", "CrawlErrorStr", "Properties"),
)


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


def info(number: int) -> PeerInfo:
    return PeerInfo.of(peer(number), [ADDRESS])


def visit(number: int, *neighbours: int, error: str | None = None) -> Visit:
    named = tuple(map(info, neighbours))
    return Visit(
        peer=peer(number),
        started=NOW,
        ended=NOW,
        addresses=(ADDRESS,),
        connect_address=None if error else ADDRESS,
        protocols=("/ipfs/kad/1.0.0",),
        agent_version="kubo/0.30.0/abc",
        connect_duration=0.25,
        connect_error=error,
        neighbors=named,
        discovered=named,
        error_bits=0 if neighbours else 0b101,
    )


def write(folder: Path, *visits: Visit, seal: bool = True, **options: bool) -> CrawlReader:
    tally = Tally()
    with CrawlFiles(folder / "x", **options) as files:  # type: ignore[arg-type]
        for each in visits:
            tally.add(each)
            files.write(each)
        if seal:
            files.seal(tally, 3)
    return CrawlReader.latest(folder)


def test_names_and_fields_are_nebulas(tmp_path: Path) -> None:
    reader = write(tmp_path, visit(1, 2, 3), visit(2, error="io_timeout"), neighbors=True)
    rows = list(reader.visits())
    assert tuple(rows[0])[: len(NEBULA_VISIT)] == NEBULA_VISIT
    assert rows[0]["PeerID"] == str(peer(1))
    assert rows[0]["Maddrs"] == [str(ADDRESS)]
    assert rows[0]["ConnectDuration"] == "250ms"
    assert rows[0]["VisitStartedAt"] == "2026-01-01T12:00:00.123456Z"
    assert (rows[0]["ConnectErrorStr"], rows[1]["ConnectErrorStr"]) == ("", "io_timeout")
    assert list(reader.neighbors()) == [
        {
            "PeerID": str(peer(1)),
            "NeighborIDs": [str(peer(2)), str(peer(3))],
            "ErrorBits": "0" * 16,
        },
        {"PeerID": str(peer(2)), "NeighborIDs": [], "ErrorBits": "0000000000000101"},
    ]
    crawl = reader.crawl()
    assert crawl["state"] == "succeeded"
    assert (crawl["crawled_peers"], crawl["dialable_peers"]) == (2, 1)
    assert (crawl["undialable_peers"], crawl["remaining_peers"]) == (1, 3)
    properties = json.loads((tmp_path / "x_crawl_properties.json").read_text())
    assert properties["agent_version"] == {"kubo/0.30.0/abc": 2}
    assert properties["error"] == {"io_timeout": 1}


def test_those_that_cannot_be_dialled_stand_apart(tmp_path: Path) -> None:
    """E2: NATed peers are listed apart."""
    write(tmp_path, visit(1, 2), visit(2, error="io_timeout"))
    rows = [json.loads(line) for line in (tmp_path / "x_undialable.ndjson").open()]
    assert [(row["PeerID"], row["ConnectErrorStr"]) for row in rows] == [
        (str(peer(2)), "io_timeout")
    ]


def test_edges_as_csv(tmp_path: Path) -> None:
    write(tmp_path, visit(1, 2, 3), edges=True)
    assert (tmp_path / "x_edges.csv").read_text() == (
        f"source,target\n{peer(1)},{peer(2)}\n{peer(1)},{peer(3)}\n"
    )
    assert not (tmp_path / "x_neighbors.ndjson").exists()


def test_going_on(tmp_path: Path) -> None:
    reader = write(tmp_path, visit(1, 2, 3), visit(2, error="io_timeout"), seal=False, edges=True)
    with (tmp_path / "x_visits.ndjson").open("a") as file:
        file.write('{"PeerID": "Qm')  # torn
    frontier, tally = reader.frontier()
    assert (tally.crawled, tally.dialable) == (2, 1)
    assert frontier.next() == info(3)
    assert frontier.next() is None
    started = reader.crawl()["started_at"]
    with CrawlFiles(tmp_path / "x", resume=True, edges=True) as files:
        tally.add(visit(3, 1))
        files.write(visit(3, 1))
        files.seal(tally, 0)
    assert [row["PeerID"] for row in reader.visits()] == [str(peer(each)) for each in (1, 2, 3)]
    assert (tmp_path / "x_edges.csv").read_text().count("source,target") == 1
    assert reader.crawl()["crawled_peers"] == 3
    assert reader.crawl()["started_at"] == started


def test_the_latest_crawl_is_taken(tmp_path: Path) -> None:
    with pytest.raises(InvalidCrawl):
        CrawlReader.latest(tmp_path)
    for name in ("2026-01-02T10:00", "2026-01-01T10:00"):
        (tmp_path / f"{name}_visits.ndjson").touch()
    assert CrawlReader.latest(tmp_path).prefix.name == "2026-01-02T10:00"


@pytest.mark.parametrize("line", ["[]\n", "{}\n", "junk\n", '{"PeerID": 1}\n', "\xff\n"])
def test_what_is_no_crawl(tmp_path: Path, line: str) -> None:
    (tmp_path / "x_visits.ndjson").write_text(line, encoding="latin-1")
    with pytest.raises(InvalidCrawl):
        list(CrawlReader.latest(tmp_path).visits())


@pytest.mark.parametrize("row", [{"PeerID": "nobody"}, {"PeerID": str(peer(1)), "Maddrs": ["x"]}])
def test_what_cannot_be_gone_on_with(tmp_path: Path, row: object) -> None:
    (tmp_path / "x_visits.ndjson").touch()
    (tmp_path / "x_seen.ndjson").write_text(json.dumps(row) + "\n")
    with pytest.raises(InvalidCrawl):
        CrawlReader.latest(tmp_path).frontier()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError), CrawlFiles(tmp_path / "file" / "x"):
        pass


def test_parquet_has_the_same_rows(tmp_path: Path) -> None:
    reader = write(tmp_path, visit(1, 2, 3), visit(2, error="io_timeout"), neighbors=True)
    try:
        parquet = check_parquet().parquet
    except MissingLibrary as error:
        assert "carrick[lab]" in str(error)
        with pytest.raises(MissingLibrary):
            write_parquet(reader)
        return
    visits, neighbors = (parquet.read_table(path) for path in write_parquet(reader))
    assert visits.column("PeerID").to_pylist() == [str(peer(1)), str(peer(2))]
    assert visits.column("VisitStartedAt").to_pylist() == [NOW, NOW]
    assert neighbors.column("NeighborIDs").to_pylist()[0] == [str(peer(2)), str(peer(3))]
