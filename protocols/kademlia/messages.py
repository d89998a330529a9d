"""Messages of the DHT. No I/O.

On the wire: protobuf, each message behind its length as a varint. Requests and answers have one
form. Source: libp2p/specs, kad-dht/README.md, "RPC messages".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from carrick.addressing import Multiaddr, address_from_bytes
from carrick.errors import IdentityError, InvalidAddress, ProtocolError
from carrick.identity import PeerId
from carrick.interfaces import Buffer
from carrick.protocols.kademlia.pb import kad_pb2 as pb
from carrick.wire import parse_message

__all__ = [
    "MAX_ANSWER",
    "MAX_MESSAGE",
    "MAX_PROVIDER_KEY",
    "MAX_REQUEST",
    "Message",
    "MessageType",
    "PeerInfo",
    "Reachable",
    "Record",
    "decode",
]

MAX_MESSAGE = 1 << 20  # bytes of an answer that are read; go reads 4 MiB, rust 16 KiB
MAX_REQUEST = 64 << 10  # bytes of a request: a peer may have begun one on each of its streams
MAX_ANSWER = 16 << 10  # bytes that everybody reads: rust's limit
MAX_PROVIDER_KEY = 80  # bytes (go-libp2p-kad-dht, handlers.go)
MAX_PEERS = 40  # of a kind in one message that are used: 2 k
MAX_ADDRESSES = 64  # of one peer that are used
MAX_ADDRESS = 512  # bytes of each: a relayed WebRTC one has about 200
_CACHES = 2048  # peers that are not taken apart, nor put together, once more
_CACHED = 1024  # bytes of a peer that is remembered so


class MessageType(enum.IntEnum):
    """What is asked. The answer has the type of its request."""

    PUT_VALUE = 0
    GET_VALUE = 1
    ADD_PROVIDER = 2
    GET_PROVIDERS = 3
    FIND_NODE = 4
    PING = 5


class Reachable(enum.IntEnum):
    """What the sender of a message knows about reaching a peer."""

    NOT_CONNECTED = 0
    CONNECTED = 1
    CAN_CONNECT = 2
    CANNOT_CONNECT = 3


class PeerInfo(NamedTuple):
    """A peer, and where it is said to be. There are many: a tuple is made in half the time.

    Attributes:
        encoded: its addresses as multiaddr bytes, as they came.
        connection: a number of `Reachable`, or one that nobody has defined.
    """

    id: PeerId
    encoded: tuple[bytes, ...] = ()
    connection: int = 0

    @classmethod
    def of(
        cls,
        id: PeerId,
        addresses: Iterable[Multiaddr],
        connection: Reachable = Reachable.NOT_CONNECTED,
    ) -> PeerInfo:
        return cls(id, tuple(each.to_bytes() for each in addresses), connection)

    @property
    def addresses(self) -> list[Multiaddr]:
        """Those of its addresses that are valid."""
        found: list[Multiaddr] = []
        for encoded in self.encoded:
            try:
                found.append(address_from_bytes(encoded))
            except InvalidAddress:
                continue
        return found


@dataclass(frozen=True, slots=True)
class Record:
    """A value in the DHT.

    Attributes:
        received: when whoever sent it had received it; None if it does not say.
    """

    key: bytes
    value: bytes
    received: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer.

    Attributes:
        key: a record's key, a multihash, or a peer id's bytes.
        closer: peers that are closer to the key.
        providers: peers that provide what the key names.
    """

    type: MessageType
    key: bytes = b""
    record: Record | None = None
    closer: tuple[PeerInfo, ...] = ()
    providers: tuple[PeerInfo, ...] = ()

    def fitting(self, limit: int = MAX_ANSWER) -> Message:
        """The same in at most `limit` bytes: first with fewer addresses of each peer, then without
        the last of the peers. A record stays; one that does not fit alone takes no peer's room."""
        record = 0 if self.record is None else len(self.key) + len(self.record.value) + 64
        room = limit - len(self.key) - 16
        room = room - record if record < room else room
        closer = _fit(self.closer, room // 2 if self.providers else room)
        providers = _fit(self.providers, room - sum(map(_size, closer)))
        return replace(self, closer=closer, providers=providers)

    def encode(self) -> bytes:
        message = pb.Message(type=self.type, key=self.key)
        if (record := self.record) is not None:
            message.record.key, message.record.value = record.key, record.value
            if record.received is not None:
                message.record.timeReceived = _rfc3339(record.received)
        message.closerPeers.extend(map(_encode_peer, self.closer))
        message.providerPeers.extend(map(_encode_peer, self.providers))
        return message.SerializeToString()


def _size(peer: PeerInfo) -> int:
    """At most so many bytes of a message."""
    return 16 + len(peer.id.to_bytes()) + sum(len(each) + 3 for each in peer.encoded)


def _fit(peers: tuple[PeerInfo, ...], room: int) -> tuple[PeerInfo, ...]:
    sizes = [_size(each) for each in peers]
    most = max((len(each.encoded) for each in peers), default=0)
    while sum(sizes) > room and most > 1:
        most = (most + 1) // 2
        peers = tuple(each._replace(encoded=each.encoded[:most]) for each in peers)
        sizes = [_size(each) for each in peers]
    while peers and sum(sizes) > room:
        peers = peers[:-1]
        del sizes[-1]
    return peers


def decode(data: Buffer) -> Message:
    """
    Peers whose id is no peer id are left out, and so is what is beyond `MAX_PEERS` peers of a
    kind, `MAX_ADDRESSES` addresses of one, and an address longer than `MAX_ADDRESS`.

    Raises:
        ProtocolError: malformed, of no known type, or a record for another key than the message's.
    """
    message = parse_message(pb.Message, data)
    try:
        type = MessageType(message.type)
    except ValueError:
        raise ProtocolError(f"a DHT message of type {message.type}") from None
    record = None
    if message.HasField("record"):
        record = Record(
            message.record.key, message.record.value, _datetime(message.record.timeReceived)
        )
        if message.key and record.key != message.key:  # rust's answers have no key
            raise ProtocolError("a DHT record for another key than the message's")
    return Message(
        type, message.key, record, _peers(message.closerPeers), _peers(message.providerPeers)
    )


def _peers(peers: Iterable[bytes]) -> tuple[PeerInfo, ...]:
    found: list[PeerInfo] = []
    for encoded in peers:
        peer = _known_peer(encoded) if len(encoded) <= _CACHED else _decode_peer(encoded)
        if peer is not None:
            found.append(peer)
            if len(found) >= MAX_PEERS:
                break
    return tuple(found)


def _decode_peer(encoded: bytes) -> PeerInfo | None:
    """None: its id is none."""
    peer = parse_message(pb.Peer, encoded)
    try:
        id = _peer_id(peer.id)
    except IdentityError:
        return None
    addresses = (each for each in peer.addrs[:MAX_ADDRESSES] if len(each) <= MAX_ADDRESS)
    return PeerInfo(id, tuple(addresses), peer.connection)


_known_peer = lru_cache(_CACHES)(_decode_peer)


@lru_cache(_CACHES)
def _encode_peer(peer: PeerInfo) -> bytes:
    encoded: bytes = pb.Peer(
        id=peer.id.to_bytes(), addrs=peer.encoded, connection=peer.connection
    ).SerializeToString()
    return encoded


@lru_cache(65536)
def _peer_id(encoded: bytes) -> PeerId:
    """One object for all mentions of a peer: comparing it with itself costs nothing."""
    return PeerId(encoded)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _datetime(text: str) -> datetime | None:
    """None for what is no RFC 3339 time: nothing hangs on it."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
