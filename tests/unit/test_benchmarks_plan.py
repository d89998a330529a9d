"""Which measures run, for how long, and how often."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from benchmarks.bench import Bench, Cell, Result, Row
from benchmarks.contestants import LIMITS, Contestant, Stack, carrick_itself
from benchmarks.measure import MEASURES
from benchmarks.pairs import Amount, Sized, pairs
from benchmarks.plan import QUICK_BUDGET, chosen, reserve, settings_for
from benchmarks.processes import Failed
from benchmarks.rounds import run_rounds
from benchmarks.stats import Sample
from carrick import Limits

CLEAN, DIRTY = Sample(1.0), Sample(2.0, other_cores=1.0)


def test_measures_are_chosen_by_name_in_the_order_of_a_run() -> None:
    names = [measure.NAME for measure in chosen(MEASURES, "ping, bulk")]
    assert names == ["bulk", "ping"]
    assert chosen(MEASURES, None) == list(MEASURES)
    with pytest.raises(ValueError, match="no such measure: bulc; there are startup, bulk"):
        chosen(MEASURES, "bulc")


def test_every_measure_has_a_name_of_its_own_and_is_described() -> None:
    assert len({measure.NAME for measure in MEASURES}) == len(MEASURES)
    assert all(measure.TITLE and measure.NOTE for measure in MEASURES)


def test_a_quick_run_fits_its_budget() -> None:
    quick = settings_for(True, None, None)
    assert QUICK_BUDGET <= 180
    assert sum(measure.seconds(quick) for measure in MEASURES) <= 1.1 * QUICK_BUDGET


def test_a_whole_run_ends_within_45_minutes() -> None:
    whole = settings_for(False, None, None)
    assert whole.budget <= 45 * 60
    assert sum(measure.seconds(whole) for measure in MEASURES) <= whole.budget


def test_later_measures_keep_their_share_of_a_short_budget() -> None:
    settings = settings_for(True, 3, 10.0)
    assert reserve(MEASURES, len(MEASURES), settings) == 0
    assert reserve(MEASURES, 0, settings) == pytest.approx(10.0)
    assert 0 < reserve(MEASURES, 2, settings) < 10.0


def test_the_flags_win_over_the_defaults() -> None:
    settings = settings_for(True, 7, 12.0)
    assert (settings.rounds, settings.budget) == (7, 12.0)


def test_the_limits_that_are_raised_exist() -> None:
    assert set(LIMITS) <= set(Limits.names())


# --- rounds ---------------------------------------------------------------------------------------


def cell(name: str, run: Callable[[], Sequence[Sample]], once: bool = False) -> Cell:
    return Cell((Row("m", name, "a", "b", "", "/s"),), run, once)


def test_cells_take_turns() -> None:
    order: list[str] = []

    def runs(name: str) -> Callable[[], Sequence[Sample]]:
        def run() -> Sequence[Sample]:
            order.append(name)
            return [CLEAN]

        return run

    results = run_rounds([cell(n, runs(n)) for n in "ab"], 3, may_go_on=lambda: True)
    assert "".join(order) == "ababab"
    assert [len(result.samples) for result in results] == [3, 3]


def test_only_what_was_not_clean_goes_on() -> None:
    seen = iter([DIRTY, DIRTY, CLEAN, CLEAN])
    cells = [cell("clean", lambda: [CLEAN]), cell("dirty", lambda: [next(seen)])]
    results = run_rounds(cells, 2, may_go_on=lambda: True)
    assert [len(result.samples) for result in results] == [2, 4]


def test_a_machine_that_is_never_quiet_ends_it_after_twice_the_rounds() -> None:
    results = run_rounds([cell("dirty", lambda: [DIRTY])], 3, may_go_on=lambda: True)
    assert len(results[0].samples) == 6


def test_the_first_round_runs_even_without_time() -> None:
    results = run_rounds([cell(n, lambda: [CLEAN]) for n in "ab"], 3, may_go_on=lambda: False)
    assert [len(result.samples) for result in results] == [1, 1]


def test_a_failure_is_told_and_not_tried_again() -> None:
    calls = []

    def fail() -> Sequence[Sample]:
        calls.append(1)
        raise Failed("no answer")

    results = run_rounds([cell("x", fail), cell("y", lambda: [CLEAN])], 3, may_go_on=lambda: True)
    assert (results[0].failure, len(calls)) == ("no answer", 1)
    assert len(results[1].samples) == 3


def test_some_things_run_once() -> None:
    results = run_rounds([cell("x", lambda: [DIRTY], once=True)], 3, may_go_on=lambda: True)
    assert len(results[0].samples) == 1


# --- who meets whom -------------------------------------------------------------------------------


def peer(
    name: str, missing: str | None = None, transports: tuple[str, ...] = ("tcp",)
) -> Contestant:
    def command(*_: object) -> list[str]:
        return []

    return Contestant(name, name, "1", "", command, command, command, command, transports, missing)


def names(bench: Bench, stack: Stack, crossed: bool = True) -> set[tuple[str, str]]:
    found = pairs(bench, stack, crossed=crossed)
    return {(pair.dialer.name, pair.listener.name) for pair in found}


def test_each_meets_itself_and_carrick_in_both_roles() -> None:
    bench = Bench(settings_for(False, None, None), [carrick_itself(), peer("go"), peer("js")])
    assert names(bench, Stack()) == {
        ("carrick", "carrick"),
        ("go", "go"),
        ("js", "js"),
        ("carrick", "go"),
        ("go", "carrick"),
        ("carrick", "js"),
        ("js", "carrick"),
    }
    assert names(bench, Stack(), crossed=False) == {(n, n) for n in ("carrick", "go", "js")}


def test_who_is_missing_or_does_not_offer_the_stack_stays_out() -> None:
    peers = [peer("go", missing="no go"), peer("rust", transports=("tcp", "quic-v1"))]
    bench = Bench(settings_for(False, None, None), [carrick_itself(), *peers])
    assert ("rust", "rust") in names(bench, Stack(transport="quic-v1"))
    assert ("go", "go") not in names(bench, Stack())


# --- how much -------------------------------------------------------------------------------------


def test_a_repetition_does_what_the_last_rate_says() -> None:
    counts: list[int] = []

    def run(count: int) -> Sequence[Sample]:
        counts.append(count)
        return [Sample(1.0, wall=count / 100)]

    sized = Sized(Amount(2.0, 10, 1000), run)
    sized()
    sized()
    assert counts == [10, 200, 200]  # the first finds the rate


@pytest.mark.parametrize(("rate", "count"), [(1, 10), (1e6, 1000)])
def test_a_repetition_has_its_bounds(rate: float, count: int) -> None:
    counts: list[int] = []

    def run(count: int) -> Sequence[Sample]:
        counts.append(count)
        return [Sample(1.0, wall=count / rate)]

    Sized(Amount(2.0, 10, 1000), run)()
    assert counts[-1] == count


def test_who_is_interrupted_has_what_there_was() -> None:
    def interrupt() -> Sequence[Sample]:
        raise KeyboardInterrupt

    found: list[Result] = []
    cells = [cell("x", lambda: [CLEAN]), cell("y", interrupt)]
    with pytest.raises(KeyboardInterrupt):
        run_rounds(cells, 3, may_go_on=lambda: True, found=found)
    assert [len(result.samples) for result in found] == [1, 0]
