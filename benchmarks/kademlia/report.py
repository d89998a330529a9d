"""The page that says what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any

__all__ = ["markdown"]

_HEAD = """# Kademlia

Whole DHTs in one process and in virtual time; half of the nodes are clients behind NATs. Written
by

    python -m benchmarks.kademlia --nodes {nodes}

each size in a process of its own. After {settle} minutes without any change lookups are compared
with the truth, and the first keys are placed. Then {hours:g} hours of churn: every 10 minutes a
tenth of all nodes, chosen anew, goes away, and comes back a minute later. Meanwhile nodes place
more keys and random ones read them; some leave for good after they have placed one. At the end
lookups are compared with the truth once more, five minutes after the last restarts.

What is real, and what is a model:

- Real: routing tables, lookups, stores, upkeep, validators and the messages, each of which is
  encoded and decoded; k = 20, α = 10.
- A model ([model.py](kademlia/model.py)): what carries the messages. There are no streams, no
  handshakes and no packets: a request takes a round trip of 20 to 200 ms, drawn anew each time,
  the first to a peer two more for the dial; connections stay until one of both goes down; a dial
  of who is not there takes 5 s. Nothing else is lost. The whole
  stack, with fewer nodes, is at the end.
- Clients cannot be dialled, serve nobody and are in no table.
- Who restarts has lost all that was in memory: table, connections, what it stored for others and
  what it published. Nobody publishes again: go and Carrick do so after 22 hours. Whoever comes
  back finds the DHT by three servers, drawn from those that are up.
- Who reads or writes is drawn from those that have found the DHT, a second or two after the start.
  A reader holds nothing of what it reads. A read is tried once. It is left out if the reader
  itself is switched off meanwhile.
"""


def markdown(
    machine: Mapping[str, str], runs: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]
) -> str:
    """The page about some runs of `benchmarks.kademlia.scenario`, and one of `.streams`."""
    names = ",".join(str(run["nodes"]) for run in runs)
    head = _HEAD.format(nodes=names, settle=16, hours=runs[-1]["hours"])
    lines = [head, "|  |  |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in machine.items()]
    lines += ["", "## What was found", "", *_table(runs, _FINDINGS), ""]
    lines += ["## Beside the theory", "", *_table(runs, _THEORY), "", _ABOUT_THEORY, ""]
    lines += ["## What it cost", "", *_table(runs, _COSTS), ""]
    lines += ["## What failed", ""]
    failures = [
        f"- {run['nodes']} nodes, {name}, {failure}"
        for run in runs
        for name, score in _scores(run)
        for failure in score["failures"]
    ]
    lines += failures or ["Nothing."]
    lines += ["", "## The whole stack", "", _WHOLE.format(**whole, share=_share(whole))]
    lines += ["", *(f"- {failure}" for failure in whole["failures"])]
    return "\n".join(lines).rstrip() + "\n"


_WHOLE = """{nodes} hosts in the simulated internet ([streams.py](kademlia/streams.py)), over
streams, Noise, Yamux and TCP, half of them clients behind full-cone, address-restricted,
port-restricted and symmetric NATs: random ones place {tried} keys, values and providers in turn,
and others look for them. Found: {share}. Clients in routing tables: {clients_in_tables}.
{wall_s:.0f} s, of which CPU {cpu_s:.0f} s."""


_ABOUT_THEORY = """A lookup among *n* servers takes at most log₂ *n* hops, for each brings it one
bit nearer, and with buckets of k about log₂ (*n* / k), for the last k are named together. A hop
counts when a peer that was named, and not known before, has answered. A lookup asks its k nearest,
and those on the way. The work that never ends is that of the tables: every 10 minutes a lookup for
each bucket that holds anybody, and one for oneself, so it grows with log₂ (*n* / k) lookups of k
requests."""


def _scores(run: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        ("lookups before churn", run["exact"]),
        ("lookups after churn", run["churned"]),
        *((f"write of {name}", score) for name, score in run["writes"].items()),
        *((f"read of {name}", run["reads"][name]) for name in ("values", "providers")),
    ]


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


_FINDINGS = (
    ("the 20 nearest are the true ones, before churn", lambda run: _share(run["exact"])),
    ("the same after it", lambda run: _share(run["churned"])),
    ("restarts", lambda run: f"{run['restarts']:,}"),
    ("left for good", lambda run: f"{run['left_for_good']:,}"),
    ("placed: values put", lambda run: _share(run["writes"]["values"])),
    ("placed: providers", lambda run: _share(run["writes"]["providers"])),
    ("reads during churn that found it", lambda run: _share(_sum(_reads(run)))),
    ("– of values", lambda run: _share(run["reads"]["values"])),
    ("– of providers", lambda run: _share(run["reads"]["providers"])),
    ("– of either, its publisher gone for good", lambda run: _share(run["reads"]["orphans"])),
)
_THEORY = (
    ("servers *n*", lambda run: f"{run['servers']:,}"),
    ("log₂ *n*", lambda run: f"{math.log2(run['servers']):.1f}"),
    ("log₂ (*n* / k)", lambda run: f"{math.log2(run['servers'] / 20):.1f}"),
    ("hops of a lookup, mean", lambda run: f"{mean(run['exact']['hops']):.2f}"),
    ("– at most", lambda run: f"{max(run['exact']['hops'])}"),
    ("peers asked by a lookup, mean", lambda run: f"{mean(run['exact']['requests']):.1f}"),
    ("– after churn", lambda run: f"{mean(run['churned']['requests']):.1f}"),
    ("peers asked to read a value", lambda run: f"{mean(run['reads']['values']['requests']):.1f}"),
    (
        "peers asked to find one provider",
        lambda run: f"{mean(run['reads']['providers']['requests']):.1f}",
    ),
    ("seconds of a lookup, median", lambda run: f"{_median(run['exact']):.2f}"),
    ("seconds to read a value, median", lambda run: f"{_median(run['reads']['values']):.2f}"),
    (
        "seconds to find one provider, median",
        lambda run: f"{_median(run['reads']['providers']):.2f}",
    ),
    ("requests of a node, each minute", lambda run: f"{_rate(run):.1f}"),
    (
        "– theory: (2 + log₂ (*n* / k)) lookups of 20, every 10 minutes",
        lambda run: f"{(2 + math.log2(run['servers'] / 20)) * 2:.1f}",
    ),
)
_COSTS = (
    ("virtual time", lambda run: f"{run['virtual_s'] / 3600:.2f} h"),
    ("real time", lambda run: f"{run['wall_s']:,.0f} s"),
    ("CPU time", lambda run: f"{run['cpu_s']:,.0f} s"),
    ("– of a node", lambda run: f"{run['cpu_s'] / run['nodes']:.2f} s"),
    ("– of a request, answer and upkeep included", lambda run: f"{_cpu_us(run):.0f} µs"),
    ("memory at most", lambda run: f"{run['peak_mib']:.0f} MiB"),
    ("– for a node", lambda run: f"{1024 * run['peak_mib'] / run['nodes']:.0f} KiB"),
    ("requests", lambda run: f"{run['requests']:,}"),
    ("dials", lambda run: f"{run['dials']:,}"),
    ("requests that nobody answered", lambda run: f"{run['failures']:,}"),
    ("bytes in messages", lambda run: f"{run['bytes'] / 1e6:,.0f} MB"),
)


def _median(score: Mapping[str, Any]) -> float:
    seconds: list[float] = score["seconds"]
    return median(seconds)


def _rate(run: Mapping[str, Any]) -> float:
    """Requests of a node in a minute."""
    rate: float = run["requests"] / run["nodes"] / (run["virtual_s"] / 60)
    return rate


def _cpu_us(run: Mapping[str, Any]) -> float:
    cpu: float = 1e6 * run["cpu_s"] / run["requests"]
    return cpu


def _reads(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run["reads"]["values"], run["reads"]["providers"]]


def _sum(scores: Any) -> dict[str, int]:
    scores = list(scores)
    return {key: sum(score[key] for score in scores) for key in ("tried", "worked")}
