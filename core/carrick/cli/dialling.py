"""How a command reaches its peer: the flags, and the node that they describe."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from carrick.cli.node import Names, NodeOptions, make_builder, node_options
from carrick.cli.options import Settings
from carrick.cli.targets import Target, parse_relay

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick import Host, HostBuilder
    from carrick.identity import PeerId

__all__ = ["Dialling", "dial_options"]

STRATEGIES = "direct,reverse,punch,relay"
TRANSPORTS = "quic,tcp,ws,webtransport"
OBSERVERS = 1  # CLI.md: of a command that runs once

_log = logging.getLogger("carrick.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialling:
    """What the flags of `dial_options` say.

    Attributes:
        family: the IP version that may be dialled; None: both.
        addresses: where to listen; empty: see `listen`.
    """

    strategies: tuple[str, ...]
    relay: tuple[str, ...]
    family: int | None
    transport: tuple[str, ...]
    addresses: tuple[str, ...]
    observers: int
    node: NodeOptions

    def builder(self, settings: Settings) -> HostBuilder:
        """A node that reaches peers by these strategies.

        Raises:
            click.UsageError: a flag is wrong.
            KeyFileError: a key file cannot be read.
        """
        builder = make_builder(settings, self.node).observers(self.observers)
        if self.transport:
            builder = builder.transports(*self.transport)
        if self.family is not None:
            builder = builder.gater(_family_only(self.family))
        return builder

    def places(self, target: Target) -> list[Multiaddr] | Target:
        """`target`, over each `--relay` too.

        Raises:
            click.UsageError: a relay whose peer id is not said, or a target.
        """
        from carrick.addressing import with_peer
        from carrick.identity import PeerId

        if not self.relay:
            return target
        peer = _peer_of(target)
        if peer is None:
            raise click.UsageError(f"{target}: add /p2p/ and the peer id, so that a relay finds it")
        given = [] if isinstance(target, PeerId) else [target]
        return [*given, *(with_peer(_circuit(text), peer) for text in self.relay)]

    async def listen(self, host: Host, target: Target) -> None:
        """Listen where `--listen` says, or else wherever a peer could dial back or punch to.

        For a target on this machine that is on loopback, if it is behind a relay.
        """
        from carrick.errors import ListenError, UnsupportedAddress

        for address in self.addresses:
            await host.listen(address)
        if self.addresses or not {"reverse", "punch"}.intersection(self.strategies):
            return
        for place in _own_places(target, relayed=bool(self.relay)):
            for address in (f"{place}/tcp/0", f"{place}/udp/0/quic-v1"):
                try:
                    await host.listen(address)
                except (ListenError, UnsupportedAddress) as error:
                    _log.info("%s", error)


def dial_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `Dialling` and of every node; the command gets `dialling`."""

    @wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        node: Any = {name: values.pop(name) for name in NodeOptions.__annotations__}
        ours = {name: values.pop(name) for name in Dialling.__slots__ if name != "node"}
        return function(*args, **values, dialling=Dialling(node=node, **ours))

    wrapped = node_options(command)
    for option in reversed(_options()):
        wrapped = option(wrapped)
    return wrapped


def _options() -> tuple[Callable[..., Any], ...]:
    return (
        click.option(
            "--strategies",
            type=Names(*STRATEGIES.split(",")),
            default=STRATEGIES,
            show_default=True,
            help="How to reach the peer: each is tried when those before it have failed, or take "
            "longer than half a second.",
        ),
        click.option(
            "--relay",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_RELAY",
            help="Look for the peer on this relay too; repeatable.",
        ),
        click.option("-4", "family", flag_value=4, type=int, help="Dial IPv4 only."),
        click.option("-6", "family", flag_value=6, type=int, help="Dial IPv6 only."),
        click.option(
            "--transport",
            type=Names(*TRANSPORTS.split(",")),
            default=(),
            metavar="NAMES",
            help=f"Use these transports only ({TRANSPORTS}).",
        ),
        click.option(
            "--listen",
            "addresses",
            multiple=True,
            metavar="MADDR",
            envvar="CARRICK_LISTEN",
            help="Where the peer may dial back or punch to; repeatable. "
            "Default: any free port of all interfaces, if a strategy needs that.",
        ),
        click.option(
            "--observers",
            type=click.IntRange(min=1),
            default=OBSERVERS,
            show_default=True,
            envvar="CARRICK_OBSERVERS",
            help="How many peers must see us at an address before we tell it.",
        ),
    )


def _family_only(family: int) -> Any:
    from carrick.addressing import host_ip
    from carrick.network import AllowAll

    class FamilyOnly(AllowAll):
        """Refuses to dial the other IP version."""

        def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
            ip = host_ip(address)
            return ip is None or ip.version == family

    return FamilyOnly()


def _peer_of(target: Target) -> PeerId | None:
    from carrick.addressing import split_peer
    from carrick.identity import PeerId

    return target if isinstance(target, PeerId) else split_peer(target)[1]


def _circuit(text: str) -> Multiaddr:
    """The address over a relay."""
    from carrick.addressing import parse_address, split_peer
    from carrick.identity import PeerId
    from carrick.protocols.relay import circuit_address

    relay = parse_relay(text)
    if isinstance(relay, PeerId):
        return parse_address(f"/p2p/{relay}/p2p-circuit")
    where, peer = split_peer(relay)
    assert peer is not None
    return circuit_address(where, peer)


def _own_places(target: Target, *, relayed: bool) -> tuple[str, ...]:
    from carrick.addressing import host_ip, is_relayed
    from carrick.identity import PeerId

    ip = None if isinstance(target, PeerId) else host_ip(target)
    if ip is None or not ip.is_loopback:
        return "/ip4/0.0.0.0", "/ip6/::"
    behind = relayed or (not isinstance(target, PeerId) and is_relayed(target))
    return (f"/ip{ip.version}/{ip}",) if behind else ()
