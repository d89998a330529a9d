"""What flags mean: the settings of every command, and the types of values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

__all__ = ["Command", "Duration", "Settings", "Size", "global_options"]

_SECONDS: dict[str, float] = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_BYTES: dict[str, float] = {
    "": 1,
    "b": 1,
    **{prefix + "b": 1000**power for power, prefix in enumerate("kmgt", 1)},
    **{prefix + "ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


@dataclass
class Settings:
    """The values of the global flags. They may stand before or behind the command's name."""

    json: bool = False
    template: str | None = None
    timeout: float = 30.0
    verbosity: int = 0
    quiet: bool = False
    log_format: str = "text"
    home: Path = field(default_factory=lambda: Path.home() / ".carrick")
    key: Path | None = None

    @property
    def home_key(self) -> Path:
        """Where this machine's own key is, if it has one."""
        return self.home / "key"

    @property
    def home_api(self) -> Path:
        """Where this machine's running node can be asked."""
        return self.home / "api.sock"


class Duration(click.ParamType[float]):
    """`30s`, `1.5m`, `200ms`, `2h`, or seconds: more than 0."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        seconds = _quantity(str(value), _SECONDS)
        if not seconds:
            self.fail(f"{value!r} is no duration such as 30s, 1.5m or 200ms", param, ctx)
        return seconds


class Size(click.ParamType[int]):
    """`64MiB`, `10MB`, or bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        size = _quantity(str(value), _BYTES)
        if size is None:
            self.fail(f"{value!r} is no size such as 64MiB, 10MB or 4096", param, ctx)
        return int(size)


def _quantity(text: str, units: dict[str, float]) -> float | None:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    return float(match[1]) * factor if match and factor else None


class Command(click.Command):
    """A command that takes the global flags too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += global_options(environment=False)

    def invoke(self, ctx: click.Context) -> Any:
        from carrick.cli.logs import set_up_logging

        set_up_logging(ctx.ensure_object(Settings))
        return super().invoke(ctx)


def global_options(*, environment: bool) -> list[click.Parameter]:
    """The global flags; their values go into the context's `Settings`.

    Args:
        environment: take values from `CARRICK_…` too. Only the outermost command does, so that a
            flag is stronger than a variable wherever it stands.
    """

    def option(*names: str, variable: str, **attributes: Any) -> click.Parameter:
        return click.Option(
            names,
            expose_value=False,
            callback=_store,
            envvar=f"CARRICK_{variable}" if environment else None,
            allow_from_autoenv=False,
            **attributes,
        )

    return [
        option("--json", variable="JSON", is_flag=True, help="Print JSON, one object a line."),
        option(
            "--format",
            "template",
            variable="FORMAT",
            metavar="TEMPLATE",
            help="Print a template with the fields of --json, such as '<id>\\n'.",
        ),
        option(
            "--timeout",
            variable="TIMEOUT",
            type=Duration(),
            help="How long to wait for the other side. Default: 30s.",
        ),
        option(
            "--key",
            variable="KEY",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The key file of this node's identity. Default: a new identity.",
        ),
        option(
            "--home",
            variable="HOME",
            type=click.Path(path_type=Path),
            metavar="FOLDER",
            help="Where this machine's own key is, and the socket of its running node. "
            "Default: ~/.carrick.",
        ),
        option(
            "-v",
            "--verbose",
            "verbosity",
            variable="VERBOSE",
            count=True,
            help="Log what happens; -vv: everything, and tracebacks.",
        ),
        option("-q", "--quiet", variable="QUIET", is_flag=True, help="Only results and errors."),
        option(
            "--log-format",
            variable="LOG_FORMAT",
            type=click.Choice(["text", "json"]),
            help="The form of the log on stderr.",
        ),
    ]


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    assert param.name is not None
    if ctx.get_parameter_source(param.name) is not ParameterSource.DEFAULT:
        setattr(ctx.ensure_object(Settings), param.name, value)
