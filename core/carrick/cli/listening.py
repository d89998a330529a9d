"""The flags of commands that run a node in the foreground, and the node that they describe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from carrick.cli.node import NodeOptions, make_builder, node_options
from carrick.cli.options import Settings
from carrick.cli.targets import parse_relay

if TYPE_CHECKING:
    from carrick import HostBuilder

__all__ = ["Listening", "listen_options"]

DEFAULT_ADDRESS = "/ip4/0.0.0.0/tcp/0"
OBSERVERS = 4  # CLI.md: of a node that stays; go-libp2p's too


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """What the flags of `listen_options` say.

    Attributes:
        addresses: where to listen; empty: the default addresses.
        api: the path of the API socket, if it was named.
        no_api: no API socket at all.
        upnp: have the home's router forward our ports, by whichever protocol it knows.
        stun: servers that show how the NAT in front of us behaves.
    """

    addresses: tuple[str, ...]
    announce: tuple[str, ...]
    append_announce: tuple[str, ...]
    no_announce: tuple[str, ...]
    relay: tuple[str, ...]
    observers: int
    count_loopback: bool
    metrics: str | None
    api: Path | None
    no_api: bool
    upnp: bool
    stun: tuple[str, ...]
    node: NodeOptions

    def builder(self, settings: Settings) -> HostBuilder:
        """A node that listens, and finds out where it is reached.

        Raises:
            click.UsageError: a flag is wrong.
            KeyFileError: a key file cannot be read.
        """
        from carrick.protocols.nat import NatDetector, NatOptions
        from carrick.protocols.relay import RelayClient

        limits = {"count_loopback": True} if self.count_loopback else {}
        builder = make_builder(settings, self.node, own_key=True, **limits)
        try:
            builder = builder.announce(
                *self.announce, append=self.append_announce, withhold=self.no_announce
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        if self.upnp:
            from carrick.protocols.portmap import PortMapper

            builder = builder.services(PortMapper)
        relays = [parse_relay(text) for text in self.relay]
        detector = NatDetector(NatOptions(stun=self.stun))
        return (
            builder.listen(*(self.addresses or (DEFAULT_ADDRESS,)))
            .observers(self.observers)
            .services(detector, RelayClient(relays))
        )


def listen_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `Listening` and of every node; the command gets `listening`."""

    @wraps(function)
    def command(**values: Any) -> Any:
        node: Any = {name: values.pop(name) for name in NodeOptions.__annotations__}
        ours = {name: values.pop(name) for name in Listening.__slots__ if name != "node"}
        return function(**values, listening=Listening(node=node, **ours))

    wrapped = node_options(command)
    for option in reversed(_options()):
        wrapped = option(wrapped)
    return wrapped


def _options() -> tuple[Callable[..., Any], ...]:
    return (
        click.option(
            "--listen",
            "addresses",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_LISTEN",
            help="Where to listen; repeatable. "
            "Default: TCP and QUIC, on all interfaces, any free port.",
        ),
        click.option(
            "--announce",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_ANNOUNCE",
            help="Tell peers these addresses instead of the real ones; repeatable.",
        ),
        click.option(
            "--append-announce",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_APPEND_ANNOUNCE",
            help="Tell peers these addresses too; repeatable.",
        ),
        click.option(
            "--no-announce",
            multiple=True,
            metavar="CIDR",
            envvar="CARRICK_NO_ANNOUNCE",
            help="Never tell addresses in this network; repeatable.",
        ),
        click.option(
            "--relay",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_RELAY",
            help="Keep a slot on this relay; repeatable.",
        ),
        click.option(
            "--observers",
            type=click.IntRange(min=1),
            default=OBSERVERS,
            show_default=True,
            envvar="CARRICK_OBSERVERS",
            help="How many peers must see us at an address before we tell it.",
        ),
        click.option(
            "--count-loopback",
            is_flag=True,
            envvar="CARRICK_COUNT_LOOPBACK",
            help="Limits count loopback as a public address.",
        ),
        click.option(
            "--metrics",
            metavar="[HOST:]PORT",
            envvar="CARRICK_METRICS",
            help="Serve Prometheus metrics there, at /metrics. Default host: 127.0.0.1.",
        ),
        click.option(
            "--upnp/--no-upnp",
            default=False,
            envvar="CARRICK_UPNP",
            help="Have the home's router forward our ports, by UPnP, NAT-PMP or PCP.",
        ),
        click.option(
            "--stun",
            multiple=True,
            metavar="HOST[:PORT]",
            envvar="CARRICK_STUN",
            help="Ask this STUN server what NAT we are behind; repeatable. None is built in.",
        ),
        click.option(
            "--api",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="PATH",
            envvar="CARRICK_API",
            help="The socket for `carrick status` and others. Default: api.sock in --home.",
        ),
        click.option(
            "--no-api",
            is_flag=True,
            envvar="CARRICK_NO_API",
            help="Serve no such socket.",
        ),
    )
