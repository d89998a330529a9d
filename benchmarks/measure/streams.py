"""New streams on one connection."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Settings
from benchmarks.contestants import Stack
from benchmarks.pairs import Amount, Pair, command_cell, pairs, rate

NAME = "streams"
TITLE = "New streams"
NOTE = (
    "Each is opened, negotiated, carries 32 bytes to an echo and back, and is closed; all on one "
    "connection, whose identify has ended in the dialer."
)

AT_ONCE = 100
_MOST = 200_000


def seconds(settings: Settings) -> float:
    return settings.pick(3, 26) * settings.rounds + settings.pick(3, 5)


def cells(bench: Bench) -> list[Cell]:
    return [
        _cell(bench, pair, at_once)
        for at_once in (1, AT_ONCE)
        for pair in pairs(bench, Stack(), crossed=not bench.settings.quick)
    ]


def _cell(bench: Bench, pair: Pair, at_once: int) -> Cell:
    what = f"{at_once} at once" if at_once > 1 else "one by one"
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, what, "/s"),),
        "streams",
        Amount(bench.settings.pick(3, 8) / 10, 2 * AT_ONCE, _MOST),
        asks=lambda count: {"count": count, "at_once": at_once},
        values=rate,
    )
