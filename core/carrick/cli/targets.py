"""Whom a command is to reach, in the forms that people type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = [
    "Target",
    "TargetType",
    "check_peer_known",
    "parse_relay",
    "parse_target",
    "target_arguments",
]

Target: TypeAlias = "Multiaddr | PeerId"

_FORMS = "a target is a multiaddr, host:port, a port on this machine, or a peer id"


class TargetType(click.ParamType["Target"]):
    """See `parse_target`."""

    name = "target"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Target:
        return parse_target(value) if isinstance(value, str) else value


def target_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds TARGET and `--allow-unknown-peer`."""
    option = click.option(
        "--allow-unknown-peer",
        is_flag=True,
        envvar="CARRICK_ALLOW_UNKNOWN_PEER",
        help="Take whoever answers at a TARGET without a peer id.",
    )
    return click.argument("target", type=TargetType())(option(function))


def parse_target(text: str) -> Target:
    """What `text` names: an address, with or without `/p2p/…`, or a peer id.

    `4001` is TCP port 4001 on this machine; `name:4001`, `192.0.2.7:4001` and `[2001:db8::1]:4001`
    are TCP too.

    Raises:
        click.UsageError: it is none of these.
        InvalidAddress: it is a multiaddr, but a wrong one.
        InvalidPeerId: it looks like a peer id, but is none.
    """
    from carrick.addressing import parse_address

    if text.startswith("/"):
        return parse_address(text)
    if text.isascii() and text.isdigit():
        return parse_address(f"/ip4/127.0.0.1/tcp/{_port(text)}")
    if text.startswith("@"):
        raise click.UsageError(f"{text}: aliases are not there yet; {_FORMS}")
    if text.startswith("unix:"):
        raise click.UsageError(f"{text}: unix sockets are not there yet; {_FORMS}")
    host, colon, port = text.rpartition(":")
    if colon:
        return parse_address(f"{_host(host)}/tcp/{_port(port)}")
    if text.startswith(("12D3", "16Ui", "Qm", "bafz", "k")):
        from carrick.identity import PeerId

        return PeerId.parse(text)
    raise click.UsageError(f"{text!r}: {_FORMS} (tickets are not there yet)")


def parse_relay(text: str) -> Target:
    """What `--relay` names: a relay, whose peer id must be said.

    Raises:
        click.UsageError, InvalidAddress, InvalidPeerId: as `parse_target`.
    """
    from carrick.addressing import split_peer
    from carrick.identity import PeerId

    relay = parse_target(text)
    if not isinstance(relay, PeerId) and split_peer(relay)[1] is None:
        raise click.UsageError(f"--relay {text}: add /p2p/ and the relay's peer id")
    return relay


def check_peer_known(target: Target, allow_unknown: bool) -> None:
    """Refuse to talk to whoever answers, unless that was asked for or they are on this machine.

    Raises:
        click.UsageError: the target does not say who must be there.
    """
    from carrick.addressing import Reach, parts, reach, split_peer
    from carrick.identity import PeerId

    if isinstance(target, PeerId) or allow_unknown:
        return
    address, peer = split_peer(target)
    here = reach(address) is Reach.LOOPBACK or parts(address)[0][1] == "localhost"
    if peer is None and not here:
        raise click.UsageError(
            f"{target} does not say who must be there: add /p2p/ and the peer id, "
            "or --allow-unknown-peer to take whoever answers"
        )


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise click.UsageError(f"{text!r} is no port: 1 to 65535")


def _host(text: str) -> str:
    import ipaddress

    literal = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ip = ipaddress.ip_address(literal)
    except ValueError:
        if not text or ":" in text or "/" in text:
            raise click.UsageError(
                f"{text!r} is no host; an IPv6 address stands in brackets: [2001:db8::1]:4001"
            ) from None
        return f"/dns/{text}"
    if ip.version == 6 and literal == text:
        raise click.UsageError(f"put the IPv6 address in brackets: [{text}]:port")
    return f"/ip{ip.version}/{ip}"
