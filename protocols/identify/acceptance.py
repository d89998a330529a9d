"""What of a peer's word is believed, and which of its addresses are worth keeping. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from carrick.addressing import Multiaddr, Reach, host_ip, ip_reach, reach, split_peer
from carrick.errors import AddressError, IdentityError, InvalidEnvelope, ProtocolError
from carrick.identity import PeerId, PeerRecord
from carrick.protocols.identify.messages import MAX_ADDRESSES, Info, decode_addresses

__all__ = ["Accepted", "KeyMismatch", "accept", "fitting"]

_log = logging.getLogger("carrick.identify")

_LOCAL = frozenset({Reach.PRIVATE, Reach.LINK_LOCAL, Reach.CGNAT})
# What of the addresses of a peer on the internet means the same where we are.
_FAR = frozenset({Reach.PUBLIC, Reach.NAME, Reach.RELAYED, Reach.OTHER})


class KeyMismatch(ProtocolError):
    """A peer shows a public key that is not the one it authenticated with."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where a peer may be found by its own word.

    Attributes:
        addresses: without `/p2p/`, at most 128.
        record: its sealed record, verified, if exactly these addresses are in it.
    """

    addresses: tuple[Multiaddr, ...]
    record: bytes | None


def accept(info: Info, peer: PeerId, remote_address: Multiaddr) -> Accepted:
    """Judge what `peer`, which we see at `remote_address`, says about itself.

    A record that does not verify is left aside and the listen addresses are taken, as in go, rust
    and js.

    Raises:
        KeyMismatch: it shows the key of another peer.
        ProtocolError: it sends the record of another peer.
    """
    if info.public_key is not None and info.public_key.peer_id != peer:
        raise KeyMismatch(f"identify with the public key of {info.public_key.peer_id}", peer=peer)
    record = _open(info.signed_record, peer)
    if record is None:
        return Accepted(fitting(info.listen_addresses, peer, remote_address), None)
    listed = decode_addresses(record.addresses)
    kept = fitting(listed, peer, remote_address)
    whole = len(kept) == len(listed) == len(record.addresses)
    return Accepted(kept, info.signed_record if whole else None)


def fitting(
    addresses: Iterable[Multiaddr], peer: PeerId, remote_address: Multiaddr
) -> tuple[Multiaddr, ...]:
    """Those of `addresses` that mean something here, without `/p2p/`.

    As go's `filterAddrs`: a peer on this host may list anything, one on our network no loopback
    addresses, one on the internet only addresses of the internet. Unspecified addresses, and
    those with the id of another peer, lead nowhere.
    """
    wanted = _wanted(remote_address)
    found: dict[Multiaddr, None] = {}
    for address in addresses:
        try:
            bare, named = split_peer(address)
            if bare.to_bytes() and named in (None, peer) and wanted(reach(bare)):
                found[bare] = None
        except (AddressError, IdentityError):
            continue
    return tuple(found)[:MAX_ADDRESSES]


def _open(sealed: bytes | None, peer: PeerId) -> PeerRecord | None:
    if sealed is None:
        return None
    try:
        record = PeerRecord.open(sealed)
    except InvalidEnvelope as error:
        _log.debug("a peer record of %s is left aside: %s", peer, error)
        return None
    if record.peer_id != peer:
        raise ProtocolError(f"identify with the peer record of {record.peer_id}", peer=peer)
    return record


def _wanted(remote_address: Multiaddr) -> Callable[[Reach], bool]:
    ip = host_ip(remote_address)  # of a relayed connection: the relay's
    place = reach(remote_address) if ip is None else ip_reach(ip)
    if place in _LOCAL:
        return lambda kind: kind not in (Reach.LOOPBACK, Reach.UNSPECIFIED)
    if place in (Reach.PUBLIC, Reach.RELAYED):
        return lambda kind: kind in _FAR
    return lambda kind: kind is not Reach.UNSPECIFIED
