"""The round trip of a ping."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Settings
from benchmarks.contestants import Stack
from benchmarks.pairs import Amount, Pair, command_cell, pairs
from benchmarks.stats import percentile

NAME = "ping"
TITLE = "Ping"
NOTE = "32 bytes there and back on a stream that is open, timed by the dialer."

_LEAST, _MOST = 200, 20_000


def seconds(settings: Settings) -> float:
    return settings.pick(2, 24) * settings.rounds + settings.pick(1, 4)


def cells(bench: Bench) -> list[Cell]:
    stacks = [Stack("noise")] if bench.settings.quick else [Stack("noise"), Stack("tls")]
    return [
        _cell(bench, pair)
        for stack in stacks
        for pair in pairs(bench, stack, crossed=not bench.settings.quick)
    ]


def _cell(bench: Bench, pair: Pair) -> Cell:
    return command_cell(
        bench,
        pair,
        tuple(pair.row(NAME, what, "µs", more_is_better=False) for what in ("p50", "p99")),
        "ping",
        Amount(bench.settings.pick(2, 7) / 10, _LEAST, _MOST),
        asks=lambda count: {"count": count},
        values=lambda answer: [percentile(answer["times"], q) * 1e6 for q in (0.5, 0.99)],
    )
