"""`carrick demo`"""

from __future__ import annotations

import click
import trio

from carrick.cli.demo import DEFAULT_SIZE, show
from carrick.cli.options import Command, Settings, Size

__all__ = ["command"]


@click.command("demo", cls=Command)
@click.option("--size", type=Size(), default=DEFAULT_SIZE, help="How much to transfer: 64MiB.")
@click.pass_obj
def command(settings: Settings, size: int) -> None:
    """Two nodes on this machine meet, prove who they are, ping, and transfer 64 MiB."""
    trio.run(show, settings, size)
