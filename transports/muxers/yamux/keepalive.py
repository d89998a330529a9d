"""Pings: they measure the round-trip time, and find out that the peer is gone."""

from __future__ import annotations

import math

from carrick.errors import MuxerError
from carrick.transports.muxers.yamux.frame import INTERNAL_ERROR, MAX_UINT32, PING, SYN, pack

_FIRST = 1.0  # s that the first ping waits for other output
_LISTENER = 1.1  # times the interval: the dialer asks first, and of an idle connection that will do


class Keepalive:
    """One ping at a time: the first with the first output, then one in each interval.

    Args:
        dialer: of the two sides the one that asks first.
    """

    __slots__ = (
        "_asked",
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

    def __init__(self, interval: float, timeout: float, now: float, *, dialer: bool) -> None:
        self._interval = interval if dialer else _LISTENER * interval
        self._timeout = timeout
        self._value = 0
        self._sent_at: float | None = None  # of the ping that is not answered yet
        self._asked = -math.inf  # when the peer's last ping came
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

    def asked(self, now: float) -> None:
        """The peer's ping came."""
        self._asked = now

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
        if self._sent_at is None and self._peer_asks(now):
            self.deadline = self._asked + self._interval
        elif self._sent_at is None:
            self.due = self.overdue = True
            self.deadline = None
        elif now < self.heard + self._timeout:
            self.deadline = self.heard + self._timeout  # it lives, the answer waits in its queue
        else:
            raise MuxerError(
                f"keepalive: the peer was silent for {self._timeout:g} s after a ping",
                code=INTERNAL_ERROR,
            )

    def _peer_asks(self, now: float) -> bool:
        """The connection is idle, and the peer sees to it that it lives."""
        recent = now < self._asked + self._interval
        return recent and self._asked == self.heard and self.rtt is not None
