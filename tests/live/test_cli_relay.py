"""`carrick relay`, `status`, `peers` and `addrs`: nodes in processes, asked over their API."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Node, Run, failure, listening, runner

SERVE = ("relay", "serve")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("relay")


@pytest.fixture(scope="module")
def relay(home: Path) -> Iterator[Node]:
    limits = ("--max-reservations", "5", "--limit-time", "90s", "--limit-bytes", "1MiB")
    with listening(home, *limits, "--per-ip", "3", command=SERVE) as node:
        yield node
        assert node.stop()[0] == 0


@pytest.fixture
def run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    with runner(tmp_path, capsys, monkeypatch) as run:
        yield run


def answer(run: Run, *args: object) -> Any:
    code, out, err = run(*args, "--json")
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert all(each["version"] for each in found)
    return found[0] if len(found) == 1 else found


def test_serve_tells_what_it_gives(relay: Node, home: Path) -> None:
    ready = relay.ready
    assert ready["schema"] == "carrick.relay_serve.v1"
    assert ready["addresses"] == [f"/ip4/127.0.0.1/tcp/{relay.port}/p2p/{relay.id}"]
    assert (ready["max_reservations"], ready["max_circuits"], ready["per_ip"]) == (5, 16, 3)
    assert (ready["limit_time_ms"], ready["limit_bytes"]) == (90_000, 1 << 20)
    assert ready["api"] == str(home / "api.sock")
    assert os.stat(ready["api"]).st_mode & 0o777 == 0o600


def test_reserve_shows_what_was_granted(relay: Node, run: Run, home: Path) -> None:
    """C7: the limits are told to the client."""
    args = ("relay", "reserve", relay.address, "--once", "--listen", "/ip4/127.0.0.1/tcp/0")
    granted = answer(run, *args)
    assert granted["schema"] == "carrick.relay_reserve.v1"
    assert granted["relay"] == relay.id
    assert granted["active"] is granted["voucher"] is True
    assert granted["addresses"] == [f"{relay.address}/p2p-circuit/p2p/{granted['id']}"]
    assert (granted["limit_time_ms"], granted["limit_bytes"]) == (90_000, 1 << 20)
    assert 3_500_000 < granted["left_ms"] <= 3_600_000
    assert datetime.fromisoformat(granted["expires"]).tzinfo is not None
    code, out, err = run(*args)
    assert (code, out.count("p2p-circuit")) == (0, 1)
    assert "reserved, 60 min left; 90 s and 1.0 MiB each way for each circuit" in err


def test_status_and_the_others(relay: Node, run: Run, home: Path, tmp_path: Path) -> None:
    with listening(tmp_path, "--relay", relay.address, "--observers", "2") as node:
        at_relay = ("--home", home)
        first = answer(run, "relay", "ls")
        while not first["reserved"]:  # it is asked for when the node has started
            first = answer(run, "relay", "ls")
        [slot] = first["reservations"]
        assert (slot["relay"], slot["limit_bytes"]) == (relay.id, 1 << 20)
        assert first["serving"] is None
        assert "reserved, 60 min left" in run("relay", "ls")[1]
        served = answer(run, "relay", "ls", *at_relay)["serving"]
        assert served["reservations"] >= 1
        assert "of at most 5 peers" in run("relay", "ls", *at_relay)[1]

        status = answer(run, "status")
        assert status["id"] == node.id
        assert status["process"] == node.process.pid
        assert status["relay"]["reserved"] == 1
        assert status["peers"] == {"total": 1, "direct": 1, "relayed": 0}
        assert status["public_addr"]["needed"] == 2
        assert status["reachability"] == "unknown"
        assert "127.0.0.1/8" in [each["addr"] for each in status["interfaces"]]
        line, *more = run("status")[1].splitlines()
        assert line == (
            "reachability unknown · public addr 0/2 observers · relay 1 reserved, 60 min left · "
            "peers 1 (1 direct, 0 relayed)"
        )
        assert "interface 127.0.0.1/8 (loopback)" in more

        peer = answer(run, "peers")
        assert (peer["peer"], peer["path"], peer["direction"]) == (relay.id, "direct", "outbound")
        assert peer["identify"]["agent_version"].startswith("carrick/")
        assert peer["latency_ms"] is None or peer["latency_ms"] > 0
        text = run("peers", "--all")[1]
        assert f"direct {relay.address} outbound" in text

        found = answer(run, "addrs")
        assert found["listen"] == [f"/ip4/127.0.0.1/tcp/{node.port}"]
        relayed = f"{relay.address}/p2p-circuit"
        assert found["advertised"]["relayed"] == [relayed]
        assert f"tells        {relayed} (relayed)" in run("addrs")[1]
        verdicts = answer(run, "addrs", "--reachability")
        assert verdicts["reachability"] == "unknown"
        assert verdicts["reachable"] == verdicts["unreachable"] == verdicts["unknown"] == []
        assert run("addrs", "--reachability")[1] == "reachability unknown\n"
        assert node.stop()[0] == 0


def test_reserve_keeps_the_slot_until_it_is_stopped(relay: Node, tmp_path: Path) -> None:
    with listening(tmp_path, command=("relay", "reserve", relay.address)) as node:
        assert node.ready["addresses"][0].startswith(f"{relay.address}/p2p-circuit/p2p/")
        assert node.stop(signal.SIGINT) == (0, "", "")


def test_relays_that_refuse(run: Run, tmp_path: Path) -> None:
    quiet = ("--once", "--no-api", "--listen", "/ip4/127.0.0.1/tcp/0")
    with listening(tmp_path / "full", "--max-reservations", "0", command=SERVE) as full:
        assert failure(run, "relay", "reserve", full.address, *quiet) == (5, "refused")
    with listening(tmp_path / "none") as plain:
        args = ("relay", "reserve", plain.address, *quiet)
        assert failure(run, *args) == (1, "protocol_not_supported")


def test_relay_service_of_a_node(run: Run, tmp_path: Path) -> None:
    """C5: any node can be one."""
    with listening(tmp_path, "--relay-service") as node:
        served = answer(run, "relay", "ls")["serving"]
        assert (served["limit_time_ms"], served["limit_bytes"]) == (120_000, 1 << 17)
        assert (served["max_reservations"], served["per_ip"]) == (128, 8)
        args = ("relay", "reserve", node.address, "--once", "--no-api")
        assert run(*args, "--listen", "/ip4/127.0.0.1/tcp/0")[0] == 0


def test_no_node_runs(run: Run, tmp_path: Path) -> None:
    for command in (("status",), ("peers",), ("addrs",), ("relay", "ls")):
        assert failure(run, *command) == (1, "no_node")
    code, _, err = run("status")
    assert code == 1
    assert "no node runs here" in err
    assert "carrick listen" in err


def test_two_nodes_with_one_home(run: Run, tmp_path: Path) -> None:
    with listening(tmp_path) as first:
        with listening(tmp_path) as second:
            assert second.ready["api"] is None
            assert answer(run, "status")["id"] == first.id
            code, _, err = second.stop()
            assert code == 0
            assert f"another node (process {first.process.pid})" in err
        api = first.ready["api"]
        assert failure(run, "listen", "--api", api, "--listen", "/ip4/127.0.0.1/tcp/0") == (1, "io")
        other = tmp_path / "other.sock"
        with listening(tmp_path, "--api", str(other)) as second:
            assert answer(run, "status", "--api", other)["id"] == second.id
        assert answer(run, "status")["id"] == first.id
    with listening(tmp_path, "--no-api") as node:
        assert "api" not in node.ready
        assert run("status")[0] == 1


def test_wrong_flags(run: Run) -> None:
    assert failure(run, "listen", "--relay", "/ip4/127.0.0.1/tcp/1") == (2, "usage")
    assert failure(run, "listen", "--observers", "0") == (2, "usage")
    assert failure(run, "relay", "serve", "--limit-time", "0.2s") == (2, "usage")
    assert failure(run, "relay", "reserve", "192.0.2.1:4001") == (2, "usage")
