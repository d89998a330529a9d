"""Waiting for the moment of a punch, under a clock that jumps."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from carrick.protocols.dcutr.moment import wait_for_moment


@pytest.mark.parametrize("wait", [-1.0, 0.0, 0.01, 3.0])
async def test_an_idle_loop_is_on_time(wait: float, autojump_clock: Any) -> None:
    start = trio.current_time()
    await wait_for_moment(start + wait)
    assert trio.current_time() - start == pytest.approx(max(wait, 0.0), abs=1e-9)


async def test_it_can_be_cancelled(autojump_clock: Any) -> None:
    with trio.move_on_after(1) as scope:
        await wait_for_moment(trio.current_time() + 60)
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        scope.cancel()
        await wait_for_moment(trio.current_time() - 1)
    assert scope.cancelled_caught
