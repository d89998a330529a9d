"""`carrick id`: who this node is."""

from __future__ import annotations

import click

from carrick.cli.commands.key import key_fields
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output

__all__ = ["command"]


@click.command("id", cls=Command)
@click.pass_obj
def command(settings: Settings) -> None:
    """Show the peer id of a key: that of --key, or this machine's own."""
    from carrick.identity import load_key

    path = settings.key or settings.home_key
    if settings.key is None and not path.exists():
        raise click.UsageError(
            f"this machine has no key of its own ({path}): make one with `carrick key gen`, "
            "or name a file with --key"
        )
    fields = key_fields(load_key(path))
    Output(settings, "id").result(fields, fields["id"])
