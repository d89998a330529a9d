"""``python -m benchmarks.simulation``: how the cost of a simulation grows with its nodes."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.processes import ROOT
from benchmarks.simulation.report import markdown

DEFAULT_OUT = ROOT / "benchmarks" / "SIMULATION.md"


class _Sizes(click.ParamType[tuple[int, ...]]):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            sizes = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 10,100", param, ctx)
        if min(sizes) < 3:
            self.fail("fewer than 3 nodes are no network", param, ctx)
        return sizes


@click.command()
@click.option(
    "--nodes",
    type=_Sizes(),
    default=(10, 100, 1000),
    metavar="N,…",
    help="How many nodes, each in a run of its own. Default: 10,100,1000.",
)
@click.option("--peers", type=click.IntRange(2), default=20, show_default=True, metavar="K")
@click.option(
    "--profile",
    type=click.IntRange(3),
    default=100,
    show_default=True,
    metavar="N",
    help="Profile time and memory with so many nodes.",
)
@click.option("--no-profile", is_flag=True)
@click.option(
    "--gc",
    type=int,
    default=10_000,
    show_default=True,
    metavar="N",
    help="The largest once more with gc.set_threshold(N); 0: not.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_OUT,
    help="Where the page goes. Default: benchmarks/SIMULATION.md.",
)
def main(
    nodes: tuple[int, ...], peers: int, profile: int, no_profile: bool, gc: int, out: Path
) -> None:
    """Measure simulations of several sizes, and write what was found."""
    worlds = [_world(size, peers) for size in nodes]
    if gc:
        worlds.append(_world(max(nodes), peers, "--gc", str(gc)))
    time_profile = memory_profile = None
    if not no_profile:
        time_profile = _world(profile, peers, "--profile")
        memory_profile = _world(profile, peers, "--memory")
    page = markdown(
        worlds, _facts(), peers=peers, time_profile=time_profile, memory_profile=memory_profile
    )
    out.write_text(page, encoding="utf-8")
    click.echo(page)
    click.echo(f"written to {out}", err=True)


def _world(nodes: int, peers: int, *flags: str) -> dict[str, Any]:
    click.echo(f"{nodes} nodes {' '.join(flags)}", err=True)
    command = [sys.executable, "-m", "benchmarks.simulation.world", str(nodes), str(peers), *flags]
    return _run(command)


def _run(command: Sequence[str]) -> dict[str, Any]:
    paths = {"PYTHONPATH": str(ROOT / "core"), "PYTHONHASHSEED": "0"}
    outcome = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **paths}, stdout=subprocess.PIPE, text=True
    )
    if outcome.returncode:
        raise click.ClickException(f"{command[2:]} ended with {outcome.returncode}")
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def _facts() -> dict[str, str]:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load of the last 1, 5 and 15 minutes": load,
    }


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.simulation")
