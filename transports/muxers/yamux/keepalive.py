"""Pings: they measure the round-trip time, and find out that the peer is gone."""

from __future__ import annotations

from carrick.errors import MuxerError
from carrick.transports.muxers.yamux.frame import INTERNAL_ERROR, MAX_UINT32, PING, SYN, pack

_FIRST = 1.0  # s that the first ping waits for other output


class Keepalive:
    """One ping at a time: the first with the first output, then one in each interval."""

    __slots__ = (
        "_interval",
        "_sent_at",
        "_timeout",
        "_value",
        "deadline",
        "due",
        "heard",
        "overdue",
        "rtt",
    )

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = interval
        self._timeout = timeout
        self._value = 0
        self._sent_at: float | None = None  # of the ping that is not answered yet
        self.due = True
        """A ping waits to be sent with other output."""
        self.overdue = False
        """It waits no more."""
        self.heard = now
        """When the peer's last bytes came."""
        self.rtt: float | None = None
        self.deadline: float | None = now + _FIRST

    def drop(self) -> None:
        """Nothing is sent any more."""
        self.due = self.overdue = False

    def send(self, now: float) -> bytes:
        """The header of the ping that is due."""
        self.due = self.overdue = False
        self._sent_at = now
        self.deadline = now + self._timeout
        return pack(PING, SYN, 0, self._value)

    def pong(self, value: int, now: float) -> bool:
        """An answer came. False if nobody asked for it."""
        sent_at = self._sent_at
        if sent_at is None or value != self._value:
            return False
        measured = max(0.0, now - sent_at)
        self.rtt = measured if self.rtt is None else (self.rtt + measured) / 2  # as go-yamux
        self._sent_at = None
        self._value = (self._value + 1) & MAX_UINT32
        self.deadline = sent_at + self._interval
        return True

    def run(self, now: float) -> None:
        """The deadline has come.

        Raises:
            MuxerError: the peer answered neither the ping nor said anything else.
        """
        if self._sent_at is None:
            self.due = self.overdue = True
            self.deadline = None
        elif now < self.heard + self._timeout:
            self.deadline = self.heard + self._timeout  # it lives, the answer waits in its queue
        else:
            raise MuxerError(
                f"keepalive: the peer was silent for {self._timeout:g} s after a ping",
                code=INTERNAL_ERROR,
            )
