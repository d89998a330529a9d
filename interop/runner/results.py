"""The outcome of a pair, and of a run. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from interop.runner.implementations import Implementation
from interop.runner.matrix import Pair
from interop.runner.offers import known_fault

__all__ = ["PASSED", "Counts", "Result", "Run", "Side", "excerpt", "merge", "read_latency"]

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

_LATENCY = re.compile(
    r"^latency:\n  handshake_plus_one_rtt: (\d+(?:\.\d+)?)\n  ping_rtt: (\d+(?:\.\d+)?)\n"
    r"  unit: ms$",
    re.MULTILINE,
)
_NOISE = re.compile(r"\x1b\[[0-9;]*m|[^\x20-\x7e\n]")
_FOLDERS = re.compile(r"(?:file://)?/(?:[\w.@+-]+/)+(?=[\w.@+-]+\.(?:m?js|ts|py|go|rs)\b)")


@dataclass(frozen=True, slots=True)
class Side:
    """How one side ended.

    Attributes:
        exit_code: negative for a signal.
        ended: `itself`, or `stopped` by the runner.
        said: the last lines of its standard error.
    """

    exit_code: int
    ended: str
    said: str


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a pair; times are in milliseconds."""

    pair: Pair
    status: str
    reason: str = ""
    seconds: float = 0.0
    handshake_ms: float | None = None
    ping_ms: float | None = None
    dialer: Side | None = None
    listener: Side | None = None
    fault: str | None = None
    logs: str | None = None
    repeats: int = 1

    @property
    def known(self) -> str | None:
        """Why it failed, where that is known to be the fault of others."""
        pair = self.pair
        if self.status != FAILED:
            return None
        return known_fault(pair.dialer, pair.listener, pair.security, self.fault)


@dataclass(frozen=True, slots=True)
class Counts:
    expected: int
    passed: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, results: Iterable[Result]) -> Counts:
        statuses = [result.status for result in results]
        return cls(len(statuses), *(statuses.count(s) for s in (PASSED, FAILED, SKIPPED)))

    def __str__(self) -> str:
        return (
            f"{self.expected} expected, {self.passed} passed, {self.failed} failed, "
            f"{self.skipped} skipped"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that is known after a run."""

    command: str
    commit: str
    date: str
    network: str
    machine: str
    seconds: float
    implementations: Sequence[Implementation]
    results: Sequence[Result] = field(default_factory=list)

    @property
    def ours(self) -> list[Result]:
        return [result for result in self.results if result.pair.ours]

    @property
    def others(self) -> list[Result]:
        return [result for result in self.results if not result.pair.ours]

    @property
    def failures(self) -> list[Result]:
        return [result for result in self.results if result.status == FAILED]

    @property
    def ok(self) -> bool:
        """Whether no pair with Carrick failed for a reason that is not known to be another's."""
        return not any(result.pair.ours and not result.known for result in self.failures)


def read_latency(stdout: str) -> tuple[float, float] | None:
    """Handshake plus one round trip, and ping, in milliseconds; None without a whole result."""
    found = _LATENCY.search(stdout)
    return (float(found[1]), float(found[2])) if found else None


def excerpt(text: str, lines: int = 3, width: int = 300) -> str:
    """The last lines, made fit to be shown: printable, and files without their folders."""
    clean = [line.strip() for line in _FOLDERS.sub("", _NOISE.sub("", text)).splitlines()]
    return "\n".join(line[:width] for line in [line for line in clean if line][-lines:])


def merge(results: Sequence[Result]) -> Result:
    """One result of several runs of one pair: the failure if there is one, else medians."""
    last = results[-1]
    if last.status != PASSED or len(results) == 1:
        return last
    return Result(
        last.pair,
        PASSED,
        seconds=sum(result.seconds for result in results),
        handshake_ms=_median(result.handshake_ms for result in results),
        ping_ms=_median(result.ping_ms for result in results),
        dialer=last.dialer,
        listener=last.listener,
        fault=last.fault,
        repeats=len(results),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 3) if known else None
