"""Waiting for a socket."""

from __future__ import annotations

import trio

__all__ = ["Waiter"]


class Waiter:
    """One task that waits until somebody wakes it."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Wait for `wake`.

        Raises:
            trio.BusyResourceError: another task waits already.
        """
        if self._task is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise trio.BusyResourceError("another task is already waiting for this socket")
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)
