"""Functions that are called at their time, all from one task."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Alarm", "Alarms"]


class Alarm:
    """Something to be done at a certain time, unless it is cancelled before."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], None]) -> None:
        self.function: Callable[[], None] | None = function

    def cancel(self) -> None:
        self.function = None


class Alarms:
    """A clock for what hardly ever happens: an alarm costs no task, and none when it is cancelled.

    `run` must run.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._sleep = trio.CancelScope()

    def call_at(self, time: float, function: Callable[[], None]) -> Alarm:
        """Call `function`, which must not raise, at `time` in seconds of `trio.current_time()`."""
        alarm = Alarm(function)
        heapq.heappush(self._waiting, (time, next(self._order), alarm))
        if time < self._sleep.deadline:
            self._sleep.deadline = time
        return alarm

    async def run(self, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            with trio.CancelScope(deadline=self._next()) as self._sleep:
                await trio.sleep_forever()
            while self._waiting and self._waiting[0][0] <= trio.current_time():
                _, _, alarm = heapq.heappop(self._waiting)
                if alarm.function is not None:
                    alarm.function()

    def _next(self) -> float:
        """When the next alarm is due; those that were cancelled are let go."""
        while self._waiting and self._waiting[0][2].function is None:
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else math.inf
