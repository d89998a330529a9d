"""Dialling: which address when, how many at once, and what not to try again yet."""

from __future__ import annotations

from carrick.network.dial.backoff import Backoff
from carrick.network.dial.black_hole import BlackHoleDetector
from carrick.network.dial.dialer import Dialer, DialWatch
from carrick.network.dial.schedule import DialSchedule

__all__ = ["Backoff", "BlackHoleDetector", "DialSchedule", "DialWatch", "Dialer"]
