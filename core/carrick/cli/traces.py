"""What people read about how a peer was reached."""

from __future__ import annotations

from carrick.host import ConnectTrace, Step

__all__ = ["trace_lines"]


def trace_lines(trace: ConnectTrace) -> list[str]:
    """A line for each step, and below it one for each of its attempts."""
    lines = []
    for step in trace.steps:
        lines.append(f"{step.strategy:8} {_times(step, trace)} {_result(step)}")
        lines += [f"         {_times(each, trace)} {_result(each)}" for each in step.attempts]
    return lines


def _times(step: Step, trace: ConnectTrace) -> str:
    """In milliseconds, right-aligned."""
    end = "" if step.ended is None else f"{(step.ended - trace.started) * 1000:.0f}"
    return f"{(step.started - trace.started) * 1000:6.0f} – {end:>6} ms"


def _result(step: Step) -> str:
    text = step.result.value
    if step.address is not None:
        text += f" {step.address}"
    return f"{text}: {step.reason}" if step.reason else text
