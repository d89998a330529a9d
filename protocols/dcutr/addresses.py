"""Which addresses the two tell each other, and where they punch and dial. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from carrick.addressing import (
    IPAddress,
    Multiaddr,
    Reach,
    host_ip,
    ip_reach,
    is_relayed,
    names,
    reach,
    split_peer,
)
from carrick.errors import AddressError, IdentityError
from carrick.host import Dependence, Nat, NatBehaviour
from carrick.identity import PeerId

__all__ = ["Targets", "hopeless", "public_ips", "targets", "tellable"]

MAX_TARGETS = 8  # dials for one CONNECT; ATTACKS row 70

_LOCAL = frozenset({Reach.PRIVATE, Reach.CGNAT})


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the peer may be.

    Attributes:
        far: where to punch, at the agreed moment.
        near: on our side of the NAT, where to dial in the ordinary way.
    """

    far: tuple[Multiaddr, ...] = ()
    near: tuple[Multiaddr, ...] = ()


def public_ips(addresses: Iterable[Multiaddr]) -> frozenset[IPAddress]:
    """The public IP addresses among `addresses`; those of relays are not of them."""
    found = (host_ip(each) for each in addresses if not is_relayed(each))
    return frozenset(ip for ip in found if ip is not None and ip_reach(ip) is Reach.PUBLIC)


def tellable(
    addresses: Iterable[Multiaddr], *, local: bool, useful: Callable[[Multiaddr], bool]
) -> tuple[Multiaddr, ...]:
    """Those of our `addresses` that a peer is told in CONNECT: never relayed or loopback ones.

    Args:
        local: private ones too: the peer is on our side of the NAT, or they are the public ones.
        useful: whether anybody could punch there.
    """
    kinds = _LOCAL | {Reach.PUBLIC} if local else {Reach.PUBLIC}
    return tuple(dict.fromkeys(each for each in addresses if reach(each) in kinds and useful(each)))


def targets(
    addresses: Iterable[Multiaddr],
    peer: PeerId,
    *,
    own: frozenset[IPAddress],
    allow_private: bool,
    mine: frozenset[Multiaddr] = frozenset(),
    can_punch: Callable[[Multiaddr], bool],
    can_dial: Callable[[Multiaddr], bool],
) -> Targets:
    """What to make of the addresses of a peer's CONNECT: at most `MAX_TARGETS`.

    Private addresses mean something only if the peer's public IP address is ours as well, or with
    `allow_private`. Loopback, link-local and reserved addresses, names, and whatever is ours, mean
    nothing.

    Args:
        own: our public IP addresses.
        mine: our addresses.
    """
    found: dict[Multiaddr, None] = {}
    for address in addresses:
        try:
            bare, named = split_peer(address)
        except (AddressError, IdentityError):
            continue
        if bare.to_bytes() and named in (None, peer) and bare not in mine:
            found[bare] = None
    together = bool(public_ips(found) & own)
    far: list[Multiaddr] = []
    near: list[Multiaddr] = []
    for address in found:
        kind = reach(address)
        if kind is Reach.PUBLIC or (kind in _LOCAL and allow_private):
            if can_punch(address):
                far.append(address)
        elif kind in _LOCAL and together and can_dial(address):
            near.append(address)
    near = near[: MAX_TARGETS // 2]
    return Targets(tuple(far[: MAX_TARGETS - len(near)]), tuple(near))


def hopeless(own: Nat, theirs: Nat | None, address: Multiaddr) -> str | None:
    """Why a punch at `address` cannot succeed; None if it may."""
    if theirs is None or "ip6" in names(address):
        return None  # what is known of NATs is about IPv4
    udp = "udp" in names(address)
    here, there = _behaviour(own, udp), _behaviour(theirs, udp)
    if here.can_meet(there):
        return None
    protocol = "UDP" if udp else "TCP"
    if here.blocked or there.blocked:
        return f"{protocol} is blocked {'here' if here.blocked else 'there'}"
    return f"{here.type} NAT here, {there.type} there ({protocol})"


def _behaviour(nat: Nat, udp: bool) -> NatBehaviour:
    """The filter of TCP is seldom seen: hardly a router is kinder to it than to UDP."""
    if udp:
        return nat.udp
    if nat.tcp.filtering is Dependence.UNKNOWN:
        return replace(nat.tcp, filtering=nat.udp.filtering)
    return nat.tcp
