"""One socket, many tasks that wait for it: whoever waits reads for all.

An endpoint has no task of its own. Each task that waits for something of it (a connection's `run`,
a dial, an `accept`) takes a seat. One of them, at any time, reads the socket for everybody; when it
has what it waited for, or is cancelled, another one goes on.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

__all__ = ["Attendance", "Seat"]


class Seat:
    """The place of one waiting task."""

    __slots__ = ("_called", "_lot", "_reading", "_scope")

    def __init__(self) -> None:
        self._called = False
        self._lot = trio.lowlevel.ParkingLot()
        self._reading: trio.CancelScope | None = None
        self._scope: trio.CancelScope | None = None

    def call(self) -> None:
        """Let the task go on: what it waits for may be there. Remembered until it waits."""
        self._called = True
        self._lot.unpark_all()
        if self._reading is not None:
            self._reading.cancel()

    def hasten(self, deadline: float) -> None:
        """Let the task go on at `deadline` at the latest."""
        if self._scope is not None and deadline < self._scope.deadline:
            self._scope.deadline = deadline

    def delay(self, deadline: float) -> None:
        """As `hasten`, and undoes an earlier one, if the task has not gone on yet."""
        if self._scope is not None:
            self._scope.deadline = deadline


class Attendance:
    """The tasks that wait for one socket.

    Args:
        read: reads and dispatches for ever; may be cancelled wherever it awaits.
    """

    def __init__(self, read: Callable[[], Awaitable[None]]) -> None:
        self._read = read
        self._reader: Seat | None = None
        self._waiting: dict[Seat, None] = {}

    async def attend(self, seat: Seat, deadline: float = math.inf) -> None:
        """Wait until `seat` is called, or the time is `deadline`.

        Raises: what reading raises, if this task reads.
        """
        if seat._called or deadline <= trio.current_time():
            seat._called = False
            await trio.lowlevel.checkpoint()
            return
        with trio.CancelScope(deadline=deadline) as seat._scope:
            try:
                while not seat._called:
                    if self._reader is None:
                        await self._lead(seat)
                    else:
                        self._waiting[seat] = None
                        try:
                            await seat._lot.park()
                        finally:
                            del self._waiting[seat]
            finally:
                seat._scope = None
                # Picked to read, and cancelled before it could: somebody else must.
                if self._reader is None:
                    self._pick()
        seat._called = False

    async def _lead(self, seat: Seat) -> None:
        self._reader = seat
        try:
            with trio.CancelScope() as seat._reading:
                await self._read()
        finally:
            seat._reading = None
            self._reader = None
            self._pick()

    def _pick(self) -> None:
        for seat in self._waiting:
            seat._lot.unpark_all()
            return
