"""Waiting for what tells nobody that it has happened; what has an event is waited for by that."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import trio

__all__ = ["until"]

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]], *, within: float = 5.0, every: float = 0.001
) -> T:
    """Let others run until `condition()` is true, or what it returns is when awaited.

    Args:
        within: seconds; then it raises `trio.TooSlowError`.
        every: seconds from one look to the next.

    Returns:
        What the condition said in the end.
    """
    with trio.fail_after(within):
        while True:
            said = condition()
            found = cast(T, await said if inspect.isawaitable(said) else said)
            if found:
                return found
            await trio.sleep(every)
