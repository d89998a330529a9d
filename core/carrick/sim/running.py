"""Running programs on a simulated internet, the same way every time."""

from __future__ import annotations

import importlib
import os
import random
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import Any, TypeVar

import trio
import trio.testing

from carrick.sim.events import EventQueue
from carrick.sim.internet import ACCESS, Internet
from carrick.sim.link import Link

__all__ = [
    "Deadlock",
    "ThreadStarted",
    "fix_hash_seed",
    "hash_seed_is_fixed",
    "open_internet",
    "run",
]

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits for another, and nothing will ever happen again."""


class ThreadStarted(RuntimeError):
    """A thread was started under the simulation, where nothing may depend on real time."""


@asynccontextmanager
async def open_internet(
    *,
    seed: int = 0,
    access: Link = ACCESS,
    record: bool = True,
    record_payload: bool = False,
    tick: float = 0.0,
) -> AsyncIterator[Internet]:
    """An internet within a running trio program, as a test has it; see `Internet` for `seed` etc.

    trio's sockets and name resolution are simulated within the block, its scheduler and the
    module `random` follow `seed`. The clock is the caller's: with
    `trio.testing.MockClock(autojump_threshold=0)` time is virtual.

    Raises:
        Deadlock: every task waits, and no time-out is pending, under a clock that jumps.
        ThreadStarted: the block started a thread.
    """
    # dnspython counts seconds too; here, not above, because its import takes 60 ms.
    from carrick.sim.names import SimulatedResolver, dnspython_simulated
    from carrick.sim.trio_sockets import SimulatedSocketFactory

    internet = Internet(
        seed=seed, access=access, record=record, record_payload=record_payload, tick=tick
    )
    with seeded(seed), without_threads(), dnspython_simulated():
        factory = trio.socket.set_custom_socket_factory(SimulatedSocketFactory())
        resolver = trio.socket.set_custom_hostname_resolver(SimulatedResolver())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(internet.events.run)
                with deadlocks_end(nursery.cancel_scope, internet.events):
                    yield internet
                nursery.cancel_scope.cancel()
        finally:
            trio.socket.set_custom_socket_factory(factory)
            trio.socket.set_custom_hostname_resolver(resolver)


def run(
    main: Callable[[Internet], Awaitable[T]],
    *,
    seed: int = 0,
    access: Link = ACCESS,
    record: bool = True,
    record_payload: bool = False,
    tick: float = 0.0,
) -> T:
    """Run `main(internet)` in virtual time, and return what it returns.

    The same seed gives the same trace. Sets and dicts of strings keep their order only if Python's
    hash seed is fixed too: see `hash_seed_is_fixed`.

    Raises:
        Deadlock: every task waits, and no time-out is pending.
        ThreadStarted: something started a thread.
    """

    async def program() -> T:
        async with open_internet(
            seed=seed, access=access, record=record, record_payload=record_payload, tick=tick
        ) as internet:
            return await main(internet)

    clock = trio.testing.MockClock(autojump_threshold=0)
    with seeded(seed):
        try:
            return trio.run(program, clock=clock, strict_exception_groups=True)
        except BaseExceptionGroup as group:
            alone = _only(group)
            if alone is None:
                raise
            raise alone from None


def hash_seed_is_fixed() -> bool:
    """Whether the order of sets of strings is the same in every run."""
    return os.environ.get("PYTHONHASHSEED", "random") != "random"


def fix_hash_seed(seed: int = 0) -> None:
    """Start this program anew with a fixed hash seed, unless it has one. For commands."""
    if not hash_seed_is_fixed():
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        os.execve(sys.executable, sys.orig_argv, environment)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let trio's scheduler and the module `random` follow `seed` within the block."""
    scheduler: Any = importlib.import_module("trio._core._run")
    deterministic = scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    choices, chances = scheduler._r.getstate(), random.getstate()
    # What trio's own plugin for Hypothesis does; there is no public way.
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = deterministic
        scheduler._r.setstate(choices)
        random.setstate(chances)


class _Watch(trio.abc.Instrument):
    """Counts how often the run loop finds nothing to do, and nothing to wait for."""

    PATIENCE = 100  # rounds of the run loop

    def __init__(self, scope: trio.CancelScope, events: EventQueue) -> None:
        self.found = False
        self._scope = scope
        self._events = events
        self._rounds = 0

    def before_io_wait(self, timeout: float) -> None:
        if not self._events.is_idle:
            self._rounds = 0
            return
        statistics = trio.lowlevel.current_statistics()
        if statistics.tasks_runnable or statistics.seconds_to_next_deadline < inf:
            self._rounds = 0
            return
        self._rounds += 1
        if self._rounds > self.PATIENCE:
            self.found = True
            self._scope.cancel()


@contextmanager
def deadlocks_end(scope: trio.CancelScope, events: EventQueue) -> Iterator[None]:
    """Under a clock that jumps: cancel `scope` if nothing can happen any more.

    Without this the clock would look for the next deadline for ever.

    Raises:
        Deadlock: that was done.
    """
    clock = trio.lowlevel.current_clock()
    if not (isinstance(clock, trio.testing.MockClock) and clock.autojump_threshold == 0):
        yield
        return
    watch = _Watch(scope, events)
    trio.lowlevel.add_instrument(watch)
    try:
        yield
    except trio.Cancelled:
        if not watch.found:
            raise
    finally:
        trio.lowlevel.remove_instrument(watch)
    if watch.found:
        raise Deadlock("every task waits for another, and no time-out is pending")


@contextmanager
def without_threads() -> Iterator[None]:
    """Let this thread start no others within the block.

    Raises:
        ThreadStarted: at the place of the attempt, and at the end if that was ignored.
    """
    here = threading.get_ident()
    attempts: list[str] = []
    threads: Any = threading.Thread
    cache: Any = importlib.import_module("trio._core._thread_cache").ThreadCache
    start, start_cached = threads.start, cache.start_thread_soon

    def refuse(what: str) -> None:
        if threading.get_ident() == here:
            attempts.append(what)
            raise ThreadStarted(f"{what} would run in a thread")

    def refuse_start(self: threading.Thread) -> None:
        refuse(repr(self))
        start(self)

    def refuse_cached(self: Any, fn: Callable[[], Any], *args: Any, **options: Any) -> None:
        refuse(repr(fn))
        start_cached(self, fn, *args, **options)

    threads.start, cache.start_thread_soon = refuse_start, refuse_cached
    try:
        yield
    finally:
        threads.start, cache.start_thread_soon = start, start_cached
    if attempts:
        raise ThreadStarted(f"{attempts[0]} would have run in a thread")


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The one exception in a group of one, which the nursery of `open_internet` wrapped."""
    if len(group.exceptions) != 1:
        return None
    return group.exceptions[0]
