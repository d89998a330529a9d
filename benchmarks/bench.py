"""What a measure is made of: rows, cells that fill them, and what the cells share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TypeVar

from benchmarks.contestants import Contestant, Dialer, Listener, Stack
from benchmarks.processes import Child
from benchmarks.stats import Sample

__all__ = ["Bench", "Cell", "Measure", "Result", "Row", "Settings"]

C = TypeVar("C", bound=Child)
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Settings:
    """How long and how often.

    Attributes:
        quick: less of everything.
        rounds: clean repetitions that are aimed at.
        budget: seconds for all measures together.
    """

    quick: bool
    rounds: int
    budget: float

    def pick(self, quick: int, whole: int) -> int:
        return quick if self.quick else whole


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, between whom.

    Attributes:
        measure: the name of the measure.
        what: in words.
        stack: as text; "" where there is none.
        unit: of the value.
        more_is_better: or else less.
        size: for charts of growth: how many.
    """

    measure: str
    what: str
    dialer: str
    listener: str
    stack: str
    unit: str
    more_is_better: bool = True
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to do, which fills one row or more.

    Attributes:
        run: a repetition: a sample for each row. It raises `Failed` if it does not work.
        once: repeating it would tell nothing new.
    """

    rows: tuple[Row, ...]
    run: Callable[[], Sequence[Sample]]
    once: bool = False


@dataclass(slots=True)
class Result:
    """What a row came to; `failure` if it could not be done."""

    row: Row
    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None


class Measure(Protocol):
    """A module of `benchmarks.measure`."""

    NAME: str
    TITLE: str
    NOTE: str
    """What a reader of the table must know."""

    def seconds(self, settings: Settings) -> float:
        """What it takes on a quiet machine, roughly."""
        ...

    def cells(self, bench: Bench) -> list[Cell]:
        """What there is to do; may start what it needs from `bench`."""
        ...


class Bench:
    """The contestants, and their processes.

    Listeners and dialers are started when they are first needed, and live for the whole run, so
    that little of its time goes into starts. As a context manager it stops them at the end.
    """

    def __init__(self, settings: Settings, contestants: Sequence[Contestant]) -> None:
        self.settings = settings
        self.carrick = contestants[0]
        self.peers = tuple(contestants[1:])
        self._extra = ExitStack()
        self._listeners: dict[tuple[str, Stack], Listener] = {}
        self._dialers: dict[tuple[str, Stack], Dialer] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.tidy()
        for child in (*self._dialers.values(), *self._listeners.values()):
            child.stop()
        self._listeners.clear()
        self._dialers.clear()

    @property
    def contestants(self) -> tuple[Contestant, ...]:
        return (self.carrick, *self.peers)

    def listener(self, contestant: Contestant, stack: Stack) -> Listener:
        """The listener of a contestant, started if it is not there.

        Raises:
            Failed: it did not start.
        """
        return _usable(
            self._listeners, (contestant.name, stack), lambda: Listener(contestant.listen(stack))
        )

    def dialer(self, contestant: Contestant, stack: Stack) -> Dialer:
        """The dialer of a contestant, likewise; a new one after one that did not answer."""
        return _usable(
            self._dialers, (contestant.name, stack), lambda: Dialer(contestant.dial(stack))
        )

    def keep(self, child: C) -> C:
        """Stop `child` at the end of the measure."""
        self._extra.enter_context(child)
        return child

    def tidy(self) -> None:
        """Stop what was for one measure only."""
        self._extra.close()


def _usable(there: dict[K, C], key: K, start: Callable[[], C]) -> C:
    child = there.get(key)
    if child is None or not child.usable:
        if child is not None:
            child.stop()
            del there[key]
        child = there[key] = start()
    return child
