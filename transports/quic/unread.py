"""What unread data takes out of a connection's memory budget."""

from __future__ import annotations

from carrick.interfaces import Budget

__all__ = ["Unread"]

BASIC_SHARE = 1 << 20  # bytes of unread data that need no budget
BUDGET_STEP = 256 * 1024


class Unread:
    """Bytes that were received and not read yet, of all streams."""

    def __init__(self) -> None:
        self._bytes = 0
        self._reserved = 0

    def count(self, change: int, budget: Budget | None) -> bool:
        """Account for data that was received, or read. False: the budget does not hold it."""
        self._bytes += change
        if budget is None:
            return True
        if change > 0 and self._bytes > BASIC_SHARE + self._reserved:
            if not budget.try_reserve(BUDGET_STEP):
                return False
            self._reserved += BUDGET_STEP
        elif self._reserved and self._bytes < BASIC_SHARE // 2:
            self.give_back(budget)
        return True

    def give_back(self, budget: Budget | None) -> None:
        """Hold no more of the budget."""
        if budget is not None and self._reserved:
            budget.release(self._reserved)
            self._reserved = 0
