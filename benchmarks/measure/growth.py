"""How it grows: 1, 10, 100, 1000 streams or connections, Carrick with itself."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import CarrickDialer, Stack
from benchmarks.processes import Outcome, observe
from benchmarks.stats import Sample, percentile

NAME = "growth"
TITLE = "Growth"
NOTE = (
    "*upload over streams*: the same bytes, over so many streams of one connection at once, in "
    "writes of 64 KiB. *ping beside connections*: the median round trip while so many other "
    "peers are connected and idle."
)

STREAMS = "upload over streams"
CONNECTIONS = "ping beside connections"


def seconds(settings: Settings) -> float:
    return settings.pick(2, 12) * settings.rounds + settings.pick(4, 12)


def cells(bench: Bench) -> list[Cell]:
    sizes = [1, 10, 100] if bench.settings.quick else [1, 10, 100, 1000]
    stack = Stack()
    found = [_streams(bench, stack, size) for size in sizes]
    return found + [_connections(bench, stack, size) for size in sizes]


def _streams(bench: Bench, stack: Stack, streams: int) -> Cell:
    listener, dialer = bench.listener(bench.carrick, stack), bench.dialer(stack)
    row = Row(NAME, STREAMS, "carrick", "carrick", str(stack), "MB/s", size=streams)
    return Cell(
        (row,),
        lambda: observe(
            listener,
            lambda: dialer.measure(
                "upload",
                values=lambda answer: [answer["bytes"] / answer["seconds"] / 1e6],
                address=listener.address,
                size=bench.settings.pick(128, 512) * 1_000_000,
                write=65536,
                streams=streams,
            ),
        ),
    )


def _connections(bench: Bench, stack: Stack, count: int) -> Cell:
    """One listener for each number; its idle peers live in a process of their own."""
    listener = bench.start(bench.carrick.listen(stack))
    dialer = bench.dialer(stack)
    crowd: list[CarrickDialer] = []
    row = Row(
        NAME, CONNECTIONS, "carrick", "carrick", str(stack), "µs", more_is_better=False, size=count
    )

    def run() -> Sequence[Sample]:
        if not crowd:
            crowd.append(bench.keep(CarrickDialer(stack)))
            crowd[0].measure("hold", values=_none, address=listener.address, count=count)
        return observe(listener, ping)

    def ping() -> Outcome:
        return dialer.measure(
            "ping",
            values=lambda answer: [percentile(answer["times"], 0.5) * 1e6],
            address=listener.address,
            count=1000,
        )

    return Cell((row,), run)


def _none(_: object) -> list[float]:
    return []
