"""Results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import click

import carrick
from carrick.cli.options import Settings

__all__ = ["Output", "human_bytes", "human_rate", "human_time", "milliseconds"]

_FIELD = re.compile(r"<(\w+)>")
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


class Output:
    """Prints the results of one command, in the form that the flags ask for.

    Args:
        command: its name, which is in the `schema` field of its JSON.
    """

    def __init__(self, settings: Settings, command: str) -> None:
        self.settings = settings
        self._schema = f"carrick.{command}.v1"

    @property
    def for_people(self) -> bool:
        """Neither `--json` nor `--format`."""
        return not self.settings.json and self.settings.template is None

    def result(self, fields: Mapping[str, Any], text: str | None) -> None:
        """Print one result.

        Args:
            fields: its JSON; multiaddrs and peer ids are written as text.
            text: what people read; None: nothing.
        """
        if self.settings.template is not None:
            click.echo(render(self.settings.template, fields), nl=False)
        elif self.settings.json:
            click.echo(to_json({**fields, "schema": self._schema, "version": carrick.__version__}))
        elif text is not None:
            click.echo(text)
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell people something that is no result."""
        if self.for_people and not self.settings.quiet:
            click.echo(text, err=True)


def to_json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, default=str, ensure_ascii=False)


def render(template: str, fields: Mapping[str, Any]) -> str:
    r"""Fill `<name>` in; `\n`, `\t` and `\\` are what they are in C. Lists become lines.

    Raises:
        click.UsageError: there is no such field.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise click.UsageError(
                f"--format: there is no field <{match[1]}>; there are "
                + " ".join(f"<{name}>" for name in fields)
            )
        found = fields[match[1]]
        if isinstance(found, list | tuple):
            return "\n".join(map(str, found))
        return "" if found is None else str(found)

    unescaped = re.sub(r"\\[nt\\]", lambda match: _ESCAPES[match[0]], template)
    return _FIELD.sub(value, unescaped)


def milliseconds(seconds: float | None) -> float | None:
    """For the `*_ms` fields: microseconds are the last digits that mean anything."""
    return None if seconds is None else round(seconds * 1000, 3)


def human_time(seconds: float) -> str:
    """`0.41 ms`, `12.3 ms`, `1.52 s`."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    thousandths = seconds * 1000
    return f"{thousandths:.{2 if thousandths < 10 else 1 if thousandths < 100 else 0}f} ms"


def human_bytes(count: float) -> str:
    """`512 B`, `64.0 MiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    power = min(int(math.log2(count)) // 10, 4)
    return f"{count / 1024**power:.1f} {'KMGT'[power - 1]}iB"


def human_rate(bytes_per_second: float) -> str:
    """In bits, as network rates are given: `812 Mbit/s`, `3.42 Gbit/s`."""
    bits = bytes_per_second * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if bits < 1000:
            return f"{bits:.0f} {unit}"
        bits /= 1000
    return f"{bits:.2f} Gbit/s"
