"""``python -m benchmarks``: measure Carrick, its peers and the machine, and write the results."""

from __future__ import annotations

import os
import platform
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from benchmarks.bench import Bench, Cell, Measure, Result, Settings
from benchmarks.contestants import LIMITS, PEERS, Contestant, carrick_itself, find_peer
from benchmarks.measure import MEASURES
from benchmarks.plan import chosen, reserve, settings_for
from benchmarks.report import Run, markdown, write
from benchmarks.rounds import run_rounds
from benchmarks.stats import CLEAN

_LIBRARIES = ("trio", "cryptography")
DEFAULT_FOLDER = Path(__file__).parent

_console = Console(stderr=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Less of everything; 3 minutes once peers are built.")
@click.option(
    "--only",
    metavar="NAMES",
    help="Only these measures, separated by commas: "
    + ", ".join(measure.NAME for measure in MEASURES)
    + ".",
)
@click.option(
    "--peers",
    default=",".join(PEERS),
    show_default=True,
    help="Beside whom; none for Carrick alone.",
)
@click.option("--rounds", type=click.IntRange(1), help="Clean repetitions. Default: 3 quick, or 5.")
@click.option("--budget", type=float, help="Seconds to measure. Default: 170 quick, or 2340.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where RESULTS.md, results.json and charts/ go. Default: benchmarks/; with --only "
    "nothing is written, and the report is printed.",
)
def main(
    quick: bool,
    only: str | None,
    peers: str,
    rounds: int | None,
    budget: float | None,
    out: Path | None,
) -> None:
    """Measure Carrick beside go, rust, js and py and beside the machine's limits.

    The results are written after each measure, and when it is interrupted.
    """
    try:
        measures = chosen(MEASURES, only)
        names = [name for name in peers.split(",") if name and name != "none"]
        if unknown := [name for name in names if name not in PEERS]:
            raise ValueError(f"no such peer: {', '.join(unknown)}")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings = settings_for(quick, rounds, budget)
    contestants = [carrick_itself(), *(_build(name) for name in names)]
    if out is None and only is None:
        out = DEFAULT_FOLDER
    facts = _facts(settings)
    began = time.monotonic()
    results: list[Result] = []

    def save(unfinished: str | None) -> Run:
        said = {**facts, "measured for": f"{time.monotonic() - began:.0f} s"}
        if unfinished:
            said["unfinished"] = unfinished
        run = Run(said, [_line(each) for each in contestants], LIMITS, measures, results)
        if out is not None:
            write(run, out)
        return run

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 0
    try:
        _measure(measures, settings, contestants, results, save)
        run = save(None)
    except KeyboardInterrupt:
        run = save("interrupted; what is below is what there was")
        code = 130
    if out is None:
        print(markdown(run))
    else:
        _console.print(f"{out / 'RESULTS.md'} after {run.facts['measured for']}")
    sys.exit(code)


def _build(name: str) -> Contestant:
    _console.print(f"building {name}, if it is not there yet", highlight=False)
    peer = find_peer(name)
    if peer.missing:
        _console.print(f"[bold red]{name} is left out: {peer.missing}[/]")
    return peer


def _measure(
    measures: Sequence[Measure],
    settings: Settings,
    contestants: Sequence[Contestant],
    results: list[Result],
    save: Callable[[str | None], object],
) -> None:
    """Fill `results`, and save after each measure."""
    deadline = time.monotonic() + settings.budget
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_console) as progress, Bench(settings, contestants) as bench:
        for number, measure in enumerate(measures):
            began, first = time.monotonic(), len(results)
            keep = reserve(measures, number + 1, settings)
            cells = measure.cells(bench)
            repeated = sum(not cell.once for cell in cells)
            total = repeated * settings.rounds + len(cells) - repeated
            task = progress.add_task(measure.TITLE, total=total)
            run_rounds(
                cells,
                settings.rounds,
                may_go_on=_before(deadline - keep),
                progress=_advance(progress, task),
                found=results,
            )
            bench.tidy()
            left = [each.NAME for each in measures[number + 1 :]]
            save(f"still to come: {', '.join(left)}" if left else None)
            if not _console.is_terminal:
                seconds = time.monotonic() - began
                _console.print(_said(measure, results[first:], seconds), highlight=False)


def _before(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() < deadline


def _advance(progress: Progress, task: TaskID) -> Callable[[Cell], None]:
    def advance(_: Cell) -> None:
        shown = progress.tasks[task]
        done = shown.completed + 1  # repetitions that were not clean go beyond the total
        progress.update(task, completed=done, total=max(done, shown.total or 0))

    return advance


def _said(measure: Measure, results: Sequence[Result], seconds: float) -> str:
    samples = [sample for result in results for sample in result.samples]
    dirty = sum(not sample.clean for sample in samples)
    failed = sum(result.failure is not None for result in results)
    return (
        f"{measure.TITLE}: {len(samples)} repetitions in {seconds:.0f} s, {dirty} not clean, "
        f"{failed} rows failed"
    )


def _line(each: Contestant) -> tuple[str, str, str, str]:
    return each.name, each.library, each.version, each.missing or each.toolchain


def _facts(settings: Settings) -> dict[str, str]:
    memory = psutil.virtual_memory().total / 2**30
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": "python -m benchmarks " + shlex.join(sys.argv[1:]),
        "machine": f"{os.cpu_count()} cores, {_processor()}, {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": ", ".join(
            [platform.python_version(), *(f"{each} {version(each)}" for each in _LIBRARIES)]
        ),
        "rounds": f"{settings.rounds}, up to twice as many while some are not clean "
        f"(others > {CLEAN:g} core)",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
