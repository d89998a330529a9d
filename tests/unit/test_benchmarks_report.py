"""What a report says, and how charts look."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.aims import AIMS, beside, find
from benchmarks.bench import Result, Row
from benchmarks.charts import Bar, bars, curve, figure
from benchmarks.measure import MEASURES, bulk, growth, ping
from benchmarks.report import Run, charts, markdown, reached, write
from benchmarks.stats import Sample

NOISE = "tcp+noise+yamux"


def result(row: Row, *values: float, failure: str | None = None, other: float = 0.0) -> Result:
    return Result(row, [Sample(value, 0.5, 0.4, 0.3, other) for value in values], failure)


def upload(dialer: str, listener: str, *values: float, failure: str | None = None) -> Result:
    return result(Row("bulk", "upload", dialer, listener, NOISE, "MB/s"), *values, failure=failure)


def ceiling(value: float) -> Result:
    return result(Row("bulk", bulk.CEILING, "–", "–", "tcp", "MB/s"), value, value, value)


def run(*results: Result) -> Run:
    facts = {"machine": "2 cores"}
    contestants = [("carrick", "carrick", "0.1.0", "Python"), ("go", "go-libp2p", "–", "no go")]
    return Run(facts, contestants, {"connections": 2000}, [bulk, ping, growth], results)


def test_a_row_says_the_median_its_spread_and_the_cpu_time_of_both() -> None:
    text = markdown(run(ceiling(1000), upload("carrick", "carrick", 800, 700, 900)))
    row = next(line for line in text.splitlines() if "carrick → carrick" in line)
    assert "800 [700–900] MB/s" in row
    assert "| 3 |" in row
    assert "0.60 / 0.80" in row  # cores: CPU-seconds of dialer and listener over the wall time
    assert "0.75 / 1.00" in row  # CPU-seconds for 1 GB: 800 MB/s for 0.5 s are 0.4 GB
    assert "80%" in row


def test_the_limits_that_were_raised_and_who_is_missing_are_printed() -> None:
    text = markdown(run())
    assert "`connections=2000`" in text
    assert "no go" in text


def test_what_fails_is_said_and_nothing_is_made_up() -> None:
    text = markdown(run(upload("go", "carrick", failure="a | b\nc")))
    assert "| upload | go → carrick | tcp+noise+yamux | fails: a \\| b c | – |" in text
    assert "## Aims" not in text


def test_a_busy_machine_is_named() -> None:
    row = Row("ping", "p50", "carrick", "carrick", NOISE, "µs", more_is_better=False)
    busy = result(row, 100, 110, 120, other=1.0)
    text = markdown(run(busy))
    assert "The machine was busy" in text
    assert "| 3 d |" in text
    assert "The machine was busy" not in markdown(run(result(row, 100, 110, 120)))


def test_carrick_beside_the_others() -> None:
    row = Row("ping", "p50", "go", "go", NOISE, "µs", more_is_better=False)
    ours = Row("ping", "p50", "carrick", "carrick", NOISE, "µs", more_is_better=False)
    standings = beside(
        [
            upload("carrick", "carrick", 800),
            upload("go", "go", 400),
            upload("carrick", "go", 600),
            upload("go", "carrick", 500),
            result(ours, 120),
            result(row, 60),
        ]
    )
    assert [(each.theirs.row.measure, each.ratio) for each in standings] == [
        ("bulk", 2.0),
        ("ping", 0.5),
    ]


def test_where_carrick_is_behind_it_is_bold() -> None:
    text = markdown(run(upload("carrick", "carrick", 300), upload("go", "go", 400)))
    assert "**0.750 ×**" in text


def test_a_share_of_the_ceiling_reaches_the_aim_too() -> None:
    aim = next(aim for aim in AIMS if aim.share is not None)
    ours = upload("carrick", "carrick", 300)
    assert reached(aim, ours, [ours, ceiling(400)])
    assert not reached(aim, ours, [ours, ceiling(1000)])
    assert not reached(aim, ours, [ours])


def test_an_aim_may_be_a_peer_or_another_stack() -> None:
    ours, go, rust = upload("carrick", "carrick", 300), upload("go", "go", 200), 290
    ahead = next(aim for aim in AIMS if aim.times and aim.stack == NOISE)
    assert reached(ahead, ours, [ours, go, upload("rust", "rust", rust)])
    assert not reached(ahead, ours, [ours, go, upload("rust", "rust", 310)])
    assert not reached(ahead, ours, [ours, go])
    websocket = next(aim for aim in AIMS if aim.of)
    row = Row("bulk", "upload", "carrick", "carrick", websocket.stack, "MB/s")
    assert reached(websocket, result(row, 220), [ours])
    assert not reached(websocket, result(row, 200), [ours])


def test_aims_say_what_was_seen_and_the_ratio_to_each() -> None:
    text = markdown(run(upload("carrick", "carrick", 300), upload("go", "go", 400)))
    line = next(line for line in text.splitlines() if line.startswith("| bulk: upload"))
    assert line.endswith(
        "| ≥ 700 MB/s, or 65% of the ceiling | 300 MB/s **d** | **no** | **0.750 ×** |"
    )


def test_a_row_that_failed_later_says_so() -> None:
    text = markdown(run(upload("go", "carrick", 1, 2, 3, failure="no answer")))
    assert "| 3, then no answer |" in text


def test_less_is_better_where_it_is() -> None:
    aim = next(aim for aim in AIMS if aim.measure == "ping")
    row = Row("ping", "p50", "carrick", "carrick", NOISE, "µs", more_is_better=False)
    assert reached(aim, result(row, 149), [])
    assert not reached(aim, result(row, 151), [])


def test_aims_are_of_measures_that_exist() -> None:
    assert {aim.measure for aim in AIMS} <= {measure.NAME for measure in MEASURES}


def test_a_row_is_found_of_one_with_itself() -> None:
    wanted = upload("go", "go", 2)
    assert find([upload("carrick", "go", 1), wanted], "bulk", "upload", NOISE, "go") is wanted
    idle = result(Row("memory", "CPU with 500", "carrick", "go", NOISE, "%"), 1)
    assert find([idle], "memory", "CPU with 500", NOISE, "go") is idle
    assert find([], "bulk", "upload", NOISE) is None


def test_everything_is_written_and_old_charts_go(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "old.svg").write_text("")
    path = write(run(upload("carrick", "carrick", 2.0), upload("go", "go", 1.0)), tmp_path)
    assert [file.name for file in (tmp_path / "charts").iterdir()] == [
        "bulk-upload-tcp-noise-yamux.svg"
    ]
    assert "](charts/bulk-upload-tcp-noise-yamux.svg)" in path.read_text()
    raw = json.loads((tmp_path / "results.json").read_text())
    assert raw["results"][0]["samples"][0]["value"] == 2.0
    assert raw["results"][0]["row"]["dialer"] == "carrick"


def test_growth_is_a_curve() -> None:
    rows = [
        Row("growth", growth.STREAMS, "carrick", "carrick", NOISE, "MB/s", size=size)
        for size in (1, 10, 100)
    ]
    drawn = charts(run(*(result(row, 5.0) for row in rows)))
    assert list(drawn) == ["growth-upload-over-streams-tcp-noise-yamux.svg"]
    assert drawn[next(iter(drawn))].count("<circle") == 3


@pytest.mark.parametrize("kind", ["ours", "theirs", "control"])
def test_charts_are_well_formed(kind: str) -> None:
    root = ET.fromstring(bars("a < b & c", "MB/s", [Bar("x & y", 5.0, 4.0, 6.0, kind)]))
    assert root.tag.endswith("svg")
    ET.fromstring(bars("nothing", "MB/s", []))
    ET.fromstring(bars("zero", "%", [Bar("x", 0.0, 0.0, 0.0, kind)]))
    ET.fromstring(curve("growth", "MB/s", [(1, 5.0), (10, 4.0)]))
    ET.fromstring(curve("one point", "MB/s", [(1, 0.0)]))


def test_bars_are_as_long_as_their_values() -> None:
    root = ET.fromstring(
        bars("t", "MB/s", [Bar("a", 10, 10, 10, "ours"), Bar("b", 5, 5, 5, "ours")])
    )
    widths = [
        float(element.attrib["width"]) for element in root.iter() if element.get("class") == "o"
    ]
    assert widths[0] == pytest.approx(2 * widths[1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234.5, "1,234"),
        (123.45, "123"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.01234, "0.012"),
    ],
)
def test_figures_have_three_digits_that_count(value: float, text: str) -> None:
    assert figure(value) == text
