"""Runs all pairs of a plan, and shows how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from interop.runner.faults import Fault
from interop.runner.implementations import Implementation
from interop.runner.matrix import Pair
from interop.runner.network import Network
from interop.runner.pairs import Bench
from interop.runner.report import cells, names, score
from interop.runner.results import FAILED, PASSED, SKIPPED, Counts, Result, Run, merge
from interop.runner.server import running_server

__all__ = ["Plan", "run_pairs", "show"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        redis: a server that is there already; None starts one.
        timeout: of one pair, in seconds.
        repeat: how often each pair runs; it passes if it passes each time.
    """

    pairs: Sequence[Pair]
    implementations: Sequence[Implementation]
    network: Network
    redis: tuple[str, int] | None
    timeout: float
    workers: int
    repeat: int
    logs: Path
    fault: Fault | None
    debug: bool


async def run_pairs(plan: Plan, console: Console) -> list[Result]:
    """The result of each pair, in the order of the plan.

    Raises:
        NoRedis: there is no server.
    """
    there = {each.name: each for each in plan.implementations if each.missing is None}
    missing = {each.name: each.missing for each in plan.implementations if each.missing}
    results: dict[Pair, Result] = {}
    runnable = []
    for pair in plan.pairs:
        lacking = next((name for name in (pair.dialer, pair.listener) if name not in there), None)
        if lacking is None:
            runnable.append(pair)
        else:
            results[pair] = Result(pair, SKIPPED, f"{lacking}: {missing[lacking]}")
    plan.logs.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        redis = plan.redis
        if redis is None:
            redis = await stack.enter_async_context(running_server(plan.network.ip, plan.logs))
        bench = Bench(plan.network, redis, there, plan.timeout, plan.logs, plan.fault, plan.debug)
        columns = (
            TextColumn("{task.description}", style="bold"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("[green]{task.fields[passed]} passed[/] [red]{task.fields[failed]} failed"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("", total=len(runnable), passed=0, failed=0)
            waiting = iter(runnable)

            async def work() -> None:
                for pair in waiting:
                    progress.update(bar, description=pair.name)
                    results[pair] = await _repeat(bench, pair, plan.repeat)
                    _advance(progress, bar, results[pair])

            async with trio.open_nursery() as nursery:
                for _ in range(plan.workers):
                    nursery.start_soon(work)
    return [results[pair] for pair in plan.pairs]


async def _repeat(bench: Bench, pair: Pair, times: int) -> Result:
    results: list[Result] = []
    for _ in range(times):
        results.append(await bench.run(pair))
        if results[-1].status == FAILED:
            break
    return merge(results)


def _advance(progress: Progress, bar: TaskID, result: Result) -> None:
    fields = progress.tasks[bar].fields
    name = PASSED if result.status == PASSED else FAILED
    progress.update(bar, advance=1, **{name: fields[name] + 1})
    if result.status == FAILED:
        progress.console.print(f"[red]failed[/] {result.pair.name}: {result.reason}")
        if result.known:
            progress.console.print(f"       known: {result.known}", highlight=False)


def show(run: Run, console: Console) -> None:
    """The summary on the terminal."""
    order, found = names(run), cells(run.results)
    table = Table(title="passed of expected", title_justify="left")
    table.add_column("dialer \\ listener", style="bold")
    for name in order:
        table.add_column(name, justify="right")
    for dialer in order:
        row = []
        for listener in order:
            results = found.get((dialer, listener), [])
            bad = any(result.status == FAILED for result in results)
            row.append(f"[red]{score(results)}[/]" if bad else score(results))
        table.add_row(dialer, *row)
    console.print(table)
    _show_times(run, console)
    for result in run.failures:
        console.print(f"[red]✗[/] {result.pair.name}: {result.reason}", highlight=False)
        if result.known:
            console.print(f"  known: {result.known}", style="yellow", highlight=False)
        for title, side in (("dialer", result.dialer), ("listener", result.listener)):
            if side is not None and side.said:
                console.print(f"  the {title} said:", style="dim")
                for line in side.said.splitlines():
                    console.print(f"    {line}", markup=False, highlight=False)
        if result.logs:
            console.print(f"  logs: {result.logs}", markup=False, highlight=False)
    for each in run.implementations:
        if each.missing:
            console.print(f"[bold yellow]skipped: {each.name}: {each.missing}[/]")
    console.print(f"with Carrick:   {Counts.of(run.ours)}")
    if run.others:
        console.print(f"between others: {Counts.of(run.others)}")


def _show_times(run: Run, console: Console) -> None:
    selves = [r for r in run.results if r.pair.dialer == r.pair.listener and r.handshake_ms]
    if len({result.pair.dialer for result in selves}) < 2:
        return
    stacks = sorted({result.pair.stack for result in selves})
    table = Table(title="handshake + 1 RTT / ping, ms", title_justify="left")
    table.add_column("with itself", style="bold")
    for stack in stacks:
        table.add_column(stack, justify="right")
    for name in names(run):
        times = {r.pair.stack: r for r in selves if r.pair.dialer == name}
        if times:
            cells_ = (
                f"{times[s].handshake_ms:.1f} / {times[s].ping_ms:.2f}" if s in times else "–"
                for s in stacks
            )
            table.add_row(name, *cells_)
    console.print(table)
