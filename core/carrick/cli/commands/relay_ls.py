"""`carrick relay ls`: the running node's slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from carrick.cli.asking import api_option, ask_node
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.relays import limit_text, reservation_text

__all__ = ["command"]


@click.command("ls", cls=Command)
@api_option
@click.pass_obj
def command(settings: Settings, api: Path | None) -> None:
    """Show the running node's slots on relays, and those that it gave."""
    relay = ask_node(settings, "relay", api=api)
    Output(settings, "relay_ls").result(relay, "\n".join(_lines(relay)))


def _lines(relay: dict[str, Any]) -> list[str]:
    lines = [reservation_text(each) for each in relay["reservations"]]
    lines = lines or ["no slot on a relay"]
    if relay["candidates"]:
        lines.append(f"{len(relay['candidates'])} relays are known")
    if (serving := relay["serving"]) is not None:
        lines.append(
            f"relays for {serving['reservations']} of at most {serving['max_reservations']} peers, "
            f"{serving['circuits']} circuits open, {limit_text(serving)} for each"
        )
    return lines
