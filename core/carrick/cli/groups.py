"""Groups of commands that are imported when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group that knows its commands by name, and imports one when it is used.

    Args:
        commands: name → one line for `--help`.
        package: where their modules are: `command` of the module `<package><name>`.
    """

    def __init__(self, name: str, commands: Mapping[str, str], package: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._lines = commands
        self._package = package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lines:
            return None
        command = import_module(f"{self._package}{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._lines.items()))
