"""Which measures run, and how long each may take. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Measure, Settings

__all__ = ["chosen", "reserve", "settings_for"]

QUICK_ROUNDS, QUICK_BUDGET = 3, 170.0  # s
WHOLE_ROUNDS, WHOLE_BUDGET = 5, 2340.0


def chosen(measures: Sequence[Measure], only: str | None) -> list[Measure]:
    """Those that `only` names, in the order of a run; all if it is None.

    Raises:
        ValueError: there is no measure of some name.
    """
    if only is None:
        return list(measures)
    names = [name.strip() for name in only.split(",")]
    known = [measure.NAME for measure in measures]
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no such measure: {', '.join(unknown)}; there are {', '.join(known)}")
    return [measure for measure in measures if measure.NAME in names]


def settings_for(quick: bool, rounds: int | None, budget: float | None) -> Settings:
    """What the flags ask for, with defaults where they say nothing."""
    if quick:
        return Settings(True, rounds or QUICK_ROUNDS, budget or QUICK_BUDGET)
    return Settings(False, rounds or WHOLE_ROUNDS, budget or WHOLE_BUDGET)


def reserve(measures: Sequence[Measure], done: int, settings: Settings) -> float:
    """Seconds to keep for the measures after the first `done`.

    If all together would take more than the budget, it is shared in proportion.
    """
    needed = [measure.seconds(settings) for measure in measures]
    return sum(needed[done:]) * min(1.0, settings.budget / max(sum(needed), 1e-9))
