"""The flags of commands that ask a DHT, and how they ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from carrick.cli.dht.flags import DhtFlags, member_options
from carrick.cli.node import NodeOptions, node_options
from carrick.cli.options import Command, Settings
from carrick.cli.output import Output
from carrick.cli.targets import Target, TargetType, check_peer_known

if TYPE_CHECKING:
    from carrick.cli.dht.client import Client

__all__ = ["Asking", "asking_options", "dht_command"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What the flags of `asking_options` say.

    Attributes:
        at: ask exactly this node, once.
    """

    at: Target | None
    flags: DhtFlags
    node: NodeOptions

    def client(self, settings: Settings, output: Output) -> AbstractAsyncContextManager[Client]:
        """See `carrick.cli.dht.client.dht_client`."""
        from carrick.cli.dht.client import dht_client

        return dht_client(settings, output, self.flags, self.node, at=self.at)


def asking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--at`, and the flags of a DHT and of every node; the command gets `asking`."""

    @wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        node: Any = {name: values.pop(name) for name in NodeOptions.__annotations__}
        flags = values.pop("flags")
        at = values.pop("at")
        if at is not None:
            check_peer_known(at, False)
            if flags.full_table:
                raise click.UsageError("--at asks one node: leave out --full-table")
        return function(*args, **values, asking=Asking(at=at, flags=flags, node=node))

    option = click.option(
        "--at",
        type=TargetType(),
        metavar="TARGET",
        help="Ask this one node, with one request, and nobody else.",
    )
    return option(member_options(node_options(command)))


def dht_command(
    name: str, *parameters: Callable[..., Any]
) -> Callable[[Callable[..., Awaitable[None]]], click.Command]:
    """Makes a command of a function that asks a DHT: it is called with a node that has entered the
    DHT, where its answers go, and the values of `parameters`, click's decorators."""

    def make(ask: Callable[..., Awaitable[None]]) -> click.Command:
        @wraps(ask)
        def command(settings: Settings, asking: Asking, **values: Any) -> None:
            import trio

            async def run() -> None:
                output = Output(settings, f"dht_{name}")
                async with asking.client(settings, output) as client:
                    await ask(client, output, **values)
                    output.note(str(client.trace))

            trio.run(run)

        function = asking_options(click.pass_obj(command))
        for parameter in reversed(parameters):
            function = parameter(function)
        return click.command(name, cls=Command)(function)

    return make
