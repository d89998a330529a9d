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
    """

    time: float
    who: str
    node: str | None
    text: str
    took: float | None = None
    failed: bool = False

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
    """One scene, from `start` until `end`."""

    title: str
    start: float
    end: float = inf
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
            chapter.end = self._now()

    def say(
        self,
        who: str,
        text: str,
        *,
        node: str | None = None,
        since: float | None = None,
        failed: bool = False,
    ) -> None:
        """Something happened now.

        Args:
            since: when it began, if it took time.
        """
        now = self._now()
        took = None if since is None else now - since
        self.chapters[-1].moments.append(Moment(now, who, node, text, took, failed))
        name = f"[{'red' if failed else 'cyan'}]{escape(who):12}[/]"
        lasted = "" if took is None else f"  [dim]{human_time(took)}[/dim]"
        self._console.print(
            f"[dim]{now:9.3f} s[/dim]  {name}  {escape(text)}{lasted}", soft_wrap=True
        )
