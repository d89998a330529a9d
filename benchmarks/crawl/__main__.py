"""``python -m benchmarks.crawl``: crawls DHTs of real nodes on loopback."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.crawl.report import markdown
from benchmarks.processes import ROOT
from carrick.protocols.kademlia.crawler import CrawlReader
from interop.gotools.build import find

PROTOCOL = "/ipfs/kad/1.0.0"
DEFAULT_OUT = ROOT / "benchmarks" / "CRAWL.md"
PER_PROCESS = 250  # nodes


@dataclass(frozen=True, slots=True)
class Network:
    """Nodes that run.

    Attributes:
        bootstrap: the address of one of them.
        tables: whom each has in its table.
    """

    bootstrap: str
    tables: dict[str, set[str]]


@contextmanager
def running(nodes: int, seed: int) -> Iterator[Network]:
    """So many nodes, in a few processes."""
    processes: list[subprocess.Popen[str]] = []
    try:
        left = nodes
        while left > 0:
            count = min(left, PER_PROCESS)
            left -= count
            processes.append(
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "benchmarks.crawl.nodes"),
                        *(str(count), str(seed + len(processes))),
                    ],
                    cwd=ROOT,
                    env=_environment(),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        everybody = [peer for process in processes for peer in _hear(process)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(everybody) + "\n")
            process.stdin.flush()
        tables = {
            peer: set(contacts)
            for process in processes
            for peer, contacts in _hear(process).items()
        }
        peer, address = everybody[0]
        yield Network(f"{address}/p2p/{peer}", tables)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _hear(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def _environment() -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CARRICK_")}
    return {**plain, "PYTHONPATH": f"{ROOT / 'core'}{os.pathsep}{ROOT}"}


def crawl(network: Network, workers: int) -> dict[str, Any]:
    """Crawl it with the command, and compare with the nodes' own tables."""
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        outcome = subprocess.run(
            [
                *(sys.executable, "-m", "carrick", "crawl", "--json", "--neighbors"),
                *("--workers", str(workers), "--json-out", folder),
                *("--bootstrap", network.bootstrap),
            ],
            env={**_environment(), "CARRICK_HOME": folder},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found: dict[str, Any] = json.loads(outcome.stdout)
        reader = CrawlReader.latest(Path(folder))
        tables = {row["PeerID"]: set(row["NeighborIDs"]) for row in reader.neighbors()}
        requests = [row["Requests"] for row in reader.visits()]
    edges = sum(map(len, network.tables.values()))
    alike = sum(len(tables.get(peer, set()) & own) for peer, own in network.tables.items())
    others = sum(len(each) for each in tables.values()) - alike
    return {
        "nodes": len(network.tables),
        "workers": workers,
        "found": found["dialable"],
        "edges": edges,
        "edges_found": alike,
        "edges_wrong": others,
        "requests": sum(requests) / max(1, len(requests)),
        "seconds": found["elapsed_ms"] / 1000,
        "cpu_ms": 1000 * (_cpu(after) - _cpu(before)) / max(1, found["crawled"]),
        "peers_per_minute": found["peers_per_minute"],
    }


def crawl_by_go(program: Path, network: Network, workers: int) -> dict[str, Any]:
    """Crawl it with go-libp2p-kad-dht's crawler."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [str(program), network.bootstrap, PROTOCOL, str(workers)]
    outcome = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found: dict[str, Any] = json.loads(outcome.stdout)
    return {
        "nodes": len(network.tables),
        "workers": workers,
        "found": found["found"],
        "edges_found": found["edges"],
        "seconds": found["seconds"],
        "cpu_ms": 1000 * (_cpu(after) - _cpu(before)) / max(1, found["found"]),
        "peers_per_minute": round(60 * found["found"] / found["seconds"]),
    }


def _seconds(run: dict[str, Any]) -> float:
    seconds: float = run["seconds"]
    return seconds


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


@click.command()
@click.option("--nodes", default="200,1000", show_default=True, metavar="N,…")
@click.option("--workers", default=16, show_default=True)
@click.option(
    "--repeat", default=1, show_default=True, help="Crawl each so often; the fastest counts."
)
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_OUT,
    help="Where the page goes. Default: benchmarks/CRAWL.md.",
)
def main(nodes: str, workers: int, repeat: int, seed: int, out: Path) -> None:
    """Crawl DHTs of several sizes on loopback, and write how fast that was.

    In turn with go-libp2p-kad-dht's crawler, if that is there: python -m interop.gotools.build
    crawler.
    """
    load = ", ".join(f"{each:.1f}" for each in psutil.getloadavg())
    go = find("crawler")
    runs, others = [], []
    for size in nodes.split(","):
        with running(int(size), seed) as network:
            own, by_go = [], []
            for _ in range(repeat):
                own.append(crawl(network, workers))
                if go is not None:
                    by_go.append(crawl_by_go(go, network, workers))
        runs.append(min(own, key=_seconds))
        others += sorted(by_go, key=_seconds)[:1]
        click.echo(f"{size} nodes: {runs[-1]['peers_per_minute']} peers a minute", err=True)
    machine = {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB, "
        f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load of the last 1, 5 and 15 minutes before": load,
    }
    out.write_text(markdown(machine, runs, others))
    click.echo(out)


if __name__ == "__main__":
    main()
