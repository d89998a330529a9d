"""`carrick perf`: how fast bytes go to a peer and come from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

import click
import trio
from rich.console import Console

from carrick import HostBuilder
from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Command, Settings, Size
from carrick.cli.output import Output, human_bytes, human_rate, human_time, milliseconds
from carrick.cli.peers import Reached, reach
from carrick.cli.progress import progress_bar
from carrick.cli.targets import Target, check_peer_known, target_arguments
from carrick.protocols.perf import Perf, PerfOptions

__all__ = ["command"]

DEFAULT_SIZE = 64 << 20  # bytes each way


@click.command("perf", cls=Command)
@target_arguments
@click.option("--upload-bytes", type=Size(), metavar="SIZE", help="How much to send.")
@click.option("--download-bytes", type=Size(), metavar="SIZE", help="How much to receive.")
@node_options
@click.pass_obj
def command(
    settings: Settings,
    target: Target,
    allow_unknown_peer: bool,
    upload_bytes: int | None,
    download_bytes: int | None,
    **options: Unpack[NodeOptions],
) -> None:
    """Measure the throughput to a peer that serves perf (carrick listen --perf).

    With neither size given, 64 MiB each way.
    """
    check_peer_known(target, allow_unknown_peer)
    if upload_bytes is None and download_bytes is None:
        upload_bytes = download_bytes = DEFAULT_SIZE
    builder = make_builder(settings, options).services(
        Perf(PerfOptions(stall_timeout=settings.timeout))
    )
    trio.run(_perf, settings, target, builder, upload_bytes or 0, download_bytes or 0)


async def _perf(
    settings: Settings, target: Target, builder: HostBuilder, upload: int, download: int
) -> None:
    async with reach(builder, target, settings.timeout) as reached:
        output = Output(settings, "perf")
        output.note(f"connected: {reached}")
        await _measure(output, reached, upload, download)


async def _measure(output: Output, reached: Reached, upload: int, download: int) -> None:
    console = Console(stderr=True, quiet=output.settings.quiet or not output.for_people)
    perf = reached.host.service(Perf)
    fields = reached.fields()
    lines = []
    for direction, up, down in (("upload", upload, 0), ("download", 0, download)):
        size, time = up + down, 0.0
        if size:
            with progress_bar(console, direction, size, plain=False) as show:
                result = await perf.measure(
                    reached.connection, upload=up, download=down, progress=_sum_to(show)
                )
            time = result.upload_s + result.download_s
            rate = human_rate(size / time)
            lines.append(f"{direction:10}{human_bytes(size)} in {human_time(time)}, {rate}")
        fields[f"{direction}_bytes"] = size
        fields[f"{direction}_ms"] = milliseconds(time)
        fields[f"{direction}_bits_per_second"] = round(size * 8 / time) if time else None
    output.result(fields, "\n".join(lines))


def _sum_to(show: Callable[[int], None]) -> Callable[[int, int], None]:
    return lambda uploaded, downloaded: show(uploaded + downloaded)
