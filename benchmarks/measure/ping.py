"""The round trip of a ping, from Carrick to each."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Row, Settings, fails
from benchmarks.contestants import Contestant, Stack
from benchmarks.processes import Failed, observe
from benchmarks.stats import percentile

NAME = "ping"
TITLE = "Ping"
NOTE = "32 bytes there and back on a stream that is open. The listener is the difference."


def seconds(settings: Settings) -> float:
    return settings.pick(2, 15) * settings.rounds + 3


def cells(bench: Bench) -> list[Cell]:
    stacks = [Stack("noise")] if bench.settings.quick else [Stack("noise"), Stack("tls")]
    return [
        _cell(bench, stack, listener)
        for stack in stacks
        for listener in bench.contestants
        if listener.offers(stack) and bench.carrick.offers(stack)
    ]


def _cell(bench: Bench, stack: Stack, contestant: Contestant) -> Cell:
    rows = tuple(
        Row(NAME, what, "carrick", contestant.name, str(stack), "µs", more_is_better=False)
        for what in ("p50", "p99")
    )
    try:
        listener, dialer = bench.listener(contestant, stack), bench.dialer(stack)
    except Failed as error:
        return fails(rows, error)
    return Cell(
        rows,
        lambda: observe(
            listener,
            lambda: dialer.measure(
                "ping",
                values=lambda answer: [percentile(answer["times"], q) * 1e6 for q in (0.5, 0.99)],
                address=listener.address,
                count=bench.settings.pick(1000, 5000),
            ),
        ),
    )
