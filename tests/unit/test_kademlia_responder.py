"""What a server of the DHT answers."""

from __future__ import annotations

import pytest

from carrick.addressing import parse_address
from carrick.errors import ProtocolError
from carrick.identity import PeerId, PrivateKey
from carrick.protocols.kademlia import (
    InvalidRecord,
    IpnsRecord,
    IpnsValidator,
    MemoryProviders,
    MemoryRecords,
    Message,
    MessageType,
    PeerInfo,
    PublicKeyValidator,
    Record,
    Validators,
    ipns_key,
)
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.kademlia.responder import Responder
from carrick.protocols.kademlia.table import RoutingTable

NOW = 1_800_000_000.0
KEY = b"\x12\x20" + bytes(32)


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


def info(peer_id: PeerId) -> PeerInfo:
    return PeerInfo.of(peer_id, [parse_address("/ip4/192.0.2.1/tcp/1")])


class Server:
    """A responder that knows some peers."""

    def __init__(self, count: int = 60) -> None:
        self.own = peer(1000)
        self.table = RoutingTable(peer_key(self.own), max_per_group=None)
        self.records, self.providers = MemoryRecords(), MemoryProviders()
        self.described = {peer(number): info(peer(number)) for number in range(count)}
        self.described[self.own] = info(self.own)
        validators = Validators({"pk": PublicKeyValidator(), "ipns": IpnsValidator()})
        self.responder = Responder(
            self.own, self.table, self.records, self.providers, validators, self.describe
        )
        for each in self.described:
            self.table.answered(each, (), 0.0)

    def describe(self, peer_id: PeerId) -> PeerInfo:
        return self.described.get(peer_id, PeerInfo(peer_id))

    def ask(self, type: MessageType, key: bytes = b"", **more: object) -> Message:
        answer = self.responder.answer(peer(5), Message(type, key, **more), NOW)  # type: ignore[arg-type]
        assert answer is not None and answer.type is type
        return answer


def test_find_node_names_the_k_nearest_but_the_asker() -> None:
    server = Server()
    answer = server.ask(MessageType.FIND_NODE, peer(3).to_bytes())
    assert answer.closer[0].id == peer(3)
    assert len(answer.closer) == 20
    assert peer(5) not in [each.id for each in answer.closer]
    assert all(each.encoded for each in answer.closer)


def test_find_node_names_a_peer_that_is_no_server() -> None:
    """Clients are in no table, and yet are found through those that they are connected to."""
    server = Server()
    client = peer(2000)
    server.described[client] = info(client)
    assert server.ask(MessageType.FIND_NODE, client.to_bytes()).closer[0] == info(client)
    assert len(server.ask(MessageType.FIND_NODE, peer(3000).to_bytes()).closer) == 20
    ours = server.ask(MessageType.FIND_NODE, server.own.to_bytes())
    assert ours.closer[0] == info(server.own)


def test_peers_without_addresses_are_not_named() -> None:
    server = Server(10)
    server.described[peer(2)] = PeerInfo(peer(2))
    named = [each.id for each in server.ask(MessageType.FIND_NODE, KEY).closer]
    assert peer(2) not in named and len(named) == 8


def test_put_and_get() -> None:
    server, key = Server(), PrivateKey.generate()
    pk, value = b"/pk/" + key.peer_id.to_bytes(), key.public_key.to_protobuf()
    assert server.ask(MessageType.GET_VALUE, pk).record is None
    stored = server.ask(MessageType.PUT_VALUE, pk, record=Record(pk, value))
    assert stored.record is not None and stored.record.value == value
    assert not stored.closer
    found = server.ask(MessageType.GET_VALUE, pk)
    assert found.record is not None and found.record.value == value
    assert found.record.received is not None and found.record.received.timestamp() == NOW
    assert len(found.closer) == 20


def test_an_older_record_takes_no_place() -> None:
    server, key = Server(), PrivateKey.generate()
    name = ipns_key(key.peer_id)
    old, new = (
        IpnsRecord.create(key, "/ipfs/x", now=NOW, sequence=n, lifetime=60).encoded for n in (1, 2)
    )
    server.ask(MessageType.PUT_VALUE, name, record=Record(name, new))
    with pytest.raises(InvalidRecord, match="older"):
        server.ask(MessageType.PUT_VALUE, name, record=Record(name, old))
    # What has expired is forgotten when it is asked for, and then the way is free.
    late = Message(MessageType.GET_VALUE, name)
    answer = server.responder.answer(peer(5), late, NOW + 61)
    assert answer is not None and answer.record is None
    assert not list(server.records.keys())


def test_providers() -> None:
    server = Server()
    add = Message(MessageType.ADD_PROVIDER, KEY, providers=(info(peer(9)), info(peer(5))))
    assert server.responder.answer(peer(5), add, NOW) is None
    answer = server.ask(MessageType.GET_PROVIDERS, KEY)
    assert answer.providers == (info(peer(5)),)  # nobody is put down by others
    assert len(answer.closer) == 20
    with pytest.raises(ProtocolError, match="does not name its sender"):
        server.responder.answer(peer(7), add, NOW)


def test_what_is_kept_of_a_providers_addresses_is_bounded() -> None:
    server = Server()
    long = [parse_address(f"/dns4/{'a' * 60}.{'b' * 60}.{n}/tcp/1").to_bytes() for n in range(40)]
    told = PeerInfo(peer(5), tuple(long))
    server.responder.answer(peer(5), Message(MessageType.ADD_PROVIDER, KEY, providers=(told,)), NOW)
    (kept,) = server.providers.get(KEY, NOW)
    assert 1800 < sum(map(len, kept.encoded)) <= 2048


def test_only_valid_addresses_of_a_provider_are_kept() -> None:
    server = Server()
    good = parse_address("/ip4/192.0.2.1/tcp/1").to_bytes()
    many = [b"\xff\xff", *[good[:-2] + n.to_bytes(2, "big") for n in range(60)]]
    mixed = PeerInfo(peer(5), tuple(many))
    server.responder.answer(
        peer(5), Message(MessageType.ADD_PROVIDER, KEY, providers=(mixed,)), NOW
    )
    (kept,) = server.providers.get(KEY, NOW)
    assert len(kept.encoded) == 16 and b"\xff\xff" not in kept.encoded
    with pytest.raises(ProtocolError):
        none = PeerInfo(peer(5), (b"\xff\xff",))
        server.responder.answer(
            peer(5), Message(MessageType.ADD_PROVIDER, KEY, providers=(none,)), NOW
        )


@pytest.mark.parametrize(
    "request_",
    [
        Message(MessageType.PUT_VALUE, b"/pk/x"),
        Message(MessageType.PUT_VALUE, b"/no/x", Record(b"/no/x", b"")),
        Message(MessageType.PUT_VALUE, b"x", Record(b"x", b"")),
        Message(MessageType.GET_VALUE),
        Message(MessageType.GET_PROVIDERS),
        Message(MessageType.GET_PROVIDERS, bytes(81)),
        Message(MessageType.ADD_PROVIDER, bytes(81), providers=(info(peer(5)),)),
        Message(MessageType.ADD_PROVIDER, KEY),
    ],
)
def test_requests_that_are_refused(request_: Message) -> None:
    server = Server()
    with pytest.raises(ProtocolError):
        server.responder.answer(peer(5), request_, NOW)
    assert not list(server.records.keys()) and not len(server.providers)


def test_a_ping_is_answered_without_what_came_with_it() -> None:
    answer = Server().ask(MessageType.PING, b"key", closer=(info(peer(1)),))
    assert answer == Message(MessageType.PING)
