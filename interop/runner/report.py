"""A run on paper: JSON, a page, and `RESULTS.md`. No I/O."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterable, Sequence

from interop.runner.results import FAILED, PASSED, SKIPPED, Counts, Result, Run

__all__ = ["cells", "markdown", "page", "to_json"]

_MARKS = {PASSED: "✓", FAILED: "✗", SKIPPED: "–"}


def to_json(run: Run) -> str:
    """Everything, for programs."""
    document = {
        "schema": "carrick-interop",
        "version": 1,
        "counts": {
            "carrick": dataclasses.asdict(Counts.of(run.ours)),
            "others": dataclasses.asdict(Counts.of(run.others)),
        },
        **dataclasses.asdict(run),
    }
    for entry, result in zip(document["results"], run.results, strict=True):
        entry |= {"name": result.pair.name, "known": result.known}
    return json.dumps(document, indent=2) + "\n"


def cells(results: Iterable[Result]) -> dict[tuple[str, str], list[Result]]:
    """The results of each dialer and listener."""
    found: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        found.setdefault((result.pair.dialer, result.pair.listener), []).append(result)
    return found


def names(run: Run) -> list[str]:
    """The implementations that take part, in the order of the run."""
    taking = {name for r in run.results for name in (r.pair.dialer, r.pair.listener)}
    return [each.name for each in run.implementations if each.name in taking]


def score(results: Sequence[Result]) -> str:
    """`4/4`, `3/4`, `skipped`; a dash where there is nothing in common."""
    if not results:
        return "–"
    counts = Counts.of(results)
    return "skipped" if counts.skipped == counts.expected else f"{counts.passed}/{counts.expected}"


# --- RESULTS.md -----------------------------------------------------------------------------------


def markdown(run: Run) -> str:
    """The document that is kept."""
    parts = [
        "# Interop results",
        "",
        f"`{run.command}` at commit {run.commit}, {run.date}, {run.network}, {run.machine}, "
        f"{run.seconds:.0f} s for the pairs.",
        "",
        "| | expected | passed | failed | skipped |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, results in (("with Carrick", run.ours), ("between others", run.others)):
        counts = Counts.of(results)
        row = (title, counts.expected, counts.passed, counts.failed, counts.skipped)
        parts.append(_row(row))
    parts += ["", "## Versions", "", _row(["", "library", "version", "toolchain"])]
    parts.append(_row(["---"] * 4))
    for each in run.implementations:
        version = f"not there: {each.missing}" if each.missing else each.version
        parts.append(_row([each.name, each.library, version, each.toolchain]))
    parts += ["", "## Pairs", "", "Passed of expected; a row for each dialer.", ""]
    parts += _matrix(run)
    parts += ["", "## Times", "", _TIMES_NOTE, ""]
    parts += _times(run)
    parts += ["", "## Failures", ""]
    parts += [_failure(result) for result in run.failures] or ["None."]
    return "\n".join(parts) + "\n"


_TIMES_NOTE = (
    "Handshake with one round trip / ping, in ms, as the dialer printed them: medians of the "
    "repetitions, each in fresh processes (the suites' way: code that warms up, such as js, shows "
    "its first call). py waits a fixed time after connecting. Rows are dialer x listener."
)


def _matrix(run: Run) -> list[str]:
    found, order = cells(run.results), names(run)
    lines = [_row(["dialer \\ listener", *order]), _row(["---"] * (len(order) + 1))]
    lines += [
        _row([dialer, *(score(found.get((dialer, listener), [])) for listener in order)])
        for dialer in order
    ]
    return lines


def _times(run: Run) -> list[str]:
    measured = [r for r in run.results if r.handshake_ms is not None and r.ping_ms is not None]
    stacks = sorted({result.pair.stack for result in measured})
    lines = [_row(["", *stacks]), _row(["---"] * (len(stacks) + 1))]
    order = names(run)

    def rank(key: tuple[str, str]) -> tuple[bool, bool, int, int]:
        dialer, listener = key
        return dialer != listener, dialer != "carrick", order.index(dialer), order.index(listener)

    found = cells(measured)
    for dialer, listener in sorted(found, key=rank):
        by_stack = {result.pair.stack: result for result in found[dialer, listener]}
        times = (
            f"{by_stack[stack].handshake_ms:.1f} / {by_stack[stack].ping_ms:.2f}"
            if stack in by_stack
            else ""
            for stack in stacks
        )
        lines.append(_row([f"{dialer} x {listener}", *times]))
    return lines


def _failure(result: Result) -> str:
    lines = [f"- **{result.pair.name}**: {result.reason}"]
    if result.known:
        lines.append(f"  - known: {result.known}")
    for title, side in (("dialer", result.dialer), ("listener", result.listener)):
        if side is not None and side.said:
            said = side.said.replace("`", "'").replace("\n", " ⏎ ")
            lines.append(f"  - the {title} said: `{said}`")
    return "\n".join(lines)


def _row(values: Iterable[object]) -> str:
    return "| " + " | ".join(str(value).replace("|", "\\|") for value in values) + " |"


# --- the page -------------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
  color: #1c2128; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse } th, td { padding: .45rem .7rem; text-align: left }
th { font-weight: 600 } tbody tr { border-top: 1px solid #d8dee4 }
.all td, .all th { border-left: 1px solid #d8dee4 } .all td:first-child, .all th:first-child
  { border-left: 0 }
.dot { display: inline-block; min-width: 1.3em; text-align: center; border-radius: .25em;
  margin: 0 .15em .15em 0; color: #fff; font-weight: 600; cursor: default }
.passed { background: #1a7f37 } .failed { background: #cf222e } .skipped { background: #8c959f }
.big { font-size: 1.15rem } .muted { color: #59636e } pre { background: #f6f8fa; padding: .7rem;
  overflow-x: auto; white-space: pre-wrap }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117 }
  tbody tr, .all td, .all th { border-color: #30363d } pre { background: #161b22 }
  .muted { color: #9198a1 } }
"""


def page(run: Run) -> str:
    """One file that a browser shows: the matrix, then the failures."""
    ours, others = Counts.of(run.ours), Counts.of(run.others)
    body = [
        "<h1>Carrick interop</h1>",
        f"<p class=big>With Carrick: {_text(ours)}.</p>",
        f"<p>Between others: {_text(others)}.</p>" if others.expected else "",
        f"<p class=muted>{_text(run.command)} · commit {_text(run.commit)} · {_text(run.date)} · "
        f"{_text(run.network)} · {_text(run.machine)} · {run.seconds:.0f} s</p>",
        "<h2>Pairs</h2>",
        "<p class=muted>A mark for each stack; point at it for its name and times.</p>",
        _html_matrix(run),
        "<h2>Versions</h2>",
        _html_versions(run),
        "<h2>Failures</h2>",
        *([_html_failure(result) for result in run.failures] or ["<p>None.</p>"]),
    ]
    return (
        '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="'
        'width=device-width"><title>Carrick interop</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(body) + "</html>\n"
    )


def _html_matrix(run: Run) -> str:
    found, order = cells(run.results), names(run)
    head = "".join(f"<th>{_text(name)}</th>" for name in order)
    rows = []
    for dialer in order:
        row = "".join(
            "<td>" + "".join(map(_mark, found.get((dialer, listener), []))) + "</td>"
            for listener in order
        )
        rows.append(f"<tr><th>{_text(dialer)}</th>{row}</tr>")
    return (
        f"<table class=all><thead><tr><th>dialer \\ listener</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _mark(result: Result) -> str:
    title = f"{result.pair.stack}: {result.status}"
    if result.reason:
        title += f", {result.reason}"
    if result.handshake_ms is not None:
        title += f", handshake {result.handshake_ms:.1f} ms, ping {result.ping_ms:.2f} ms"
    mark = _MARKS[result.status]
    return f'<span class="dot {result.status}" title="{_text(title)}">{mark}</span>'


def _html_versions(run: Run) -> str:
    rows = "".join(
        f"<tr><th>{_text(each.name)}</th><td>{_text(each.library)}</td>"
        f"<td>{_text(each.missing or each.version)}</td><td>{_text(each.toolchain)}</td></tr>"
        for each in run.implementations
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _html_failure(result: Result) -> str:
    known = f"<p>Known: {_text(result.known)}.</p>" if result.known else ""
    said = "".join(
        f"<p>The {title} said:</p><pre>{_text(side.said)}</pre>"
        for title, side in (("dialer", result.dialer), ("listener", result.listener))
        if side is not None and side.said
    )
    return f"<h3>{_text(result.pair.name)}</h3><p>{_text(result.reason)}</p>{known}{said}"


def _text(value: object) -> str:
    return html.escape(str(value))
