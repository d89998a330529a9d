"""Things that happen later: one heap and one task for the whole internet."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import trio

__all__ = ["EventQueue"]


class EventQueue:
    """Calls functions at points of (virtual) time, in order; equal times in order of arrival."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._ready: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._draining = False
        self._count = 0
        self._sleeping: trio.CancelScope | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due, ever."""
        return not self._heap

    def call_later(self, delay: float, function: Callable[..., object], *args: Any) -> None:
        """Call `function` in `delay` seconds."""
        self.call_at(trio.current_time() + delay, function, *args)

    def call_at(self, when: float, function: Callable[..., object], *args: Any) -> None:
        """Call `function` at a time of trio's clock."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, function, args))
        if self._sleeping is not None and when < self._sleeping.deadline:
            self._sleeping.deadline = when

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function` now, but not within another function that was called this way.

        So a packet and the answers to it never nest, however many there are.
        """
        self._ready.append((function, args))
        if not self._draining:
            self._drain()

    def _drain(self) -> None:
        self._draining = True
        ready = self._ready
        try:
            while ready:
                function, args = ready.popleft()
                function(*args)
        finally:
            self._draining = False

    async def run(self) -> None:
        """Run until cancelled."""
        heap = self._heap
        while True:
            now = trio.current_time()
            while heap and heap[0][0] <= now:
                _, _, function, args = heapq.heappop(heap)
                self.soon(function, *args)
            with trio.CancelScope(deadline=heap[0][0] if heap else inf) as self._sleeping:
                await trio.sleep_forever()
            self._sleeping = None
