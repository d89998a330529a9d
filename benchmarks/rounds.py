"""Runs cells in turn, round after round, until there are enough clean repetitions or time is up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.bench import Cell, Result
from benchmarks.processes import Failed
from benchmarks.stats import Sample

__all__ = ["run_rounds"]


def run_rounds(
    cells: Sequence[Cell],
    rounds: int,
    *,
    may_go_on: Callable[[], bool],
    progress: Callable[[Cell], None] = lambda cell: None,
    found: list[Result] | None = None,
) -> list[Result]:
    """Every cell once in each round, so that all meet the same machine.

    The results are put into `found` at the beginning and filled as it goes, so that who is
    interrupted has what there is.

    After `rounds` rounds, cells with fewer clean repetitions than that go on, for as many rounds
    again. The first round always runs; the others only while `may_go_on`. A cell that failed is
    not tried again.
    """
    results = [[Result(row) for row in cell.rows] for cell in cells]
    found = [] if found is None else found
    found += [result for own in results for result in own]
    for number in range(2 * rounds):
        for cell, own in zip(cells, results, strict=True):
            if number and not may_go_on():
                return found
            if _done(cell, own, number, rounds):
                continue
            progress(cell)
            try:
                samples = cell.run()
            except Failed as error:
                for result in own:
                    result.failure = str(error)
                continue
            for result, sample in zip(own, samples, strict=True):
                result.samples.append(sample)
    return found


def _done(cell: Cell, own: Sequence[Result], number: int, rounds: int) -> bool:
    if own[0].failure is not None or (cell.once and number):
        return True
    return number >= rounds and all(_clean(result.samples) >= rounds for result in own)


def _clean(samples: Sequence[Sample]) -> int:
    return sum(sample.clean for sample in samples)
