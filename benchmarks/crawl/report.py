"""The page about crawling. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markdown"]

_INTRODUCTION = """\
# Crawling a DHT

`carrick crawl --neighbors` on DHTs of real Carrick nodes: TCP on loopback, Noise and Yamux, each
node a host of its own, 250 of them in a process. The tables are filled beforehand, and what the
crawl found is compared with them, contact by contact. Crawler and nodes share the machine, so a
part of the time is the nodes', and that of whatever else runs. The crawler's CPU time includes its
start; beside it is how many peers a minute one core would come to that does nothing else. Made by
`python -m benchmarks.crawl`.
"""

_BESIDE = """\
## Beside nebula

nebula, a crawler in Go, reports about 20,000 peers in 5 minutes, **~4,000 peers a minute**
(ProbeLab's RFM 2), with 1,000 workers on the public internet, from 4 virtual CPUs. There
the time goes into peers that do not answer; here all answer at once, on 2 cores that nodes and
crawler share. The numbers show what each of the two sides can do, not which is faster.
"""


def markdown(machine: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    head = (
        "| nodes | found | contacts in tables | found | wrong | requests a peer | workers "
        "| seconds | peers a minute | crawler's CPU a peer | one core's worth |"
    )
    rows = [
        f"| {run['nodes']} | {run['found']} | {run['edges']} | {run['edges_found']} "
        f"| {run['edges_wrong']} | {run['requests']:.1f} | {run['workers']} "
        f"| {run['seconds']:.1f} | **{run['peers_per_minute']:,}** | {run['cpu_ms']:.1f} ms "
        f"| {60000 / run['cpu_ms']:,.0f} a minute |"
        for run in runs
    ]
    table = "\n".join([head, "|" + " --- |" * 11, *rows])
    return f"{_INTRODUCTION}\n{facts}\n\n{table}\n\n{_BESIDE}"
