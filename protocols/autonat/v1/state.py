"""What an AutoNAT v1 server dials, and what a client believes, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from carrick.addressing import IPAddress, Multiaddr, host_ip
from carrick.errors import ProtocolError
from carrick.identity import PeerId
from carrick.protocols.autonat.addresses import for_dial_back, plain_ip
from carrick.protocols.autonat.v1.messages import Dial, DialResponse, Incoming, Status

__all__ = ["DialBack", "answer", "judge"]


@dataclass(frozen=True, slots=True)
class DialBack:
    """Dial these, each at the IP address that we see the client at."""

    addresses: tuple[Multiaddr, ...]


def answer(
    message: Incoming,
    peer: PeerId,
    *,
    observed: IPAddress | None,
    can_dial: Callable[[Multiaddr], bool],
    allow: Callable[[IPAddress], bool],
    allow_private: bool = False,
) -> DialBack | DialResponse:
    """What to do for `peer`, or what to tell it at once.

    Args:
        observed: the IP address that we see it at; None over a relay.
        can_dial: whether a transport can dial an address.
        allow: whether the rates allow a dial of an IP address.

    Raises:
        ProtocolError: the message is no request.
    """
    if not isinstance(message, Dial):
        raise ProtocolError("an AutoNAT request of another kind")
    if message.peer and message.peer != peer.to_bytes():
        return DialResponse(Status.BAD_REQUEST, "that is another peer's id")
    ip = plain_ip(observed)
    found = [
        bare
        for bare in (
            for_dial_back(address, peer, allow_private=allow_private)
            for address in message.addresses
        )
        # RFC 3489, 12.1.1: nobody but the peer itself is dialled.
        if bare is not None and ip is not None and plain_ip(host_ip(bare)) == ip and can_dial(bare)
    ]
    if not found or ip is None:
        return DialResponse(Status.DIAL_REFUSED, "no address at the IP address that we see")
    if not allow(ip):
        return DialResponse(Status.DIAL_REFUSED, "too many dials")
    return DialBack(tuple(dict.fromkeys(found)))


def judge(message: Incoming) -> bool | None:
    """Whether a server says that we are reachable; None if it says nothing about it.

    Raises:
        ProtocolError: the message is no response.
    """
    if not isinstance(message, DialResponse):
        raise ProtocolError("an AutoNAT server answers with a request")
    return {Status.OK: True, Status.DIAL_ERROR: False}.get(message.status)
