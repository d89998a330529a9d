"""The flags that say which DHT, and by whom to enter it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from carrick.protocols.kademlia import KademliaOptions, Mode, NetworkSettings
    from carrick.protocols.kademlia.messages import PeerInfo

__all__ = ["AMINO", "LOCAL", "DhtFlags", "Network", "dht_options", "load_network", "member_options"]

PROTOCOL = "/ipfs/kad/1.0.0"


@dataclass(frozen=True, slots=True)
class Network:
    """A DHT, as a file or one of our names describes it.

    Attributes:
        protocol: its protocol id.
        bootstrap: addresses of peers to enter it by.
        scope: `wan`: internet addresses only, and few peers of one network in the table; `lan`:
            those of a local network; `any`: all, without such limits.
    """

    protocol: str = PROTOCOL
    bootstrap: tuple[str, ...] = ()
    scope: str = "any"


LOCAL = Network()
# IPFS's public network. Source: go-libp2p-kad-dht, dht_bootstrap.go. Nothing asks these peers but
# a command that a person runs with `--network amino`.
AMINO = Network(
    bootstrap=(
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb",
        "/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt",
        "/ip4/104.131.131.82/tcp/4001/p2p/QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ",
    ),
    scope="wan",
)
_BY_NAME = {"amino": AMINO, "local": LOCAL}


def load_network(name: str) -> Network:
    """`amino`, `local`, or a TOML file with `protocol`, `bootstrap` and `scope`, each optional.

    Raises:
        click.UsageError: it is none of these, or says something else.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    import tomllib  # for files only: `listen` has these flags too

    try:
        found = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(
            f"--network {name}: neither amino nor local, and no file: {error.strerror}"
        ) from error
    except ValueError as error:
        raise click.UsageError(f"--network {name}: {error}") from error
    network = Network(
        found.pop("protocol", PROTOCOL),
        tuple(found.pop("bootstrap", ())),
        found.pop("scope", "any"),
    )
    if found:
        raise click.UsageError(f"--network {name}: {', '.join(found)}: nothing is known of that")
    _check(network, name)
    return network


def _check(network: Network, name: str) -> None:
    protocol, bootstrap = network.protocol, network.bootstrap
    if not isinstance(protocol, str) or not protocol.startswith("/"):
        raise click.UsageError(f"--network {name}: protocol is a protocol id such as {PROTOCOL}")
    if not all(isinstance(each, str) for each in bootstrap):
        raise click.UsageError(f"--network {name}: bootstrap is a list of addresses")
    if network.scope not in ("wan", "lan", "any"):
        raise click.UsageError(f"--network {name}: scope is wan, lan or any")


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtFlags:
    """What the flags of `dht_options` say."""

    network: str
    bootstrap: tuple[str, ...]
    protocol: str | None
    full_table: bool = False

    def described(self) -> Network:
        """The network that is meant: single flags are stronger than its description.

        Raises:
            click.UsageError: there is no such network.
        """
        network = load_network(self.network)
        return Network(
            self.protocol or network.protocol, self.bootstrap or network.bootstrap, network.scope
        )

    def bootstrap_peers(self, *, at: bool = True) -> list[PeerInfo]:
        """By whom to enter.

        Args:
            at: the command has `--at`.

        Raises:
            click.UsageError: by nobody, or an address is wrong.
        """
        from carrick.errors import InvalidAddress
        from carrick.protocols.kademlia.crawler import bootstrap_peer

        texts = self.described().bootstrap
        if not texts:
            raise click.UsageError(
                "no bootstrap peer: name one (--bootstrap MADDR), or a network that has some "
                "(--network amino, or a file)" + (", or ask one node (--at MADDR)" if at else "")
            )
        try:
            return [bootstrap_peer(text) for text in texts]
        except InvalidAddress as error:
            raise click.UsageError(f"--bootstrap: {error}") from error

    def settings(self) -> NetworkSettings:
        """For the DHT's service."""
        from carrick.protocols.kademlia import WAN, NetworkSettings, Scope

        network = self.described()
        limits = (
            (WAN.max_per_group, WAN.max_per_group_and_bucket)
            if network.scope == "wan"
            else (None, None)
        )
        return NetworkSettings(network.protocol, Scope(network.scope), *limits)

    def options(self, mode: Mode, *, bootstrap: bool = False) -> KademliaOptions:
        """For the DHT's service.

        Args:
            bootstrap: have the service enter by the bootstrap peers itself.
        """
        from carrick.addressing import with_peer
        from carrick.protocols.kademlia import KademliaOptions

        peers = self.bootstrap_peers() if bootstrap else []
        targets = [with_peer(each, peer.id) for peer in peers for each in peer.addresses]
        return KademliaOptions(
            networks=(self.settings(),),
            mode=mode,
            bootstrap=targets,
            full_table=self.full_table,
        )


_WHICH = (
    click.option(
        "--bootstrap",
        "--bootstrap-peers",
        multiple=True,
        metavar="MADDR",
        envvar="CARRICK_BOOTSTRAP",
        help="Enter the DHT by this peer; repeatable.",
    ),
    click.option(
        "--network",
        default="local",
        show_default=True,
        metavar="amino|local|FILE",
        envvar="CARRICK_NETWORK",
        help="Which DHT: IPFS's public one, one of your own, or as a TOML file says.",
    ),
    click.option(
        "--protocol",
        "--protocols",
        metavar="ID",
        envvar="CARRICK_DHT_PROTOCOL",
        help=f"The protocol id of the DHT. Default: the network's, {PROTOCOL}.",
    ),
)
_FULL_TABLE = click.option(
    "--full-table",
    is_flag=True,
    envvar="CARRICK_DHT_FULL_TABLE",
    help="Crawl the DHT first, and then every hour; nothing needs a lookup any more.",
)


def dht_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags of `DhtFlags` that say which DHT; the command gets them as `flags`."""
    return _with_flags(function, _WHICH)


def member_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds all flags of `DhtFlags`; the command gets them as `flags`."""
    return _with_flags(function, (*_WHICH, _FULL_TABLE))


def _with_flags(
    function: Callable[..., Any], options: Sequence[Callable[..., Any]]
) -> Callable[..., Any]:
    @wraps(function)
    def command(*args: Any, **values: Any) -> Any:
        ours = {name: values.pop(name) for name in DhtFlags.__slots__ if name in values}
        return function(*args, **values, flags=DhtFlags(**ours))

    wrapped: Callable[..., Any] = command
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped
