"""What the size of the application's writes costs, each implementation with itself."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Settings
from benchmarks.contestants import Stack
from benchmarks.pairs import Amount, Pair, command_cell, megabytes, pairs

NAME = "writes"
TITLE = "Sizes of writes"
NOTE = (
    "An upload on one stream, timed to its delivery, with writes of that size. Carrick's "
    "*buffered* is the stream's `writer()`; the other rows are plain writes (`send_all`)."
)

_SIZES = (256, 64, 16, 4)  # KiB
_BUFFERED = (4, 1)  # KiB
_LEAST, _MOST = 2_000_000, 4_000_000_000  # bytes


def seconds(settings: Settings) -> float:
    return settings.pick(2, 22) * settings.rounds + settings.pick(2, 8)


def cells(bench: Bench) -> list[Cell]:
    own, *others = pairs(bench, Stack(), crossed=False)
    found = [_carrick(bench, own, size, False) for size in _SIZES]
    found += [_carrick(bench, own, size, True) for size in _BUFFERED]
    if not bench.settings.quick:
        found += [_peer(bench, pair, size) for pair in others for size in _SIZES]
    return found


def _amount(settings: Settings) -> Amount:
    return Amount(settings.pick(3, 8) / 10, _LEAST, _MOST)


def _carrick(bench: Bench, pair: Pair, size: int, buffered: bool) -> Cell:
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, f"{size} KiB, buffered" if buffered else f"{size} KiB", "MB/s"),),
        "upload",
        _amount(bench.settings),
        asks=lambda count: {"size": count, "write": size * 1024, "buffered": buffered},
        values=lambda answer: [answer["bytes"] / answer["seconds"] / 1e6],
    )


def _peer(bench: Bench, pair: Pair, size: int) -> Cell:
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, f"{size} KiB", "MB/s"),),
        "transfer",
        _amount(bench.settings),
        asks=lambda count: {"up": count, "down": 0, "write": size * 1024},
        values=megabytes,
    )
