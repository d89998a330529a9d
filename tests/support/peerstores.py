"""What the peerstore's tests share."""

from __future__ import annotations

from carrick.addressing import Multiaddr, parse_address
from carrick.identity import KeyType, PeerId, PeerRecord, PrivateKey


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


KEYS = [PrivateKey.generate(KeyType.ED25519) for _ in range(8)]
PEERS = [key.peer_id for key in KEYS]


def peer(number: int) -> PeerId:
    """A peer id that contains no key, the same for the same number."""
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


def address(number: int) -> Multiaddr:
    return parse_address(f"/ip4/192.0.{number // 256 % 256}.{number % 256}/tcp/4001")


def sealed(key: PrivateKey, sequence: int, *numbers: int) -> bytes:
    """A signed peer record with the addresses of these numbers."""
    addresses = tuple(address(number).to_bytes() for number in numbers)
    return PeerRecord(key.peer_id, sequence, addresses).seal(key)
