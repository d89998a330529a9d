"""A crawl in the foreground: its files, its progress, and how it ends."""

from __future__ import annotations

import resource
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from rich.console import Console

from carrick import HostBuilder
from carrick.cli.errors import INTERRUPTED, NOT_FOUND
from carrick.cli.output import Output, human_time, milliseconds
from carrick.errors import FileError
from carrick.protocols.kademlia import PeerInfo
from carrick.protocols.kademlia.crawler import (
    CANCELLED,
    SUCCEEDED,
    Crawl,
    CrawlFiles,
    CrawlOptions,
    CrawlReader,
    Frontier,
    Tally,
    crawl,
    write_parquet,
)

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["CrawlRun", "affordable_workers"]

_FILES_PER_WORKER = 3  # a peer's addresses are dialled side by side
_OTHER_FILES = 64
_TICK = 1.0  # s between two looks at the progress on a terminal
_LINE = 10.0  # s between two lines of it elsewhere
_TOP = 10  # agents and errors that people are shown


def affordable_workers(workers: int, output: Output) -> int:
    """So many, or as many as the process may have files open for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = workers * _FILES_PER_WORKER + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return workers
    affordable = max(1, (soft - _OTHER_FILES) // _FILES_PER_WORKER)
    output.note(f"{affordable} workers, not {workers}: the process may open {soft} files")
    return affordable


@dataclass(kw_only=True)
class CrawlRun:
    """A crawl, as the flags describe it.

    Attributes:
        folder: where files go; None: none are written.
        about: what else `_crawl.json` shall say.
    """

    output: Output
    options: CrawlOptions
    bootstrap: Sequence[PeerInfo]
    folder: Path | None
    resume: bool
    neighbors: bool
    edges: bool
    parquet: bool
    about: Mapping[str, Any]

    async def run(self, builder: HostBuilder) -> int:
        """Crawl, and show the summary; returns the exit code."""
        with ExitStack() as exits:
            files, frontier, before = self._open_files(exits)
            earlier = before.crawled
            async with AsyncExitStack() as opened:
                host = await opened.enter_async_context(builder.open())
                nursery = await opened.enter_async_context(trio.open_nursery())
                rows = crawl(host, self.bootstrap, self.options, frontier=frontier)
                crawled = await opened.enter_async_context(rows)
                crawled.tally = before
                started = trio.current_time()
                await nursery.start(self._show_progress, crawled)
                if files is not None and not self.resume:
                    files.note_seen(self.bootstrap)
                stopped = await self._take(crawled, files)
                elapsed = trio.current_time() - started
                nursery.cancel_scope.cancel()
            if files is not None:
                left = frontier.pending + frontier.running
                files.seal(crawled.tally, left, CANCELLED if stopped else SUCCEEDED)
        fields = self._fields(crawled, files) | {
            "elapsed_ms": milliseconds(elapsed),
            "peers_per_minute": round((crawled.tally.crawled - earlier) / elapsed * 60),
        }
        if files is not None and self.parquet:
            fields["files"] += map(str, write_parquet(CrawlReader(files.prefix)))
        self.output.result(fields, "\n".join(_summary(fields)))
        if stopped:
            return INTERRUPTED
        return 0 if crawled.tally.dialable else NOT_FOUND

    async def _take(self, crawled: Crawl, files: CrawlFiles | None) -> bool:
        """Write down each visit; returns whether a signal ended that."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(_cancel_at, signals, scope)
                with scope:
                    async for visit in crawled:
                        if files is not None:
                            files.write(visit)
                nursery.cancel_scope.cancel()
        return scope.cancelled_caught

    def _open_files(self, exits: ExitStack) -> tuple[CrawlFiles | None, Frontier, Tally]:
        frontier, tally = Frontier(limit=self.options.limit), Tally()
        if self.folder is None:
            return None, frontier, tally
        wanted: dict[str, Any] = {
            "neighbors": self.neighbors,
            "edges": self.edges,
            "more": self.about,
        }
        if not self.resume:
            return exits.enter_context(CrawlFiles.new(self.folder, **wanted)), frontier, tally
        try:
            reader = CrawlReader.latest(self.folder)
            frontier, tally = reader.frontier(limit=self.options.limit)
        except OSError as error:
            raise FileError(f"{error.filename}: {error.strerror}") from error
        self.output.note(f"{tally.crawled} peers were visited, {frontier.pending} wait")
        files = CrawlFiles(reader.prefix, resume=True, **wanted)
        return exits.enter_context(files), frontier, tally

    def _fields(self, crawled: Crawl, files: CrawlFiles | None) -> dict[str, Any]:
        tally, frontier = crawled.tally, crawled.frontier
        written: list[Path] = []
        if files is not None:
            written = sorted(files.prefix.parent.glob(f"{files.prefix.name}_*"))
        return {
            "crawled": tally.crawled,
            "dialable": tally.dialable,
            "undialable": tally.undialable,
            "remaining": frontier.pending + frontier.running,
            "seen": frontier.seen,
            "left_out": frontier.left_out,
            "agents": dict(tally.agents.most_common()),
            "connect_errors": dict(tally.connect_errors.most_common()),
            "crawl_errors": dict(tally.crawl_errors.most_common()),
            "files": [*map(str, written)],
        }

    async def _show_progress(
        self, crawled: Crawl, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until cancelled."""
        task_status.started()
        if not self.output.for_people or self.output.settings.quiet:
            return
        console = Console(stderr=True)
        if not console.is_terminal:
            while True:
                await trio.sleep(_LINE)
                self.output.note(_progress(crawled))
        with console.status("crawling") as status:
            while True:
                status.update(_progress(crawled))
                await trio.sleep(_TICK)


async def _cancel_at(signals: Any, scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()
        return


def _progress(crawled: Crawl) -> str:
    tally, frontier = crawled.tally, crawled.frontier
    return (
        f"{tally.crawled} visited, {tally.dialable} dialable, "
        f"{frontier.running} at work, {frontier.pending} wait"
    )


def _summary(fields: Mapping[str, Any]) -> list[str]:
    share = fields["dialable"] / fields["crawled"] if fields["crawled"] else 0.0
    lines = [
        f"{fields['crawled']} peers visited in {human_time(fields['elapsed_ms'] / 1000)}, "
        f"{fields['peers_per_minute']} a minute; {fields['remaining']} not visited",
        f"{fields['dialable']} dialable ({share:.1%}), "
        f"{fields['undialable']} seen in tables, but not dialable",
    ]
    for title, name in (
        ("agents", "agents"),
        ("could not be dialled", "connect_errors"),
        ("could not be read", "crawl_errors"),
    ):
        shown = list(fields[name].items())[:_TOP]
        lines += [f"{title}:"] if shown else []
        lines += [f"  {count:>7}  {value or '(not told)'}" for value, count in shown]
    return [*lines, *fields["files"]]
