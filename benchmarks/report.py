"""RESULTS.md, results.json and the charts of a run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aims import AIMS, Aim, ahead, beside, ceiling, find, reached
from benchmarks.bench import Measure, Result
from benchmarks.charts import Bar, bars, curve, figure
from benchmarks.stats import CLEAN, ENOUGH, Summary, summarise

__all__ = ["Run", "charts", "markdown", "write"]

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured, where and how.

    Attributes:
        facts: of the machine and the run, for the head of the report.
        contestants: (name, library, version, toolchain or why it is missing).
        limits: of Carrick, that were raised.
        measures: those that ran.
    """

    facts: Mapping[str, str]
    contestants: Sequence[tuple[str, str, str, str]]
    limits: Mapping[str, int]
    measures: Sequence[Measure]
    results: Sequence[Result]


def write(run: Run, folder: Path) -> Path:
    """Write everything to `folder`; returns the path of RESULTS.md."""
    drawings = charts(run)
    (folder / "charts").mkdir(parents=True, exist_ok=True)
    for old in (folder / "charts").glob("*.svg"):
        old.unlink()
    for name, svg in drawings.items():
        (folder / "charts" / name).write_text(svg)
    raw = {
        "facts": dict(run.facts),
        "limits": dict(run.limits),
        "contestants": [list(each) for each in run.contestants],
        "results": [dataclasses.asdict(result) for result in run.results],
    }
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    path = folder / "RESULTS.md"
    path.write_text(markdown(run, sorted(drawings)))
    return path


# --- text -----------------------------------------------------------------------------------------


def markdown(run: Run, drawings: Iterable[str] = ()) -> str:
    """The report; `drawings` are names of files in `charts/`."""
    drawings = list(drawings)
    lines = ["# Results", "", *_table(("", ""), list(run.facts.items())), "", *_rules(run), ""]
    if busy := _disturbed(run.results):
        lines += [f"> **The machine was busy.** {busy}", ""]
    lines += ["## Who", "", *_table(("", "library", "version", "built with"), run.contestants), ""]
    lines += _aims(run.results) + _standings(run.results)
    top = ceiling(run.results)
    for measure in run.measures:
        own = [result for result in run.results if result.row.measure == measure.NAME]
        lines += [f"## {measure.TITLE}", "", measure.NOTE, ""]
        for name in drawings:
            if name.startswith(f"{measure.NAME}-"):
                lines += [f"![{name.removesuffix('.svg')}](charts/{name})", ""]
        lines += [*_rows(own, top if measure.NAME == "bulk" else None), ""]
    return "\n".join(lines).rstrip() + "\n"


def _rules(run: Run) -> list[str]:
    limits = ", ".join(f"`{name}={value}`" for name, value in run.limits.items())
    return [
        "Two processes, over loopback; all that is in one table took turns in one run. "
        f"Medians [least–most] of n clean repetitions: one is dropped when everything else on the "
        f"machine used more than {CLEAN:g} core. **d**: fewer than {ENOUGH} were clean, all are "
        "kept, and the machine does better than that. Differences below 15 % say nothing. Ratios "
        "within this run are the result; absolute values belong to this machine.",
        "",
        f"Limits of Carrick that were raised: {limits or 'none'}. What the peers raise is in "
        "`interop/peers`.",
    ]


def _disturbed(results: Sequence[Result]) -> str:
    samples = [sample for result in results for sample in result.samples]
    dirty = sum(not sample.clean for sample in samples)
    if dirty * 4 < len(samples) or not samples:
        return ""
    return (
        f"{dirty} of {len(samples)} repetitions were not clean; repeat it when nothing else runs."
    )


def _aims(results: Sequence[Result]) -> list[str]:
    rows = []
    names = _names(results)
    for aim in AIMS:
        result = find(results, aim.measure, aim.what, aim.stack)
        summary = _summary(result) if result else None
        if result is None or summary is None:
            continue
        words = f"{aim.measure}: {aim.what}"
        rows.append(
            (
                f"{words}, {aim.stack}" if aim.stack else words,
                _asked(aim, result),
                f"{_value(summary)} {result.row.unit}" + (" **d**" if summary.doubtful else ""),
                "yes" if reached(aim, result, results) else "**no**",
                *(_ratio(results, result, name) for name in names),
            )
        )
    head = ("", "aim", "seen", "reached", *(f"to {name}" for name in names))
    return ["## Aims", "", *_table(head, rows), ""] if rows else []


def _asked(aim: Aim, result: Result) -> str:
    words = []
    if aim.value is not None:
        sign = "≥" if result.row.more_is_better else "≤"
        words.append(f"{sign} {figure(aim.value)} {result.row.unit}")
    if aim.share is not None:
        words.append(f"{aim.share:.0%} of the ceiling")
    if aim.of is not None:
        words.append(f"{aim.of[1]:.0%} of {aim.of[0]}")
    if aim.times:
        words.append(" and ".join(f"{factor:g} × {peer}" for peer, factor in aim.times))
    return ("stretch: " if aim.stretch else "") + ", or ".join(words)


def _names(results: Sequence[Result]) -> list[str]:
    """The others that Carrick stands beside."""
    return list(dict.fromkeys(standing.theirs.row.listener for standing in beside(results)))


def _ratio(results: Sequence[Result], ours: Result, name: str) -> str:
    row = ours.row
    ratio = ahead(ours, find(results, row.measure, row.what, row.stack, name))
    if ratio is None:
        return NOTHING
    return f"{figure(ratio)} ×" if ratio >= 1 else f"**{figure(ratio)} ×**"


def _standings(results: Sequence[Result]) -> list[str]:
    names = _names(results)
    ours = list({id(each.ours): each.ours for each in beside(results)}.values())
    if not ours:
        return []
    rows = [
        (
            f"{each.row.measure}: {each.row.what}",
            each.row.stack,
            *(_ratio(results, each, name) for name in names),
        )
        for each in ours
    ]
    return [
        "## Carrick beside the others",
        "",
        "How many times better Carrick is; **bold** where it is behind. Each with itself; idle "
        "connections: each as the listener of Carrick's dialer.",
        "",
        *_table(("", "stack", *names), rows),
        "",
    ]


def _rows(results: Sequence[Result], top: Summary | None) -> list[str]:
    head = ["", "dialer → listener", "stack", "median [least–most]", "n", "s", "cores D / L"]
    rates = any(result.row.unit == "MB/s" for result in results)
    if rates:
        head.append("CPU-s per GB D / L")
    if top is not None:
        head.append("of ceiling")
    rows = []
    for result in results:
        row, summary = result.row, _summary(result)
        what = row.what if row.size is None else f"{row.what}: {row.size}"
        who = f"{row.dialer} → {row.listener}" if row.dialer != NOTHING else row.listener
        words = [what, who, row.stack or NOTHING]
        if summary is None:
            said = f"fails: {result.failure}" if result.failure else NOTHING
            rows.append((*words, _cell(said), *[NOTHING] * (len(head) - 4)))
            continue
        count = _count(summary) + (f", then {_cell(result.failure)}" if result.failure else "")
        words += [f"{_value(summary)} {row.unit}", count, *_cpu(summary)]
        if rates:
            words.append(_per_gigabyte(summary) if row.unit == "MB/s" else NOTHING)
        if top is not None:
            words.append(f"{summary.median / top.median:.0%}")
        rows.append(tuple(words))
    return _table(head, rows)


def _summary(result: Result) -> Summary | None:
    """Idle things are measured once."""
    return summarise(result.samples, 1 if result.row.measure == "memory" else ENOUGH)


def _value(summary: Summary) -> str:
    if summary.n == 1:
        return figure(summary.median)
    return f"{figure(summary.median)} [{figure(summary.low)}–{figure(summary.high)}]"


def _count(summary: Summary) -> str:
    return (
        f"{summary.n}"
        + (" d" if summary.doubtful else "")
        + (f" (−{summary.dropped})" if summary.dropped else "")
    )


def _cpu(summary: Summary) -> tuple[str, str]:
    if not summary.wall:
        return NOTHING, NOTHING
    dialer, listener = (cpu / summary.wall for cpu in (summary.dialer_cpu, summary.listener_cpu))
    return figure(summary.wall), f"{dialer:.2f} / {listener:.2f}"


def _per_gigabyte(summary: Summary) -> str:
    size = summary.median * summary.wall / 1e3
    return f"{summary.dialer_cpu / size:.2f} / {summary.listener_cpu / size:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# --- charts ---------------------------------------------------------------------------------------


def charts(run: Run) -> dict[str, str]:
    """File name -> SVG: one for each kind of thing that has at least two bars or points."""
    drawn = {}
    for measure in run.measures:
        groups: dict[tuple[str, str, str], list[Result]] = {}
        for result in run.results:
            row = result.row
            if row.measure == measure.NAME and result.samples:
                groups.setdefault((row.what, row.stack, row.unit), []).append(result)
        controls = [each for each in run.results if each.row.dialer == each.row.listener == NOTHING]
        for (what, stack, unit), found in groups.items():
            if len(found) < 2:
                continue
            title = ", ".join(word for word in (measure.TITLE, what, stack) if word)
            if found[0].row.size is not None:
                svg = curve(title, unit, [_point(result) for result in found])
            else:
                extra = controls if measure.NAME in ("bulk", "writes") else []
                shown = [bar for result in [*found, *extra] if (bar := _bar(result))]
                svg = bars(title, unit, shown)
            name = "-".join(word for word in (measure.NAME, what, stack) if word)
            drawn[_file_name(name)] = svg
    return drawn


def _point(result: Result) -> tuple[int, float]:
    summary = summarise(result.samples)
    assert result.row.size is not None and summary is not None
    return result.row.size, summary.median


def _bar(result: Result) -> Bar | None:
    row, summary = result.row, summarise(result.samples)
    if summary is None:
        return None
    if row.dialer == row.listener == NOTHING:
        return Bar(row.what, summary.median, summary.low, summary.high, "control")
    label = row.listener if row.dialer == NOTHING else f"{row.dialer} → {row.listener}"
    kind = "ours" if row.listener == "carrick" and row.dialer in ("carrick", NOTHING) else "theirs"
    return Bar(label, summary.median, summary.low, summary.high, kind)


def _file_name(text: str) -> str:
    kept = "".join(letter if letter.isalnum() else "-" for letter in text.lower())
    return "-".join(part for part in kept.split("-") if part) + ".svg"
