"""The simulation benchmark: a small world, its shares, and its page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulation.report import AIM_NODES, markdown
from benchmarks.simulation.shares import OTHER, room

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    outcome = subprocess.run(
        [sys.executable, "-m", "benchmarks.simulation.world", "6", "4", "--profile", "--memory"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def test_each_node_has_its_peers(world: dict[str, Any]) -> None:
    assert world["connections"] == 6 * 4 // 2
    assert world["phases"]["idle"]["virtual"] == pytest.approx(60)
    assert world["phases"]["connect"]["cpu"] > 0


def test_shares_are_of_the_whole(world: dict[str, Any]) -> None:
    for kind in ("time", "memory"):
        assert 0.9 < sum(world[kind].values()) <= 1.0001
    assert {"trio", "simulator", "Noise", "cryptography"} <= world["time"].keys()


def test_rooms() -> None:
    assert room("/x/core/carrick/sim/tcp.py") == "simulator"
    assert room("/x/core/carrick/transports/security/noise/noise.py") == "Noise"
    assert room("/x/site-packages/trio/_core/_run.py") == "trio"
    assert room("/usr/lib/python3.11/contextlib.py") == OTHER


def test_the_page(world: dict[str, Any]) -> None:
    page = markdown([world], {"machine": "some"}, peers=4, time_profile=world)
    assert "| nodes | 6 |" in page
    assert "| connections | 12 |" in page
    assert "Not measured in this run" in page
    assert "| Noise | " in page
    whole = markdown([{**world, "nodes": AIM_NODES}], {}, peers=20)
    assert "reached" in whole
    slow = {**world, "nodes": AIM_NODES, "peak_rss": 3 << 30}
    assert "MiB, **missed**" in markdown([slow], {}, peers=20)
