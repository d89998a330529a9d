"""The node that a command runs, as its flags describe it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import click

from carrick.cli.options import Settings

if TYPE_CHECKING:
    from carrick import HostBuilder

__all__ = ["Names", "NodeOptions", "make_builder", "node_options"]

_log = logging.getLogger("carrick.cli")


class NodeOptions(TypedDict):
    """The flags of every command that runs a node."""

    security: tuple[str, ...]
    muxer: tuple[str, ...]
    limit: tuple[str, ...]
    psk: Path | None
    peerstore: Path | None
    trace_frames: Path | None


class Names(click.ParamType[tuple[str, ...]]):
    """One or more of some names, separated by commas."""

    name = "names"

    def __init__(self, *known: str) -> None:
        self.known = known

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name.strip() for name in str(value).split(","))
        for name in names:
            if name not in self.known:
                self.fail(f"{name!r} is none of {', '.join(self.known)}", param, ctx)
        return names


def node_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `NodeOptions`, all of which also are `CARRICK_…` variables."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in reversed(
        (
            click.option(
                "--security",
                type=Names("noise", "tls"),
                default="noise,tls",
                show_default=True,
                envvar="CARRICK_SECURITY",
                help="Security protocols, best first.",
            ),
            click.option(
                "--muxer",
                type=Names("yamux", "mplex"),
                default="yamux",
                show_default=True,
                envvar="CARRICK_MUXER",
                help="Muxers (yamux, mplex), best first.",
            ),
            click.option(
                "--limit",
                multiple=True,
                metavar="NAME=VALUE",
                envvar="CARRICK_LIMIT",
                help="Set a limit of carrick.Limits; repeatable.",
            ),
            click.option(
                "--psk",
                type=file,
                metavar="FILE",
                envvar="CARRICK_PSK",
                help="Join the private network of this swarm key, and no other.",
            ),
            click.option(
                "--peerstore",
                type=file,
                metavar="FILE",
                envvar="CARRICK_PEERSTORE",
                help="Keep what is known of peers in this file.",
            ),
            click.option(
                "--trace-frames",
                type=file,
                metavar="FILE",
                envvar="CARRICK_TRACE_FRAMES",
                help="Write every muxer frame to this file, as JSON lines.",
            ),
        )
    ):
        function = option(function)
    return function


def make_builder(
    settings: Settings, options: NodeOptions, *, own_key: bool = False, **limits: Any
) -> HostBuilder:
    """A builder for the node that the flags describe.

    Args:
        own_key: without `--key`, take this machine's own key if it has one.
        limits: more limits.

    Raises:
        click.UsageError: an unknown limit.
        KeyFileError: a key file cannot be read.
    """
    from carrick import HostBuilder, Limits
    from carrick.files import KeyLog, LineFile

    try:
        chosen = Limits().with_settings(options["limit"]).with_overrides(**limits)
    except ValueError as error:
        raise click.UsageError(f"--limit: {error}") from error
    builder = HostBuilder().limits(chosen)
    builder = builder.security(*options["security"]).muxers(*options["muxer"])
    if settings.key is not None:
        builder = builder.identity(settings.key)
    elif own_key and settings.home_key.exists():
        builder = builder.identity(settings.home_key)
    if options["psk"] is not None:
        from carrick.transports.security.pnet import load_swarm_key

        builder = builder.private_network(load_swarm_key(options["psk"]))
    if options["peerstore"] is not None:
        builder = builder.peerstore(options["peerstore"])
    if key_log := os.environ.get("SSLKEYLOGFILE"):
        _log.warning(
            "SSLKEYLOGFILE: session keys go to %s; whoever reads it reads the traffic", key_log
        )
        builder = builder.key_log(KeyLog(key_log))
    if options["trace_frames"] is not None:
        builder = builder.trace_frames(LineFile(options["trace_frames"], append=False))
    return builder
