"""`carrick version`"""

from __future__ import annotations

import platform

import click

import carrick
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output

__all__ = ["command"]


@click.command("version", cls=Command)
@click.pass_obj
def command(settings: Settings) -> None:
    """Show the version."""
    fields = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    text = f"carrick {carrick.__version__} (Python {fields['python']}, {fields['platform']})"
    Output(settings, "version").result(fields, text)
