"""The demonstration from beginning to end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio
from rich.console import Console

from carrick.cli.demo import page, real
from carrick.cli.demo.scenes import SCENES, Scene
from carrick.cli.demo.stage import Stage
from carrick.cli.demo.summary import summary
from carrick.cli.demo.timeline import Timeline
from carrick.cli.options import Settings
from carrick.cli.output import Output, milliseconds
from carrick.sim import Internet, run

__all__ = ["DEFAULT_PAGE", "DEFAULT_SIZE", "Options", "show"]

DEFAULT_PAGE = Path("carrick-demo.html")
DEFAULT_SIZE = 64 << 20  # bytes, on real sockets
SIMULATED_SIZE = 512 << 10  # bytes


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags of `carrick demo` say.

    Attributes:
        latency: of Ana's line to the core of the internet, one way, in seconds; the others are
            near and far in proportion.
        page: where the HTML page goes; None: nowhere.
        capture: where the capture for Wireshark goes.
        size: bytes to transfer on real sockets; 0: leave that act out.
        scenes: what is played.
    """

    nat_a: str
    nat_b: str
    seed: int
    latency: float
    page: Path | None = DEFAULT_PAGE
    capture: Path | None = None
    size: int = DEFAULT_SIZE
    scenes: tuple[Scene, ...] = SCENES


def show(settings: Settings, options: Options) -> None:
    """Play it, as the flags ask: a timeline and a summary, or one JSON object.

    Raises:
        OSError: a file cannot be written.
    """
    output = Output(settings, "demo")
    console = Console(quiet=not output.for_people or settings.quiet, highlight=False)
    console.print(
        f"[bold]Two people behind NATs, on a simulated internet[/bold], seed {options.seed}; "
        "times are virtual"
    )
    began = time.perf_counter()
    found = run(
        partial(_simulated, console=console, options=options),
        seed=options.seed,
        record_payload=options.capture is not None,
    )
    found["real_ms"] = milliseconds(time.perf_counter() - began)
    console.print()
    console.print(summary(found))
    for what, path in (("the sequence diagram", options.page), ("a capture", options.capture)):
        if path is not None:
            console.print(f"{what} is in {path}", soft_wrap=True)
    if options.size:
        console.print("\n[bold]The same code on this machine's own sockets[/bold]")
        found["real"] = trio.run(real.show, console, options.size, settings.timeout)
    output.result(found, None)


async def _simulated(internet: Internet, *, console: Console, options: Options) -> dict[str, Any]:
    timeline = Timeline(console, internet.time)
    async with trio.open_nursery() as nursery:
        stage = Stage(internet, timeline, nursery, latency=options.latency, size=SIMULATED_SIZE)
        stage.facts |= {"nat_a": options.nat_a, "nat_b": options.nat_b, "seed": options.seed}
        for title, play in options.scenes:
            with timeline.chapter(title):
                await play(stage)
        found = _fields(stage)
        if options.page is not None:
            options.page.write_text(page.page(stage), encoding="utf-8")
        if options.capture is not None:
            internet.write_pcapng(options.capture)
        nursery.cancel_scope.cancel()
    return found


def _fields(stage: Stage) -> dict[str, Any]:
    internet = stage.internet
    return {
        **stage.facts,
        "people": {
            person.name: {
                "id": person.node.id,
                "address": person.machine.address,
                "outside": person.outside,
            }
            for person in stage.people.values()
        },
        "virtual_ms": milliseconds(internet.time()),
        "packets": len(internet.trace),
        "lost": sum(entry.receiver is None and bool(entry.fate) for entry in internet.trace),
        "timeline": [
            moment.fields() for chapter in stage.timeline.chapters for moment in chapter.moments
        ],
    }
