"""What people read about slots on relays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.cli.output import human_bytes

__all__ = ["left_text", "limit_text", "reservation_text"]


def reservation_text(slot: Mapping[str, Any]) -> str:
    """`12D3KooW…: reserved, 59 min left; 2 min and 128.0 KiB each way for each circuit`."""
    if not slot["active"]:
        return f"{slot['relay']}: not reserved at the moment"
    return (
        f"{slot['relay']}: reserved, {left_text(slot['left_ms'])} left; "
        f"{limit_text(slot)} for each circuit"
    )


def limit_text(limit: Mapping[str, Any]) -> str:
    """`2 min and 128.0 KiB each way`, or `no limit`."""
    parts = []
    if limit["limit_time_ms"] is not None:
        parts.append(left_text(limit["limit_time_ms"]))
    if limit["limit_bytes"] is not None:
        parts.append(f"{human_bytes(limit['limit_bytes'])} each way")
    return " and ".join(parts) or "no limit"


def left_text(milliseconds: float) -> str:
    """`54 min`, `40 s`."""
    seconds = milliseconds / 1000
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
