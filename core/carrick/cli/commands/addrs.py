"""`carrick addrs`: where the running node is reached."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from carrick.cli.asking import api_option, ask_node
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output

__all__ = ["command"]


@click.command("addrs", cls=Command)
@click.option("--reachability", is_flag=True, help="Show what peers found when they dialled us.")
@api_option
@click.pass_obj
def command(settings: Settings, reachability: bool, api: Path | None) -> None:
    """Show where the running node listens, where others see it, and what it tells whom."""
    found = ask_node(settings, "addrs", api=api)
    output = Output(settings, "addrs")
    if reachability:
        names = ("reachability", "reachable", "unreachable", "unknown")
        output.result({name: found[name] for name in names}, "\n".join(_verdicts(found)))
    else:
        output.result(found, "\n".join(_lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for address in found["listen"]:
        yield f"listens on   {address}"
    for each in found["observed"]:
        yield f"seen at      {each['addr']} ({each['observers']}/{each['needed']} observers)"
    for kind, addresses in found["advertised"].items():
        for address in addresses:
            yield f"tells        {address} ({kind})"


def _verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"reachability {found['reachability']}"
    for verdict in ("reachable", "unreachable", "unknown"):
        for address in found[verdict]:
            yield f"{verdict:12} {address}"
