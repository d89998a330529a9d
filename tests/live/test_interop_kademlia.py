"""The DHT with go, rust and js: they serve Carrick, and Carrick serves them."""

from __future__ import annotations

import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from carrick import Host, HostBuilder, PeerId, PrivateKey
from carrick.addressing import parse_address
from carrick.identity import KeyType
from carrick.protocols.kademlia import (
    WAN,
    IpnsRecord,
    Kademlia,
    KademliaOptions,
    Message,
    MessageType,
    Mode,
    NotFound,
    NothingStored,
    ipns_key,
)
from carrick.protocols.kademlia.keyspace import key_of, peer_key
from carrick.protocols.kademlia.messages import MAX_ANSWER, decode
from interop.peers.driven import Driven, Refused, driven, unavailable
from tests.support.waiting import until
from tests.support.work import count_calls

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
CONTENT = b"\x12\x20" + bytes(range(32))  # a multihash
PEERS = ("go", "rust", "js")


@pytest.fixture(params=PEERS)
def name(request: pytest.FixtureRequest) -> str:
    library: str = request.param
    need(library)
    return library


def need(*libraries: str) -> None:
    if (missing := unavailable(*libraries)) is not None:
        warnings.warn(f"NO DHT TEST WITH {', '.join(libraries)}: {missing}", stacklevel=1)
        pytest.skip(missing)


# --- who plays ------------------------------------------------------------------------------------


@asynccontextmanager
async def node(*bootstrap: str, mode: Mode = Mode.SERVER) -> AsyncIterator[Host]:
    """Carrick; connected with these if there are any, and they are in its table."""
    options = KademliaOptions.local(mode=mode, bootstrap=[parse_address(a) for a in bootstrap])
    builder = HostBuilder().transports("tcp").security("noise").listen(LOOPBACK)
    async with builder.services(Kademlia(options)).open() as host:
        await knows(host, [PeerId.parse(address.rpartition("/")[2]) for address in bootstrap])
        yield host


@asynccontextmanager
async def theirs(name: str, *bootstrap: Host | Driven, part: str = "dht") -> AsyncIterator[Driven]:
    """A peer; connected with these, and they are in its table."""
    async with driven(name, part) as peer:
        for other in bootstrap:
            await peer.ask("connect", address=where(other))
            await peer.ask("known", peer=str(other.id))
        yield peer


def where(node: Host | Driven) -> str:
    return node.address if isinstance(node, Driven) else str(node.addresses[0])


def dht(host: Host) -> Kademlia:
    return host.service(Kademlia)


async def knows(host: Host, peers: Iterable[PeerId]) -> None:
    """Wait until they are in the table. It tells nobody."""
    table = dht(host).networks[0].dht.table
    await until(lambda: all(peer in table for peer in peers), within=20)


async def told(ask: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What a peer says, when it is enough: an ADD_PROVIDER has no answer to wait for."""

    async def look() -> tuple[Any] | None:
        with suppress(Refused, NotFound):
            if enough(said := await ask()):
                return (said,)
        return None

    (said,) = await until(look, within=20, every=0.05)
    return said


# --- values, and who provides what ----------------------------------------------------------------


async def test_they_provide_and_carrick_finds(name: str) -> None:
    async with node() as server, node(where(server)) as seeker, theirs(name, server) as peer:
        await knows(server, [PeerId.parse(peer.id)])
        await peer.ask("provide", key=CONTENT.hex())
        (found,) = await told(lambda: dht(seeker).find_providers(CONTENT), bool)
        assert str(found.id) == peer.id
        assert str(peer.address).startswith(tuple(str(each) for each in found.addresses))
        assert (await seeker.connect(found.id)).peer_id == found.id


async def test_carrick_provides_and_they_find(name: str) -> None:
    """Of their server, which Carrick told."""
    async with theirs(name) as server, node(server.address) as provider:
        assert await dht(provider).provide(CONTENT) == 1
        async with theirs(name, server) as seeker, node(server.address, mode=Mode.CLIENT) as other:
            (found,) = await told(lambda: seeker.ask("find_providers", key=CONTENT.hex()), bool)
            assert found["id"] == str(provider.id)
            if name != "rust":  # which tells none
                assert str(provider.addresses[0]).startswith(found["addresses"][0])
            (seen,) = await dht(other).find_providers(CONTENT)
            assert seen.id == provider.id and seen.addresses


async def test_they_take_many_keys_from_one_stream(name: str) -> None:
    keys = [b"\x12\x20" + number.to_bytes(32, "big") for number in range(300)]
    async with theirs(name) as server, node(server.address) as provider:
        messenger = dht(provider).networks[0].messenger
        with count_calls(type(messenger), "tell") as streams:
            assert await dht(provider).provide_many(keys) == dict.fromkeys(keys, 1)
        assert len(streams) == 2
        async with node(server.address, mode=Mode.CLIENT) as other:
            for key in keys:
                search = partial(dht(other).find_providers, key)
                (seen,) = await told(search, bool)
                assert seen.id == provider.id


def public_key() -> tuple[bytes, bytes]:
    """Of a type that no peer id contains; those of ECDSA js cannot read."""
    key = PrivateKey.generate(KeyType.RSA).public_key
    return b"/pk/" + key.peer_id.to_bytes(), key.to_protobuf()


def ipns(sequence: int = 1, key: PrivateKey | None = None) -> tuple[bytes, bytes]:
    key = key or PrivateKey.generate()
    record = IpnsRecord.create(key, "/ipfs/bafkqaaa", now=time.time(), sequence=sequence)
    return ipns_key(key.peer_id), record.encoded


@pytest.mark.parametrize("made", [public_key, ipns])
async def test_values_both_ways(name: str, made: Callable[[], tuple[bytes, bytes]]) -> None:
    async with theirs(name) as server, node(server.address) as carrick:
        # Carrick puts, at their server; somebody else of either kind gets.
        key, value = made()
        assert await dht(carrick).put_value(key, value) == 1
        async with node(server.address, mode=Mode.CLIENT) as other:
            assert await dht(other).get_value(key) == value
        async with theirs(name, server) as another:
            assert await another.ask("get", key=key.hex()) == value.hex()
            # They put, and Carrick has it as the nearest there are.
            key, value = made()
            await another.ask("put", key=key.hex(), value=value.hex())
            assert await dht(carrick).get_value(key) == value


async def test_carrick_keeps_what_they_put(name: str) -> None:
    async with node() as server, theirs(name, server) as peer:
        for made in (public_key, ipns):
            key, value = made()
            await peer.ask("put", key=key.hex(), value=value.hex())
            kept = dht(server).networks[0].dht.records.get(key, time.time())
            assert kept is not None and kept.value == value
        async with theirs(name, server) as other:
            assert await other.ask("get", key=key.hex()) == value.hex()


@pytest.mark.parametrize("name", ["go", "js"])
async def test_the_newest_ipns_record_counts(name: str) -> None:
    need(name)
    key = PrivateKey.generate()
    (at, old), (_, new) = ipns(1, key), ipns(2, key)
    async with theirs(name) as server, node(server.address) as carrick:
        await dht(carrick).put_value(at, new)
        async with node(server.address, mode=Mode.CLIENT) as other:
            assert await dht(other).put_value(at, new) == 2
            assert await dht(other).get_value(at) == new
        async with node(server.address) as late:
            # Nobody takes the old one but js, and all the same the new one is found.
            if name == "go":
                with pytest.raises(NothingStored):
                    await dht(late).put_value(at, old, republish=False)
            assert await dht(late).get_value(at, quorum=0) == new


async def test_what_is_not_valid_is_refused_by_carrick(name: str) -> None:
    """rust checks nothing itself: only Carrick can refuse."""
    key, _ = public_key()
    async with node() as server, theirs(name, server) as peer:
        with suppress(Refused):  # js says nothing
            await peer.ask("put", key=key.hex(), value=b"no key".hex())
        assert not list(dht(server).networks[0].dht.records.keys())


# --- peers ----------------------------------------------------------------------------------------


async def test_all_agree_about_the_closest(name: str) -> None:
    """Six nodes, half of them Carrick; each is asked by way of the first."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(node())
        carricks = [first]
        peers = []
        for _ in range(2):
            carricks.append(await stack.enter_async_context(node(where(first))))
        for _ in range(3):
            peers.append(await stack.enter_async_context(theirs(name, first)))
        ids = [each.id for each in carricks] + [PeerId.parse(each.id) for each in peers]
        await knows(first, set(ids) - {first.id})
        for number in range(3):
            key = CONTENT[:-1] + bytes([number])
            nearest = sorted(ids, key=lambda id: peer_key(id) ^ key_of(key))
            for host in carricks:
                found = await dht(host).closest_peers(key)
                assert [each.id for each in found.closest] == [i for i in nearest if i != host.id]
            for peer in peers:
                said = await peer.ask("closest", key=key.hex())
                expected = [str(id) for id in nearest if str(id) != peer.id]
                if name == "js":  # which passes by who is farther than the one that told of it
                    told_by_first = expected[: expected.index(str(first.id)) + 1]
                    assert set(told_by_first) <= set(said) <= set(expected)
                else:
                    assert said == expected


async def test_finding_a_peer_feeds_connect(name: str) -> None:
    """Carrick knows their server alone, and reaches who is connected with that."""
    async with theirs(name) as server, theirs(name, server) as behind:
        await server.ask("known", peer=behind.id)
        async with node(server.address) as seeker:
            connection = await seeker.connect(PeerId.parse(behind.id))
            assert str(connection.peer_id) == behind.id


async def test_they_find_who_is_connected_with_carrick(name: str) -> None:
    async with node() as server, node(where(server)) as behind, theirs(name, server) as seeker:
        await knows(server, [behind.id])
        found = await seeker.ask("find_peer", peer=str(behind.id))
        (address,) = [each for each in found["addresses"] if "127.0.0.1" in each]
        bare = address.partition("/p2p/")[0]
        (made, *_) = await seeker.ask("connect", address=f"{bare}/p2p/{behind.id}")
        assert not made["relayed"]


# --- servers and clients --------------------------------------------------------------------------


async def test_clients_are_in_no_table(name: str) -> None:
    async with theirs(name) as server, node(server.address, mode=Mode.CLIENT) as client:
        await dht(client).closest_peers(CONTENT)
        await dht(client).provide(CONTENT)
        assert await server.ask("table") == []
        # One that serves is.
        async with node(server.address) as other:
            await server.ask("known", peer=str(other.id))
            assert await server.ask("table") == [str(other.id)]

    async with node() as host, theirs(name, host, part="dht-client") as client_of_theirs:
        await client_of_theirs.ask("closest", key=CONTENT.hex())
        await client_of_theirs.ask("provide", key=CONTENT.hex())
        assert len(dht(host).networks[0].dht.table) == 0
        async with theirs(name, host) as peer:
            await knows(host, [PeerId.parse(peer.id)])
            assert len(dht(host).networks[0].dht.table) == 1


# --- streams --------------------------------------------------------------------------------------


async def test_several_requests_on_one_stream(name: str) -> None:
    async with theirs(name) as server, node(server.address) as carrick:
        stream = await carrick.open_stream(PeerId.parse(server.id), WAN.protocol)
        async with stream:
            key, value = public_key()
            await dht(carrick).put_value(key, value)
            for type in (MessageType.FIND_NODE, MessageType.GET_PROVIDERS, MessageType.GET_VALUE):
                asked = key if type is MessageType.GET_VALUE else CONTENT
                await stream.write_frame(Message(type, asked).encode())
                with trio.fail_after(10):
                    answer = decode(await stream.read_frame(1 << 20))
                assert answer.type is type
                assert (answer.record is not None) is (type is MessageType.GET_VALUE)


async def test_rust_reads_the_largest_answers() -> None:
    """It reads 16 KiB: Carrick leaves addresses out, and the last of the peers."""
    need("rust")
    async with node() as server, theirs("rust", server) as peer:
        network = dht(server).networks[0]
        await knows(server, [PeerId.parse(peer.id)])
        ids = [PrivateKey.generate().peer_id for _ in range(30)]
        for id in ids:
            network.dht.table.answered(id, (), trio.current_time())
            server.peerstore.add_addresses(id, [long_address(n) for n in range(16)], 600.0)
        async with (
            node(where(server), mode=Mode.CLIENT) as client,
            await client.open_stream(server.id, WAN.protocol) as stream,
        ):
            await stream.write_frame(Message(MessageType.FIND_NODE, CONTENT).encode())
            frame = await stream.read_frame(1 << 20)
        assert MAX_ANSWER * 3 // 4 < len(frame) <= MAX_ANSWER
        assert len(decode(frame).closer) == 20
        # It goes on to ask those, who are not there; the server itself has answered.
        with pytest.raises(Refused):
            await peer.ask("find_peer", peer=str(PrivateKey.generate().peer_id))


def long_address(number: int) -> Any:
    hash = "uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ"
    return parse_address(
        f"/ip4/127.1.{number}.1/udp/{4000 + number}/quic-v1/webtransport"
        f"/certhash/{hash}/certhash/{hash}"
    )
