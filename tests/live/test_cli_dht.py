"""`carrick dht`, `crawl` and `health`: nodes in processes of their own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carrick.identity import PeerId
from tests.support.commands import COMMAND, LOOPBACK, Node, Run, environment, failure, runner
from tests.support.commands import listening as listening_node

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
OTHER = "QmYjtig7VJQ6XsnUjqqJvj7QaMcCAwtrgNdahSiFofrE7o"
NOBODY = "12D3KooWPvshGxzf8v9zEnhR1PnvZjbhymPTnN9v8aaYfSG59KNA"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dht")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Node]:
    with listening_node(home, "--dht") as node:
        yield node


@pytest.fixture(scope="module")
def provider(home: Path, server: Node) -> Iterator[Node]:
    """It provides CID, and stays."""
    command = ("dht", "provide", CID, "--no-api", "--bootstrap", server.address)
    with listening_node(home, command=command) as node:
        yield node
        code, _, err = node.stop(signal.SIGINT)
        assert (code, err) == (0, "")


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    with runner(tmp_path, capsys, monkeypatch) as run:
        yield run


def answers(run: Run, *args: object) -> list[dict[str, Any]]:
    code, out, err = run(*args, "--json")
    assert (code, err) == (0, ""), err
    return [json.loads(line) for line in out.splitlines()]


def answer(run: Run, *args: object) -> dict[str, Any]:
    (found,) = answers(run, *args)
    return found


def test_what_one_process_provides_another_finds(run: Run, server: Node, provider: Node) -> None:
    """A3."""
    assert provider.ready["told"] == 1
    assert provider.ready["rpcs"] >= 1
    by = ("--bootstrap", server.address)
    found = answer(run, "dht", "findprovs", CID, *by)
    assert found["schema"] == "carrick.dht_findprovs.v1"
    (only,) = found["providers"]
    assert only["id"] == provider.id
    assert f"{only['addresses'][0]}/p2p/{only['id']}" == provider.address
    assert (found["hops"], found["rpcs"]) == (1, 1)
    assert found["lookup_ms"] > 0
    code, out, err = run("dht", "findprovs", CID, *by)
    assert (code, out) == (0, f"{provider.address}\n")
    assert "1 peers asked, 1 hops" in err


def test_a_lookup_shows_itself(run: Run, server: Node, provider: Node) -> None:
    lines = answers(run, "dht", "findprovs", CID, "--bootstrap", server.address)
    code, out, _ = run("dht", "findprovs", CID, "-v", "--json", "--bootstrap", server.address)
    steps = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [step["event"] for step in steps[:-1]] == ["asked", "found"]
    assert all(step["peer"] == server.id for step in steps[:-1])
    assert steps[1]["found"] == 1
    assert steps[-1]["providers"] == lines[-1]["providers"]
    _, out, err = run("dht", "findprovs", CID, "-v", "--bootstrap", server.address)
    assert "asked" in err and "has 1" in err
    assert out == f"{provider.address}\n"


def test_one_node_is_asked_one_thing(run: Run, server: Node, provider: Node) -> None:
    at = ("--at", server.address)
    found = answer(run, "dht", "findprovs", CID, *at)
    assert (found["at"], found["rpc"], found["rpcs"]) == (server.id, "GET_PROVIDERS", 1)
    assert [each["id"] for each in found["providers"]] == [provider.id]
    assert answer(run, "dht", "findpeer", server.id, *at)["addresses"]
    assert failure(run, "dht", "get", f"/pk/{NOBODY}", *at) == (4, "not_found")
    pongs = answers(run, "dht", "ping", server.address, "-n", "2")
    assert [each["seq"] for each in pongs] == [1, 2]
    assert all(each["id"] == server.id and each["rtt_ms"] > 0 for each in pongs)
    mine = ("--listen", LOOPBACK, "--no-api", "--once")
    assert answer(run, "dht", "provide", OTHER, *at, *mine)["told"] == 1


def test_finding_peers(run: Run, server: Node) -> None:
    by = ("--bootstrap", server.address)
    found = answer(run, "dht", "findpeer", server.id, *by)
    assert [f"{each}/p2p/{found['id']}" for each in found["addresses"]] == [server.address]
    closest = answer(run, "dht", "closest", NOBODY, *by)
    assert [each["id"] for each in closest["closest"]] == [server.id]
    assert failure(run, "dht", "findpeer", NOBODY, *by) == (4, "not_found")


def test_values(run: Run, server: Node, tmp_path: Path) -> None:
    by = ("--bootstrap", server.address)
    key = PeerId.parse(server.id).public_key()
    assert key is not None
    value = tmp_path / "value"
    value.write_bytes(key.to_protobuf())
    name = f"/pk/{server.id}"
    assert answer(run, "dht", "put", name, value, *by)["stored"] == 1
    import base64

    for way in (by, ("--at", server.address)):
        found = answer(run, "dht", "get", name, *way)
        assert base64.b64decode(found["value"]) == key.to_protobuf()
    value.write_bytes(b"junk")
    assert failure(run, "dht", "put", name, value, *by) == (5, "invalid_record")
    assert failure(run, "dht", "get", f"/pk/{NOBODY}", *by) == (4, "not_found")


def test_without_anybody_to_ask_it_ends_at_once(run: Run) -> None:
    """A3: no bootstrap → a clear error and exit code, never a hang."""
    for command in (
        ("dht", "findprovs", CID),
        ("dht", "findpeer", NOBODY),
        ("dht", "closest", NOBODY),
        ("dht", "get", f"/pk/{NOBODY}"),
        ("dht", "provide", CID),
        ("crawl",),
    ):
        assert failure(run, *command) == (2, "usage")
    gone = ("--bootstrap", f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}")
    assert failure(run, "dht", "findprovs", CID, *gone) == (5, "connection_refused")
    assert failure(run, "dht", "stat") == (1, "no_node")
    assert failure(run, "dht", "findprovs", "nonsense", *gone) == (2, "invalid_cid")
    assert failure(run, "listen", *gone) == (2, "usage")


def test_tables(run: Run, server: Node, home: Path) -> None:
    mine = answer(run, "dht", "stat", "--home", home)
    assert (mine["protocol"], mine["serving"]) == ("/ipfs/kad/1.0.0", True)
    assert mine["contacts"] == 0  # nobody else serves
    seen = answer(run, "dht", "stat", "--bootstrap", server.address)
    assert (seen["serving"], seen["contacts"], seen["full_table"]) == (False, 1, None)


def test_a_table_of_all_servers(run: Run, server: Node, provider: Node) -> None:
    by = ("--bootstrap", server.address, "--full-table")
    found = answer(run, "dht", "findprovs", CID, *by)
    assert [each["id"] for each in found["providers"]] == [provider.id]
    assert (found["hops"], found["rpcs"]) == (1, 1)
    closest = answer(run, "dht", "closest", NOBODY, *by)
    assert [each["id"] for each in closest["closest"]] == [server.id]
    assert closest["rpcs"] == 0
    seen = answer(run, "dht", "stat", *by)["full_table"]
    assert (seen["servers"], seen["visited"], seen["crawling"]) == (1, 1, False)
    assert failure(run, "dht", "closest", NOBODY, "--at", *by[1:]) == (2, "usage")
    assert failure(run, "listen", "--full-table") == (2, "usage")
    code, out, _ = run("dht", "stat", *by)
    assert (code, out.splitlines()[1].split(",")[0]) == (0, "  all servers: 1")


def test_a_crawl_and_its_report(run: Run, server: Node, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    by = ("--bootstrap", server.address, "--json-out", folder)
    crawled = answer(run, "crawl", *by, "--neighbors", "--csv-edges", "--contact", "me@example.org")
    assert (crawled["crawled"], crawled["dialable"], crawled["remaining"]) == (1, 1, 0)
    assert {Path(each).name.partition("_")[2] for each in crawled["files"]} == {
        "crawl.json",
        "crawl_properties.json",
        "edges.csv",
        "neighbors.ndjson",
        "seen.ndjson",
        "undialable.ndjson",
        "visits.ndjson",
    }
    (visit,) = (json.loads(line) for line in next(folder.glob("*_visits.ndjson")).open())
    assert visit["PeerID"] == server.id
    again = answer(run, "crawl", *by, "--resume")
    assert again["crawled"] == 1
    health = answer(run, "health", folder)
    assert (health["crawled"], health["dialable_share"]) == (1, 1.0)
    report = Path(health["files"][0])
    assert report.name.endswith("_health.html")
    assert "<svg" in report.read_text()
    code, out, _ = run("health", folder, "--no-files")
    assert code == 0
    assert out.startswith("1 of 1 peers dialable (100.0%)")
    assert failure(run, "health", tmp_path) == (1, "invalid_crawl")


def test_a_crawl_of_nobody(run: Run, tmp_path: Path) -> None:
    gone = f"/ip4/127.0.0.1/tcp/1/p2p/{NOBODY}"
    code, out, _ = run("crawl", "--bootstrap", gone, "--dry-run", "--json")
    assert code == 4
    assert json.loads(out)["connect_errors"] == {"connection_refused": 1}
    assert not list(tmp_path.glob("results*"))


def test_an_interrupted_crawl_can_go_on(run: Run, server: Node, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        peer = f"/ip4/127.0.0.1/tcp/{port}/p2p/{NOBODY}"
        process = subprocess.Popen(
            [*COMMAND, "crawl", "--bootstrap", peer, "--json-out", str(tmp_path), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(tmp_path),
        )
        try:
            silent.settimeout(30)
            with silent.accept()[0]:  # it is at work, and nobody answers
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")
    assert json.loads(out)["remaining"] == 1
    assert json.loads(next(tmp_path.glob("*_crawl.json")).read_text())["state"] == "cancelled"
    more = ("--bootstrap", server.address, "--dial-timeout", "5s")
    code, out, _ = run("crawl", *more, "--json-out", tmp_path, "--resume", "--json")
    assert code == 0
    assert (json.loads(out)["crawled"], json.loads(out)["dialable"]) == (2, 1)
