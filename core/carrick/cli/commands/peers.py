"""`carrick peers`: with whom the running node is connected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from carrick.cli.asking import api_option, ask_node
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output, human_time

__all__ = ["command"]


@click.command("peers", cls=Command)
@click.option("--direction", is_flag=True, help="Show who dialled.")
@click.option("--latency", is_flag=True, help="Show the round-trip time.")
@click.option("--streams", is_flag=True, help="Show the open streams.")
@click.option("--identify", is_flag=True, help="Show what the peer says of itself.")
@click.option("--all", "everything", is_flag=True, help="Show all of this.")
@api_option
@click.pass_obj
def command(
    settings: Settings,
    direction: bool,
    latency: bool,
    streams: bool,
    identify: bool,
    everything: bool,
    api: Path | None,
) -> None:
    """Show the running node's connections, one a line; --json has all there is to know."""
    wanted = {
        "direction": direction or everything,
        "latency": latency or everything,
        "streams": streams or everything,
        "identify": identify or everything,
    }
    output = Output(settings, "peers")
    for peer in ask_node(settings, "peers", api=api):
        output.result(peer, "\n".join(_lines(peer, wanted)))


def _lines(peer: Mapping[str, Any], wanted: Mapping[str, bool]) -> Iterator[str]:
    words = [peer["path"], f"{peer['addr']}/p2p/{peer['peer']}"]
    if wanted["direction"]:
        words.append(peer["direction"])
    if wanted["latency"]:
        time = peer["latency_ms"]
        words.append("unknown" if time is None else human_time(time / 1000))
    if wanted["identify"]:
        words.append(peer["identify"]["agent_version"] or "(not told)")
    yield " ".join(words)
    if wanted["streams"]:
        counts = Counter((each["protocol"], each["direction"]) for each in peer["streams"])
        for (protocol, direction), count in sorted(counts.items()):
            yield f"  {protocol} {direction}" + (f" × {count}" if count > 1 else "")
