"""Who meets whom, and how much of a thing fills a repetition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bench import Bench, Cell, Row
from benchmarks.contestants import Contestant, Stack
from benchmarks.processes import observe
from benchmarks.stats import Sample

__all__ = ["Amount", "Pair", "Sized", "command_cell", "megabytes", "pairs", "rate"]

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """A dialer, a listener, and what they speak."""

    dialer: Contestant
    listener: Contestant
    stack: Stack

    def row(self, measure: str, what: str, unit: str, *, more_is_better: bool = True) -> Row:
        names = self.dialer.name, self.listener.name
        return Row(measure, what, *names, str(self.stack), unit, more_is_better)


def pairs(bench: Bench, stack: Stack, *, crossed: bool = True) -> list[Pair]:
    """Each with itself; if `crossed`, Carrick with each too, in both roles.

    js and py do not connect over TLS with each other, and are not asked to.
    """
    there = [each for each in bench.contestants if each.offers(stack)]
    found = [Pair(each, each, stack) for each in there]
    if crossed and bench.carrick in there:
        for peer in there:
            if peer is not bench.carrick:
                found += [Pair(bench.carrick, peer, stack), Pair(peer, bench.carrick, stack)]
    return found


@dataclass(frozen=True, slots=True)
class Amount:
    """How much to do in a repetition.

    Attributes:
        seconds: that it should take.
        least: of whatever is counted.
        most: likewise.
    """

    seconds: float
    least: int
    most: int


class Sized:
    """A repetition that does as much as the last rate says, so that each takes its time.

    Before the first, the least is done and not counted: it finds the rate, and warms up what
    compiles as it runs.
    """

    def __init__(self, amount: Amount, run: Callable[[int], Sequence[Sample]]) -> None:
        self._amount = amount
        self._run = run
        self._rate: float | None = None

    def __call__(self) -> Sequence[Sample]:
        if self._rate is None:
            self._once(self._amount.least)
        return self._once(int((self._rate or 0) * self._amount.seconds))

    def _once(self, wanted: int) -> Sequence[Sample]:
        count = min(self._amount.most, max(self._amount.least, wanted))
        samples = self._run(count)
        self._rate = count / max(samples[0].wall, 1e-6)
        return samples


def command_cell(
    bench: Bench,
    pair: Pair,
    rows: tuple[Row, ...],
    command: str,
    amount: Amount,
    *,
    asks: Callable[[int], Answer],
    values: Callable[[Answer], Sequence[float]],
) -> Cell:
    """A cell that has the dialer run a command of `benchmarks.work`.

    Args:
        asks: the arguments that make it do so much.
        values: what it says, for each row.
    """

    def run(count: int) -> Sequence[Sample]:
        listener = bench.listener(pair.listener, pair.stack)
        dialer = bench.dialer(pair.dialer, pair.stack)
        return observe(
            listener,
            lambda: dialer.measure(command, values=values, address=listener.address, **asks(count)),
        )

    return Cell(rows, Sized(amount, run))


def megabytes(answer: Answer) -> list[float]:
    """What a transfer brought, in MB/s."""
    return [(answer["upload_bytes"] + answer["download_bytes"]) / answer["seconds"] / 1e6]


def rate(answer: Answer) -> list[float]:
    """How many a second."""
    return [answer["count"] / answer["seconds"]]
