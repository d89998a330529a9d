"""Many small requests and responses on one stream."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Settings
from benchmarks.contestants import Stack
from benchmarks.pairs import Amount, Pair, command_cell, pairs, rate

NAME = "messages"
TITLE = "Requests and responses"
NOTE = (
    "Each request is echoed, on one stream. *Pipelined*: requests are sent as fast as the stream "
    "takes them, without waiting for responses; each is a write of its own."
)

_LEAST, _MOST = 200, 1_000_000


def seconds(settings: Settings) -> float:
    return settings.pick(5, 40) * settings.rounds + settings.pick(4, 8)


def cells(bench: Bench) -> list[Cell]:
    return [
        _cell(bench, pair, size, pipelined)
        for size in (64, 4096)
        for pipelined in (False, True)
        for pair in pairs(bench, Stack(), crossed=not bench.settings.quick)
    ]


def _cell(bench: Bench, pair: Pair, size: int, pipelined: bool) -> Cell:
    what = f"{size} B, {'pipelined' if pipelined else 'one by one'}"
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, what, "/s"),),
        "messages",
        Amount(bench.settings.pick(2, 6) / 10, _LEAST, _MOST),
        asks=lambda count: {"size": size, "count": count, "pipelined": pipelined},
        values=rate,
    )
