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

_BESIDE_GO = """\
## Beside go

The crawler of go-libp2p-kad-dht, in a program of its own (`interop/gotools/crawler`), in turn with
ours on the same nodes, with as many workers: TCP, Noise and Yamux too. It asks each peer for 16
buckets, one after the other, each on a new stream. Its CPU time includes its start. CAPABILITIES
asks for twice its time at most.
"""

_BESIDE = """\
## Beside nebula

nebula, a crawler in Go, reports about 20,000 peers in 5 minutes, **~4,000 peers a minute**
(ProbeLab's RFM 2), with 1,000 workers on the public internet, from 4 virtual CPUs. There
the time goes into peers that do not answer; here all answer at once, on 2 cores that nodes and
crawler share. The numbers show what each of the two sides can do, not which is faster.
"""


def markdown(
    machine: Mapping[str, str],
    runs: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]] = (),
) -> str:
    """
    Args:
        others: of the same networks, by go's crawler; none: it was not there.
    """
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
    beside = f"{_beside_go(runs, others)}\n" if others else ""
    return f"{_INTRODUCTION}\n{facts}\n\n{table}\n\n{beside}{_BESIDE}"


def _beside_go(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "| nodes | go: found | contacts found | seconds | peers a minute | CPU a peer "
        "| Carrick's seconds | times go's |"
    )
    rows = [
        f"| {other['nodes']} | {other['found']} | {other['edges_found']} | {other['seconds']:.2f} "
        f"| {other['peers_per_minute']:,} | {other['cpu_ms']:.1f} ms | {run['seconds']:.2f} "
        f"| **{run['seconds'] / other['seconds']:.1f}** |"
        for run, other in zip(runs, others, strict=True)
    ]
    table = "\n".join([head, "|" + " --- |" * 8, *rows])
    return f"{_BESIDE_GO}\n{table}\n"
