"""``python -m interop run``: the flags."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import trio
from rich.console import Console

from interop.apps.environment import SettingsError, parse_endpoint
from interop.peers import build
from interop.runner import matrix, network, offers, report
from interop.runner.faults import Fault
from interop.runner.implementations import ROOT, Implementation, carrick_itself, given, prepare
from interop.runner.results import Run
from interop.runner.run import Plan, run_pairs, show
from interop.runner.server import NoRedis

__all__ = ["main"]

CI_BUDGET = 600.0  # s for builds
FULL_BUDGET = 2700.0

EXIT_FAILED = 1
EXIT_NO_REDIS = 3


class _Fault(click.ParamType[Fault]):
    name = "KIND[@BYTE]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fault:
        try:
            return Fault.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Endpoint(click.ParamType[tuple[str, int]]):
    name = "HOST:PORT"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        try:
            return parse_endpoint("--redis", value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)


class _Given(click.ParamType[Implementation]):
    name = "NAME=COMMAND"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Implementation:
        try:
            return given(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Interop of Carrick with other implementations, without containers."""


@main.command(short_help="Run pairs.")
@click.option(
    "--only", multiple=True, metavar="TEXT", help="Pairs with TEXT in their name (“A & B”: both)."
)
@click.option("--skip", multiple=True, metavar="TEXT", help="Not those with TEXT in their name.")
@click.option("--all", "others", is_flag=True, help="Pairs between two others too.")
@click.option(
    "--subset", type=click.Choice(["ci"]), help="ci: few pairs that show every value once."
)
@click.option("--transport", "transports", multiple=True, help="Instead of all that Carrick has.")
@click.option(
    "--command",
    "commands",
    multiple=True,
    type=_Given(),
    help="An app of yours, under a name such as carrick-mine.",
)
@click.option(
    "--fault", type=_Fault(), help="cut, delay, garble or drip what passes between the sides."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Pairs at once; times are right with 1 only.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="How often each pair runs.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=30,
    show_default=True,
    help="Seconds for one pair.",
)
@click.option("--build-budget", type=click.FloatRange(0, 86400), help="Seconds for all builds.")
@click.option(
    "--redis", type=_Endpoint(), help="A server that is there; on loopback, without a namespace."
)
@click.option("--no-namespace", is_flag=True, help="On loopback, even as root.")
@click.option("--debug", is_flag=True, help="Have both sides log everything they can.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the logs of failures go.",
)
@click.option(
    "--json", "json_file", type=_FILE, help="Write everything there ('-': standard output)."
)
@click.option("--html", "html_file", type=_FILE, help="Write the matrix as a page there.")
@click.option("--results", "results_file", type=_FILE, help="Write RESULTS.md there.")
@click.option("--list", "list_only", is_flag=True, help="Show the expected pairs, and end.")
def run(
    only: tuple[str, ...],
    skip: tuple[str, ...],
    others: bool,
    subset: str | None,
    transports: tuple[str, ...],
    commands: tuple[Implementation, ...],
    fault: Fault | None,
    workers: int,
    repeat: int,
    timeout: float,
    build_budget: float | None,
    redis: tuple[str, int] | None,
    no_namespace: bool,
    debug: bool,
    logs: Path | None,
    json_file: Path | None,
    html_file: Path | None,
    results_file: Path | None,
    list_only: bool,
) -> None:
    """Run the transport suite's pairs in both roles, and show who understands whom.

    Exit codes: 0 if no pair with Carrick failed (but for known faults of others, which are
    named), 1 if one did, 2 for a wrong flag, 3 without a Redis server. A pair whose other side
    cannot be built here is skipped, counted and shown.
    """
    console = Console(stderr=True)
    pairs = _pairs(only, skip, others, subset, transports, commands)
    if list_only:
        click.echo("\n".join(pair.name for pair in pairs))
        return
    if not pairs:
        raise click.UsageError("no pair is asked for; --list shows what there is")
    budget = build_budget or (CI_BUDGET if subset else FULL_BUDGET)
    implementations = _implementations(pairs, commands, budget, console)
    place = _place(console, no_namespace or redis is not None)
    plan = Plan(
        pairs=pairs,
        implementations=implementations,
        network=place,
        redis=redis,
        timeout=timeout,
        workers=workers,
        repeat=repeat,
        logs=(logs or _new_logs()).absolute(),
        fault=fault,
        debug=debug,
    )
    started = time.monotonic()
    try:
        results = trio.run(run_pairs, plan, console)
    except NoRedis as error:
        console.print(f"[bold red]{error}[/]", highlight=False)
        sys.exit(EXIT_NO_REDIS)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt):
            raise click.Abort from None
        raise
    done = Run(
        command=shlex.join(["python", "-m", "interop", *sys.argv[1:]]),
        commit=_commit(),
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        network=place.description,
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        seconds=round(time.monotonic() - started, 1),
        implementations=implementations,
        results=results,
    )
    show(done, console)
    for file, write in (
        (json_file, report.to_json),
        (html_file, report.page),
        (results_file, report.markdown),
    ):
        if file == Path("-"):
            click.echo(write(done), nl=False)
        elif file is not None:
            file.write_text(write(done))
    sys.exit(0 if done.ok else EXIT_FAILED)


def _pairs(
    only: tuple[str, ...],
    skip: tuple[str, ...],
    others: bool,
    subset: str | None,
    transports: tuple[str, ...],
    commands: tuple[Implementation, ...],
) -> list[matrix.Pair]:
    peers = [name for name in build.names() if subset is None or "-" not in name]
    given_names = [each.name for each in commands]
    names = list(dict.fromkeys([matrix.OURS, *peers, *given_names]))
    every = matrix.expected(names, transports or offers.OFFERS[matrix.OURS].transports)
    pairs = [pair for pair in every if (others or pair.ours) and matrix.matches(pair, only, skip)]
    return matrix.cover(pairs) if subset == "ci" else pairs


def _implementations(
    pairs: list[matrix.Pair],
    commands: tuple[Implementation, ...],
    budget: float,
    console: Console,
) -> list[Implementation]:
    """Whoever takes part, built."""
    taking = {name for pair in pairs for name in (pair.dialer, pair.listener)}
    there = {each.name: each for each in [carrick_itself(), *commands]}
    to_build = sorted(taking - there.keys(), key=lambda name: ("-" in name, _COST.index(_of(name))))
    with console.status("") as status:
        built = prepare(to_build, budget, lambda text: _say(console, status.update, text))
    return [each for name, each in there.items() if name in taking] + built


_COST = ["js", "py", "go", "rust"]  # cheapest build first, so that a small budget gets the most


def _of(name: str) -> str:
    return name.split("-")[0]


def _say(console: Console, update: Any, text: str) -> None:
    if text.startswith("building"):
        update(text)
    else:
        console.print(text)


def _place(console: Console, stay: bool) -> network.Network:
    if stay or os.geteuid():
        return network.LOOPBACK
    found = network.enter_namespace()
    if isinstance(found, network.Network):
        return found
    console.print(f"[yellow]no network namespace ({found}): the pairs run on loopback[/]")
    return network.LOOPBACK


def _new_logs() -> Path:
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return build.cache_root().parent / "interop" / f"{stamp}-{os.getpid()}"


def _commit() -> str:
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
