"""Asking the node that runs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from carrick.cli.options import Settings

__all__ = ["api_option", "ask_node"]


def api_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--api`."""
    return click.option(
        "--api",
        type=click.Path(path_type=Path),
        metavar="PATH",
        envvar="CARRICK_API",
        help="The socket of the node to ask. Default: api.sock in --home.",
    )(function)


def ask_node(settings: Settings, method: str, *, api: Path | None = None, **params: Any) -> Any:
    """What the running node answers.

    Raises:
        NoNode: none runs.
        ApiRefused, PeerTimeout.
    """
    from carrick.cli.api.client import ask

    return ask(api or settings.home_api, method, timeout=settings.timeout, **params)
