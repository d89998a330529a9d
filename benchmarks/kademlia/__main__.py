"""``python -m benchmarks.kademlia``: large DHTs in virtual time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.kademlia.report import markdown
from benchmarks.processes import ROOT

DEFAULT_OUT = ROOT / "benchmarks" / "KADEMLIA.md"


@click.command()
@click.option("--nodes", default="100,300,1000", show_default=True, metavar="N,…")
@click.option("--hours", default=2.0, show_default=True, help="Virtual hours of churn.")
@click.option("--operations", default=4000, show_default=True, help="Reads during the churn.")
@click.option("--lookups", default=1000, show_default=True, help="Lookups on the quiet network.")
@click.option(
    "--streams",
    type=click.IntRange(min=10),
    default=100,
    show_default=True,
    help="Nodes of the whole stack.",
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_OUT,
    help="Where the page goes. Default: benchmarks/KADEMLIA.md.",
)
def main(
    nodes: str, hours: float, operations: int, lookups: int, streams: int, seed: int, out: Path
) -> None:
    """Play DHTs of several sizes, and write what was found."""
    load = ", ".join(f"{each:.1f}" for each in psutil.getloadavg())
    runs = [
        _play(
            "scenario",
            int(size),
            f"--hours={hours}",
            f"--operations={operations}",
            f"--lookups={lookups}",
            f"--seed={seed}",
        )
        for size in nodes.split(",")
    ]
    whole = _play("streams", streams, f"--seed={seed}")
    machine = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, "
        f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load of the last 1, 5 and 15 minutes": load,
        "seed": str(seed),
    }
    out.write_text(markdown(machine, runs, whole))
    click.echo(out)


def _play(module: str, nodes: int, *options: str) -> dict[str, Any]:
    outcome = subprocess.run(
        [sys.executable, "-m", f"benchmarks.kademlia.{module}", str(nodes), *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(outcome.stdout)
    click.echo(f"{module}, {nodes} nodes: {found['wall_s']:.0f} s")
    return found


if __name__ == "__main__":
    main()
