"""What the matrix expects, counts and writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from interop.natlab import results
from interop.natlab.matrix import CLASSIC, REGULAR, Job, Played, can_meet, everything, jobs
from interop.natlab.node import Description
from interop.natlab.results import Cell, cells, keep, load, told
from interop.natlab.scenarios.meeting import Run, _winner
from interop.natlab.topology import Topology


def test_thirteen_of_fifteen_pairs_can_meet() -> None:
    assert len(CLASSIC) == 15
    hopeless = [pair for pair in CLASSIC if not can_meet(*pair)]
    assert hopeless == [("pr", "sym"), ("sym", "sym")]
    assert all(can_meet(*pair) for pair in REGULAR)
    assert not can_meet("sym", "symseq") and not can_meet("symseq", "symseq")


def run(
    *, direct: bool = True, attempt: int = 1, seconds: float = 1.0, problem: str | None = None
) -> Run:
    strategy = "punch" if direct else None
    return Run(50, "a", direct, strategy, attempt if direct else None, seconds, problem)


def cell(*runs: Run, pair: tuple[str, str] = ("pr", "pr"), transport: str = "tcp") -> Cell:
    found = cells([Played(Job(pair, transport, {50: len(runs)}), runs, 1.0)])
    assert [each.initiator for each in found] == ["a", "b"]
    return found[0]


def test_one_run_of_twenty_may_fail() -> None:
    good = [run()] * 19
    assert list(cell(*good, run(direct=False)).wrong()) == []
    assert list(cell(*good, run(direct=False), run(direct=False)).wrong()) == ["direct 19 of 21"]


def test_the_first_attempt_must_do_unless_roles_have_to_be_swapped() -> None:
    runs = [run(attempt=2)] * 2 + [run()] * 18
    assert list(cell(*runs).wrong()) == ["at the first attempt 18 of 20"]
    assert list(cell(*runs, pair=("ar", "sym"), transport="quic").wrong()) == []
    assert len(list(cell(*runs, pair=("ar", "sym")).wrong())) == 1


def test_what_cannot_be_is_wrong_and_so_is_slowness_and_every_problem() -> None:
    relayed = [run(direct=False)] * 3
    assert list(cell(*relayed, pair=("sym", "sym")).wrong()) == []
    assert list(cell(run(), pair=("sym", "sym")).wrong()) == ["direct 1 of 1, against physics"]
    assert list(cell(run(seconds=10.1)).wrong()) == ["took up to 10.1 s"]
    assert "lost" in list(cell(run(problem="lost")).wrong())
    assert list(cell().wrong()) == ["not played"]
    failed = cells([Played(Job(("pr", "pr"), "tcp", {50: 1}), (), 1.0, "it broke")])
    assert "it broke" in list(failed[0].wrong())


def test_what_is_kept_is_replaced_cell_by_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "HERE", tmp_path)
    monkeypatch.setattr(results, "PAGE", tmp_path / "RESULTS.md")
    keep("kernel", [cell(run()), cell(run(), pair=("fc", "sym"))])
    keep("kernel", [cell(run(direct=False))])
    assert [(each.one, each.direct) for each in load("kernel")] == [("fc", 1), ("pr", 0)]
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| fc × sym | direct | – | 1/1, punch, 1.00 s, 1.00 s | – | – |" in page
    assert "| pr × pr | direct | – | **!**, 0/1, 1.00 s, 1.00 s | – | – |" in page
    assert "**simulated**: not played" in page


def test_a_job_is_told_in_lines() -> None:
    job = Job(("pr", "sym"), "quic", {50: 1})
    steps = [
        {"strategy": "punch", "start_ms": 5, "end_ms": None, "result": "running", "reason": None}
        | {"address": None, "attempts": []}
    ]
    lines = list(told(Played(job, [Run(50, "b", True, "punch", 1, 2.0, trace=steps)], 1.0), True))
    assert lines == [
        "pr × sym quic             50 ms:  1/1 direct,  2.00 s,  2.00 s  punch 1: 1",
        "  b connects, 2.00 s, None: None",
        "    5–… ms punch: running",
    ]


def test_the_strategy_that_won_and_its_attempt() -> None:
    def step(strategy: str, result: str, *attempts: str) -> dict[str, object]:
        made = [{"result": each} for each in attempts]
        return {"strategy": strategy, "result": result, "attempts": made}

    assert _winner([step("relay", "ok", "ok")]) == (None, None)
    assert _winner([step("relay", "ok"), step("punch", "ok", "failed", "ok")]) == ("punch", 2)
    assert _winner([step("reverse", "ok", "failed", "ok")]) == ("reverse", 1)


def test_work_is_pairs_by_transports() -> None:
    work = jobs(CLASSIC, ("tcp", "quic"), everything(20))
    assert len(work) == 30
    assert sum(job.runs for job in work) == 15 * 2 * 2 * 3 * 20


def test_a_place_behind_a_home_router_behind_a_provider() -> None:
    topology = Topology()
    assert topology.place("a", "open").router is None
    host = topology.place("b", "sym/pr")
    assert host.router is not None and host.router.kind.name == "pr"
    assert host.router.router is not None and host.router.router.kind.name == "sym"


def test_a_description_survives_json() -> None:
    description = Description(services=("relay",), stun=("11.0.113.2:3478",), ipv6=True)
    assert Description.from_json(description.to_json()) == description


def test_c17_the_direct_share_stands_beside_what_others_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was played; what was not counts as relayed, and is shown as not played."""
    monkeypatch.setattr(results, "HERE", tmp_path)
    monkeypatch.setattr(results, "PAGE", tmp_path / "RESULTS.md")
    page = tmp_path / "RESULTS.md"
    pairs = [pair for pair in CLASSIC if pair != ("open", "open")]
    keep("simulated", [cell(run(direct=can_meet(*pair)), pair=pair) for pair in pairs])
    assert "equally frequent: **84.0 %**, of the 88.0 % that physics" in page.read_text()
    keep("simulated", [cell(run(), pair=("open", "open"))])
    text = page.read_text()
    assert "equally frequent: **88.0 %**, of the 88.0 %" in text
    for anchor in ("70 % ± 7.1 %", "about 90 %", "92 to 96 %"):
        assert anchor in text
    assert "**kernel**: not played" in text
