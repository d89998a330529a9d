"""The exception firewall: what one peer causes ends no more than that peer's stream or connection.

Cancellation, and what no program should survive (`KeyboardInterrupt`), pass through.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

import trio

__all__ = ["LimitedLog", "guarded"]

_Args = TypeVarTuple("_Args")

_PER_KIND = 10  # messages of one kind and subject per minute (ATTACKS 6.1, promise 15)
_IN_ALL = 300  # messages per minute
_WINDOW = 60.0


async def guarded(
    function: Callable[[*_Args], Awaitable[object]],
    *args: *_Args,
    failed: Callable[[Exception], None],
) -> bool:
    """Call `function`; an exception goes to `failed`. Returns whether it returned normally."""
    try:
        await function(*args)
    except Exception as error:
        failed(error)
        return False
    except BaseExceptionGroup as group:
        errors, rest = group.split(Exception)
        if errors is not None:
            failed(errors)
        if rest is not None:
            raise rest from None
        return False
    return True


class LimitedLog:
    """A logger that a peer cannot flood.

    Each kind of message comes at most ten times a minute per subject. The one that reaches the
    bound says so, and `suppressed` counts what was left out.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._counts: dict[tuple[str, object], int] = {}
        self._total = 0
        self._since = float("-inf")
        self.suppressed = 0

    def log(
        self,
        level: int,
        kind: str,
        subject: object,
        message: str,
        *args: object,
        error: BaseException | None = None,
    ) -> None:
        """Log `message % args`, with the traceback of `error`."""
        if not self._logger.isEnabledFor(level):
            return
        now = trio.current_time()
        if now - self._since >= _WINDOW:
            self._since, self._total = now, 0
            self._counts.clear()
        count = self._counts.get((kind, subject), 0)
        if count >= _PER_KIND or self._total >= _IN_ALL:
            self.suppressed += 1
            return
        self._counts[kind, subject] = count + 1  # at most _IN_ALL entries
        self._total += 1
        if count + 1 == _PER_KIND:
            message += " (no more of this kind within the minute)"
        self._logger.log(level, message, *args, exc_info=error)
