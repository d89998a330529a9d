"""What an AutoNAT v1 server dials, and what a client believes, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carrick.addressing import IPAddress, Multiaddr, host_ip, join_parts, parts
from carrick.errors import ProtocolError
from carrick.identity import PeerId
from carrick.protocols.autonat.addresses import for_dial_back, plain_ip
from carrick.protocols.autonat.v1.messages import Dial, DialResponse, Incoming, Status

__all__ = ["DialBack", "answer", "judge"]


@dataclass(frozen=True, slots=True)
class DialBack:
    """Dial these, all at the IP address that we see the client at."""

    addresses: tuple[Multiaddr, ...]


def answer(
    message: Incoming,
    peer: PeerId,
    *,
    observed: Multiaddr | None,
    can_dial: Callable[[Multiaddr], bool],
    allow: Callable[[IPAddress], bool],
    allow_private: bool = False,
) -> DialBack | DialResponse:
    """What to do for `peer`, or what to tell it at once.

    Args:
        observed: where we see it; None over a relay.
        can_dial: whether a transport can dial an address.
        allow: whether the rates allow a dial of an IP address.

    Raises:
        ProtocolError: the message is no request.
    """
    if not isinstance(message, Dial):
        raise ProtocolError("an AutoNAT request of another kind")
    if message.peer and message.peer != peer.to_bytes():
        return DialResponse(Status.BAD_REQUEST, "that is another peer's id")
    ip = None if observed is None else plain_ip(host_ip(observed))
    if observed is None or ip is None:
        return DialResponse(Status.DIAL_REFUSED, "we do not see your IP address")
    # RFC 3489, 12.1.1: nobody but the peer itself is dialled. Behind a NAT it knows only inner IP
    # addresses, so that the ports are tried at the outer one; go and rust do, and count on it.
    moved = (_moved(address, ip) for address in (*message.addresses, observed))
    own = (
        for_dial_back(address, peer, allow_private=allow_private)
        for address in moved
        if address is not None
    )
    found = [address for address in own if address is not None and can_dial(address)]
    if not found:
        return DialResponse(Status.DIAL_REFUSED, "no address that we can dial")
    if not allow(ip):
        return DialResponse(Status.DIAL_REFUSED, "too many dials")
    return DialBack(tuple(dict.fromkeys(found)))


def _moved(address: Multiaddr, ip: IPAddress) -> Multiaddr | None:
    """`address` at another IP address; None if it begins with none of that version."""
    before = plain_ip(host_ip(address))
    if before is None or before.version != ip.version:
        return None
    components = parts(address)
    rest = next(at for at, (name, _) in enumerate(components, 1) if name in ("ip4", "ip6"))
    return join_parts(((f"ip{ip.version}", str(ip)), *components[rest:]))


def judge(message: Incoming) -> bool | None:
    """Whether a server says that we are reachable; None if it says nothing about it.

    Raises:
        ProtocolError: the message is no response.
    """
    if not isinstance(message, DialResponse):
        raise ProtocolError("an AutoNAT server answers with a request")
    return {Status.OK: True, Status.DIAL_ERROR: False}.get(message.status)
