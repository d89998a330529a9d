"""The page that says what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markdown"]

_HEAD = """# Kademlia

Whole DHTs in one process and in virtual time; half of the nodes are clients behind NATs. Routing
tables, lookups, stores, upkeep and messages are the production code; what carries the messages is a
model ([model.py](kademlia/model.py)): round trips of 20 to 200 ms, a dial takes two more, and who
is not there lets a dial wait for 5 s. Written by

    python -m benchmarks.kademlia --nodes {nodes}

each size in a process of its own. After {settle} virtual minutes without any change lookups are
compared with the truth. Then every 10 minutes a tenth of all nodes restarts: they are away for a
minute and have forgotten everything, what they stored included. Meanwhile random nodes read what
was placed before and during the churn; some publishers leave for good.
"""


def markdown(machine: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> str:
    """The page about some runs of `benchmarks.kademlia.scenario`."""
    names = ",".join(str(run["nodes"]) for run in runs)
    lines = [_HEAD.format(nodes=names, settle=16), "|  |  |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in machine.items()]
    lines += ["", "## What was found", "", *_table(runs, _FINDINGS), ""]
    lines += ["## What it cost", "", *_table(runs, _COSTS), ""]
    lines += [
        "The theory: a lookup among *n* servers takes at most log₂ n hops, and fewer with",
        "buckets of 20; it asks the 20 nearest, and those on the way to them.",
    ]
    failures = [
        f"- {run['nodes']} nodes, {name}: {failure}"
        for run in runs
        for name, score in [("closest", run["exact"]), *run["reads"].items()]
        for failure in score["failures"]
        if name != "orphans"
    ]
    if failures:
        lines += ["", "## What failed", "", *failures]
    return "\n".join(lines) + "\n"


def _table(runs: Sequence[Mapping[str, Any]], rows: Any) -> list[str]:
    lines = ["| nodes | " + " | ".join(f"{run['nodes']:,}" for run in runs) + " |"]
    lines.append("| --- |" + " --- |" * len(runs))
    for name, value in rows:
        lines.append(f"| {name} | " + " | ".join(value(run) for run in runs) + " |")
    return lines


def _share(score: Mapping[str, Any]) -> str:
    if not score["tried"]:
        return "–"
    return f"{100 * score['worked'] / score['tried']:.2f} % ({score['worked']} of {score['tried']})"


def _reads(run: Mapping[str, Any]) -> dict[str, Any]:
    parts = [run["reads"]["values"], run["reads"]["providers"]]
    return {key: sum(part[key] for part in parts) for key in ("tried", "worked")}


_FINDINGS = (
    ("the 20 nearest are the true ones", lambda run: _share(run["exact"])),
    ("hops of a lookup, mean", lambda run: f"{run['exact']['mean_hops']:.2f}"),
    ("log₂ of the servers", lambda run: f"{run['log2_servers']:.1f}"),
    ("peers asked by a lookup, mean", lambda run: f"{run['exact']['mean_requests']:.1f}"),
    ("seconds of a lookup, median", lambda run: f"{run['exact']['p50_s']:.2f}"),
    ("restarts", lambda run: f"{run['restarts']:,}"),
    ("reads during churn that found it", lambda run: _share(_reads(run))),
    ("of values", lambda run: _share(run["reads"]["values"])),
    ("of providers", lambda run: _share(run["reads"]["providers"])),
    ("of what a publisher left behind", lambda run: _share(run["reads"]["orphans"])),
    ("seconds of a read of a value, median", lambda run: f"{run['reads']['values']['p50_s']:.2f}"),
    ("writes that were stored", lambda run: _share(_sum(run["writes"].values()))),
)
_COSTS = (
    ("virtual time", lambda run: f"{run['virtual_s'] / 3600:.2f} h"),
    ("real time", lambda run: f"{run['wall_s']:.0f} s"),
    ("CPU time", lambda run: f"{run['cpu_s']:.0f} s"),
    ("memory at most", lambda run: f"{run['peak_mib']:.0f} MiB"),
    ("requests", lambda run: f"{run['requests']:,}"),
    (
        "requests of a node, each minute",
        lambda run: f"{run['requests'] / run['nodes'] / (run['virtual_s'] / 60):.1f}",
    ),
    ("dials", lambda run: f"{run['dials']:,}"),
    ("requests that nobody answered", lambda run: f"{run['failures']:,}"),
    ("bytes in messages", lambda run: f"{run['bytes'] / 1e6:,.0f} MB"),
    ("CPU time of a request", lambda run: f"{1e6 * run['cpu_s'] / run['requests']:.0f} µs"),
)


def _sum(scores: Any) -> dict[str, int]:
    scores = list(scores)
    return {key: sum(score[key] for score in scores) for key in ("tried", "worked")}
