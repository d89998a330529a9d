"""How it grows: 1, 10, 100, 1000 streams or connections and more, Carrick with itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Dialer, Listener, Stack
from benchmarks.pairs import Amount, Pair, command_cell, rate
from benchmarks.processes import Outcome, observe
from benchmarks.stats import Sample, percentile

NAME = "growth"
TITLE = "Growth"
NOTE = (
    "*upload over streams*: the same bytes, over so many streams of one connection at once, in "
    "writes of 64 KiB. *new streams at once*: so many are opened on one connection at the same "
    "time, each with 32 bytes to an echo and back; the limits for it are raised, as printed above. "
    "*ping beside connections*: the median round trip while so many other peers are connected and "
    "idle."
)

STREAMS = "upload over streams"
AT_ONCE = "new streams at once"
CONNECTIONS = "ping beside connections"


_MANY = 10_000  # streams on one connection


def seconds(settings: Settings) -> float:
    return settings.pick(4, 22) * settings.rounds + settings.pick(4, 30)


def cells(bench: Bench) -> list[Cell]:
    sizes = [1, 10, 100] if bench.settings.quick else [1, 10, 100, 1000]
    own = Pair(bench.carrick, bench.carrick, Stack())
    found = [_upload(bench, own, size) for size in sizes]
    many = [] if bench.settings.quick else [_MANY]
    found += [_streams(bench, own, size) for size in [*sizes, *many]]
    return found + [_connections(bench, own, size) for size in sizes]


def _row(pair: Pair, what: str, unit: str, size: int, more_is_better: bool = True) -> Row:
    row = pair.row(NAME, what, unit, more_is_better=more_is_better)
    return replace(row, size=size)


def _upload(bench: Bench, pair: Pair, streams: int) -> Cell:
    return command_cell(
        bench,
        pair,
        (_row(pair, STREAMS, "MB/s", streams),),
        "upload",
        Amount(bench.settings.pick(3, 10) / 10, max(4_000_000, streams * 65536), 1_000_000_000),
        asks=lambda size: {"size": size, "write": 65536, "streams": streams},
        values=lambda answer: [answer["bytes"] / answer["seconds"] / 1e6],
    )


def _streams(bench: Bench, pair: Pair, streams: int) -> Cell:
    return command_cell(
        bench,
        pair,
        (_row(pair, AT_ONCE, "/s", streams),),
        "streams",
        Amount(bench.settings.pick(2, 8) / 10, max(200, streams), 100_000),
        asks=lambda count: {"count": count, "at_once": streams},
        values=rate,
    )


def _connections(bench: Bench, pair: Pair, count: int) -> Cell:
    """One listener for each number; its idle peers live in a process of their own."""
    carrick, stack = pair.dialer, pair.stack
    listener = bench.keep(Listener(carrick.listen(stack)))
    crowd: list[Dialer] = []

    def run() -> Sequence[Sample]:
        if not crowd:
            crowd.append(bench.keep(Dialer(carrick.dial(stack))))
            crowd[0].measure("hold", values=_none, address=listener.address, count=count)
        return observe(listener, ping)

    def ping() -> Outcome:
        return bench.dialer(carrick, stack).measure(
            "ping",
            values=lambda answer: [percentile(answer["times"], 0.5) * 1e6],
            address=listener.address,
            count=1000,
        )

    return Cell((_row(pair, CONNECTIONS, "µs", count, more_is_better=False),), run)


def _none(_: object) -> list[float]:
    return []
