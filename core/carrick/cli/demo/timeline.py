"""What happened when, in virtual time: shown as it happens, and kept for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

from rich.console import Console
from rich.markup import escape

from carrick.cli.output import human_time, milliseconds

__all__ = ["Chapter", "Moment", "Timeline"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened.

    Attributes:
        time: when, in seconds of virtual time.
        who: to whom.
        node: the name of the machine, if it was one.
        took: how long it took, in seconds; None for what has no duration.
        failed: it is what somebody hoped would not happen.
        note: what stands in the diagram; None: the beginning of `text`.
    """

    time: float
    who: str
    node: str | None
    text: str
    took: float | None = None
    failed: bool = False
    note: str | None = None

    def fields(self) -> dict[str, Any]:
        return {
            "time_ms": milliseconds(self.time),
            "who": self.who,
            "what": self.text,
            "took_ms": milliseconds(self.took),
            "failed": self.failed,
        }


@dataclass(slots=True)
class Chapter:
    """One scene, from `start` until `end`.

    Attributes:
        lanes: the machines that its diagram shows, from left to right.
    """

    title: str
    start: float
    end: float = inf
    lanes: tuple[str, ...] = ()
    moments: list[Moment] = field(default_factory=list)


class Timeline:
    """Collects moments in chapters, and prints them.

    Args:
        now: the virtual time.
    """

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self.chapters: list[Chapter] = []
        self._console = console
        self._now = now

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        chapter = Chapter(title, self._now())
        self.chapters.append(chapter)
        self._console.print(f"\n[bold]{escape(title)}[/bold]", soft_wrap=True)
        try:
            yield
        finally:
            chapter.end = min(chapter.end, self._now())

    def focus(self, lanes: tuple[str, ...], start: float | None, end: float | None) -> None:
        """What the diagram of the present scene shows, and of which time."""
        chapter = self.chapters[-1]
        chapter.lanes = lanes
        chapter.start = chapter.start if start is None else start
        chapter.end = chapter.end if end is None else end

    def say(
        self,
        who: str,
        text: str,
        *,
        node: str | None = None,
        since: float | None = None,
        at: float | None = None,
        failed: bool = False,
        note: str | None = None,
    ) -> None:
        """Something happened.

        Args:
            since: when it began, if it took time.
            at: when it happened, if not now.
            failed, note: see `Moment`.
        """
        now = self._now() if at is None else at
        took = None if since is None else now - since
        self.chapters[-1].moments.append(Moment(now, who, node, text, took, failed, note))
        name = f"[{'red' if failed else 'cyan'}]{escape(who):12}[/]"
        lasted = "" if took is None else f"  [dim]{human_time(took)}[/dim]"
        self._console.print(
            f"[dim]{now:9.3f} s[/dim]  {name}  {escape(text)}{lasted}", soft_wrap=True
        )
