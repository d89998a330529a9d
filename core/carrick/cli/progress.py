"""A progress bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.theme import Theme

from carrick.cli.output import human_bytes

__all__ = ["progress_bar"]

_PLAIN_STEPS = 4  # lines off a terminal
_CALM = Theme(
    {"progress.download": "default", "progress.data.speed": "default", "progress.elapsed": "dim"}
)


@contextmanager
def progress_bar(
    console: Console, what: str, total: int, *, plain: bool = True
) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many bytes are done.

    Args:
        what: what is transferred, in a word or two.
        plain: print lines where `console` is no terminal.
    """
    if not console.is_terminal:
        yield _lines(console, what, total) if plain else lambda done: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=32, complete_style="cyan", finished_style="cyan"),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with (
        console.use_theme(_CALM),
        Progress(*columns, console=console, auto_refresh=False) as progress,
    ):
        task = progress.add_task(what, total=total)
        refreshed = 0.0

        def update(done: int) -> None:
            nonlocal refreshed
            progress.update(task, completed=done)
            if (now := progress.get_time()) - refreshed >= 0.05 or done >= total:
                refreshed = now
                progress.refresh()

        yield update


def _lines(console: Console, what: str, total: int) -> Callable[[int], None]:
    shown = 0

    def update(done: int) -> None:
        nonlocal shown
        step = done * _PLAIN_STEPS // total
        if step > shown:
            shown = step
            console.print(f"{what} {human_bytes(done)} of {human_bytes(total)}", highlight=False)

    return update
