"""Waiting for a moment more precisely than a busy event loop lets one wait."""

from __future__ import annotations

import trio

__all__ = ["wait_for_moment"]

_LOOK = 0.1  # s before the moment: how busy is the loop?
_LAPS = 3
_IDLE = 0.0005  # s; a lap that takes no longer needs no care
_LONGEST = 0.05  # s that the loop is held at most


async def wait_for_moment(at: float) -> None:
    """As `trio.sleep_until`, but on time where other tasks keep the loop busy.

    A task whose time has come waits until every other one that can run has run: a lap, which takes
    about ten milliseconds with a hundred busy streams. So this wakes early, and does not begin a
    lap that may end too late: it holds the loop for the last one instead, for 50 ms at most.

    Args:
        at: in seconds of `trio.current_time()`.
    """
    if trio.current_time() < at - _LOOK:
        await trio.sleep_until(at - _LOOK)
    lap, laps = 0.0, 0
    while (now := trio.current_time()) + min(2 * lap, _LONGEST) < at:
        if laps >= _LAPS and lap < _IDLE:
            await trio.sleep_until(at)
            return
        await trio.lowlevel.checkpoint()
        lap, laps = max(lap, trio.current_time() - now), laps + 1
    while trio.current_time() < at:
        pass
    await trio.lowlevel.checkpoint_if_cancelled()
