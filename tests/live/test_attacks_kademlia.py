"""Attacks on the DHT: rows 39 to 43, 71 and 74 of the list.

Rows 72 and 73, and more of 71, are in `tests/sim/test_kademlia_eclipse.py`. Counts are scaled down
where the bound is reached earlier. Floods and stalls run in virtual time, over memory transports,
where they are about time; memory is measured at `carrick listen` in a process of its own.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
import trio
from trio.testing import MockClock

from carrick import Host, HostBuilder, PeerId, PrivateKey, Stream
from carrick.addressing import Multiaddr, parse_address
from carrick.errors import CarrickError, StreamReset
from carrick.network.codes import StreamCode
from carrick.protocols.kademlia import (
    WAN,
    Dht,
    IpnsRecord,
    Kademlia,
    KademliaOptions,
    Message,
    MessageType,
    Mode,
    NothingStored,
    PeerInfo,
    Record,
    ipns_key,
)
from carrick.protocols.kademlia.limiting import BURST, RATE
from carrick.protocols.kademlia.messages import MAX_MESSAGE, MAX_PEERS, MAX_REQUEST, decode
from carrick.protocols.kademlia.pb import kad_pb2 as pb
from carrick.protocols.ping import Ping
from carrick.transports.muxers.yamux.frame import INITIAL_WINDOW, RST, WINDOW_UPDATE
from carrick.wire import encode_frame, encode_varint
from tests.support.attacker import Frames, data, opening
from tests.support.processes import listening_node
from tests.support.siege import Siege, besieged

KAD = WAN.protocol
ADDRESS = parse_address("/ip4/192.0.2.1/tcp/1")
NOW = 1_800_000_000.0
KEY = b"\x12\x20" + bytes(32)


class Anything:
    """Takes every value."""

    def validate(self, key: bytes, value: bytes, now: float) -> None:
        """It is valid."""

    def select(self, key: bytes, values: Sequence[bytes]) -> int:
        return 0


def server() -> Kademlia:
    options = KademliaOptions.local(
        mode=Mode.SERVER,
        clock=lambda: NOW,
        validators=dict(KademliaOptions().validators) | {"any": Anything()},
    )
    return Kademlia(options)


def node() -> HostBuilder:
    return HostBuilder().services(server())


def dht(host: Host) -> Dht:
    return host.service(Kademlia).networks[0].dht


def peer(number: int) -> PeerId:
    return PeerId(b"\x12\x20" + number.to_bytes(32, "big"))


@asynccontextmanager
async def attacker(address: Multiaddr, transport: str = "tcp") -> AsyncIterator[Host]:
    async with HostBuilder().transports(transport).open() as host:
        await host.connect(address)
        yield host


async def answer_to(host: Host, target: PeerId, request: bytes) -> bytes | StreamCode:
    """What comes to these bytes: an answer, b"" for the end of the stream, or its reset."""
    stream = await host.open_stream(target, KAD)
    try:
        with trio.fail_after(5):
            await stream.send_all(request)
            await stream.send_eof()
            return await stream.receive_some()
    except StreamReset as error:
        return StreamCode(error.code or 0)
    except (trio.BrokenResourceError, CarrickError):
        return StreamCode.NO_ERROR
    finally:
        stream.reset()


def refused(answer: bytes | StreamCode) -> bool:
    return isinstance(answer, StreamCode)


async def test_messages_that_are_too_large() -> None:
    """Row 39: kad_oversized: reset at the prefix, and a true message of that size as well."""
    async with besieged(node=node()) as siege, attacker(siege.address) as host:
        for prefix in (
            encode_varint((4 << 20) + 1),
            encode_varint(MAX_REQUEST + 1),
            encode_varint(1 << 31),
            encode_varint(1 << 62),
            b"\xff" * 20,
            encode_frame(bytes(4 << 20)),
        ):
            assert refused(await answer_to(host, siege.node.id, prefix))
        await served(siege, host)


async def served(siege: Siege, host: Host) -> None:
    """The stream that misbehaved is gone, and no more than that."""
    await host.service(Ping).ping_once(host.connections[0])
    good = encode_frame(Message(MessageType.FIND_NODE, KEY).encode())
    assert not refused(await answer_to(host, siege.node.id, good))


async def test_a_flood_of_providers(autojump_clock: MockClock) -> None:
    """Row 40: kad_provider_flood: slowed down, but not refused where it is one stream's."""
    count = 8000
    async with (
        node().transports("memory").listen("/memory/0").open() as target,
        attacker(target.addresses[0], "memory") as host,
    ):
        us = PeerInfo.of(host.id, [ADDRESS])
        started = trio.current_time()
        stream = await host.open_stream(target.id, KAD)
        for number in range(count):
            key = b"\x12\x20" + number.to_bytes(32, "big")
            message = Message(MessageType.ADD_PROVIDER, key, providers=(us,))
            await stream.write_frame(message.encode())
        await stream.send_eof()
        await stream.receive_some(1)  # the node has read it all
        took = trio.current_time() - started
        assert took >= (count - BURST) / RATE - 1
        assert len(dht(target).providers) == count  # type: ignore[arg-type]


async def test_two_streams_of_a_peer_need_not_wait_for_answers(autojump_clock: MockClock) -> None:
    """Rows 40 and 42: each further one would fill a window."""
    requests = encode_frame(Message(MessageType.FIND_NODE, KEY).encode()) * 2500
    async with (
        node().transports("memory").listen("/memory/0").open() as target,
        attacker(target.addresses[0], "memory") as host,
    ):
        streams = [await host.open_stream(target.id, KAD) for _ in range(6)]
        for stream in streams:
            await stream.send_all(requests)
        await trio.sleep(1)
        alive = target.swarm.connection(host.id).streams  # type: ignore[union-attr]
        assert len(alive) == 2
        for stream in streams:
            stream.reset()
        await trio.sleep(1)
        assert not refused(await answer_to(host, target.id, requests[: len(requests) // 2500]))


PROVIDER_KEY = b"\x12\x20" + bytes(32)


def adding_providers(who: PeerId, rng: random.Random, room: int) -> bytes:
    """As many ADD_PROVIDERs as there is room for, each of a key of its own."""
    message = Message(
        MessageType.ADD_PROVIDER, PROVIDER_KEY, providers=(PeerInfo.of(who, [ADDRESS]),)
    )
    before, after = encode_frame(message.encode()).split(PROVIDER_KEY)
    count = room // (len(before) + len(PROVIDER_KEY) + len(after))
    return b"".join(before + rng.randbytes(34) + after for _ in range(count))


def asking(who: PeerId, rng: random.Random, room: int) -> bytes:
    request = encode_frame(Message(MessageType.FIND_NODE, rng.randbytes(32)).encode())
    return request * (room // len(request))


async def flood(
    address: Multiaddr, streams: int, requests: Callable[[PeerId, random.Random, int], bytes]
) -> None:
    """One connection: each stream's window is filled with requests, again and again; another takes
    the place of one that was reset. Answers are never credited."""
    key, rng = PrivateKey.generate(), random.Random(1)
    frames = await Frames.open(address, key=key)
    room: dict[int, int] = {}
    for number in range(streams):
        room[2 * number + 1] = INITIAL_WINDOW
        await frames.send(opening(2 * number + 1, KAD))
    following = 2 * streams + 1
    while True:
        for number in list(room):
            piece = requests(key.peer_id, rng, min(room[number] - 100, 1 << 15))
            if piece:
                room[number] -= len(piece)
                await frames.send(data(number, piece))
        frame = await frames.next()
        if frame is None:
            return
        if frame.kind == WINDOW_UPDATE and frame.stream in room:
            room[frame.stream] += frame.length
        if frame.flags & RST and room.pop(frame.stream, None) is not None:
            room[following] = INITIAL_WINDOW
            await frames.send(opening(following, KAD))
            following += 2


@pytest.mark.parametrize(
    ("streams", "requests"), [(8, adding_providers), (50, asking)], ids=["row 40", "row 42"]
)
async def test_floods_of_twenty_connections_cost_little_memory(
    streams: int,
    requests: Callable[[PeerId, random.Random, int], bytes],
    record_property: Callable[[str, Any], None],
) -> None:
    """Rows 40 and 42, with as many connections and streams as they name, for six seconds."""
    async with listening_node("--dht") as target, HostBuilder().transports("tcp").open() as healthy:
        process = psutil.Process(target.pid)
        connection = await healthy.connect(target.address)
        find = encode_frame(Message(MessageType.FIND_NODE, KEY).encode())

        async def honest() -> None:
            with trio.fail_after(10):  # most of that is due to the attackers in our own process
                await healthy.service(Ping).ping_once(connection)
            assert not refused(await answer_to(healthy, connection.peer_id, find))

        for _ in range(10):
            await honest()
        before = peak = process.memory_info().rss
        served = 0
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(flood, target.address, streams, requests)
            ends = trio.current_time() + 6
            while trio.current_time() < ends:
                await honest()
                served += 1
                peak = max(peak, process.memory_info().rss)
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        await honest()
        cost = (max(peak, process.memory_info().rss) - before) / (1 << 20)
        record_property("mebibytes", cost)
        print(f"+{cost:.0f} MiB, {served} honest requests")
    assert cost < 48


async def test_a_flood_of_values() -> None:
    """Row 41: kad_put_flood: what no validator is in charge of is refused, and nothing is kept."""
    async with besieged(node=node()) as siege, attacker(siege.address) as host:
        for number in range(100):
            for key in (b"no namespace %d" % number, b"/nobody/%d" % number, b"/pk/%d" % number):
                record = Record(key, bytes(8192))
                request = encode_frame(Message(MessageType.PUT_VALUE, key, record).encode())
                assert refused(await answer_to(host, siege.node.id, request))
        assert not list(dht(siege.node).records.keys())
        await served(siege, host)


async def test_answers_that_nobody_reads(autojump_clock: MockClock) -> None:
    """Row 42: kad_find_noread: a stream whose answers are not taken is reset, others are served."""
    async with (
        node().transports("memory").listen("/memory/0").open() as target,
        attacker(target.addresses[0], "memory") as host,
        attacker(target.addresses[0], "memory") as other,
    ):
        key = b"/any/large"
        dht(target).records.put(key, bytes(60_000), NOW)
        request = encode_frame(Message(MessageType.GET_VALUE, key).encode())

        async def ask_without_end(stream: Stream) -> None:
            with pytest.raises((StreamReset, trio.BrokenResourceError)):
                while True:
                    await stream.send_all(request)
                    await trio.sleep(0.01)

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(ask_without_end, await host.open_stream(target.id, KAD))
                for _ in range(20):
                    await trio.sleep(1)
                    answer = await answer_to(other, target.id, request)
                    assert isinstance(answer, bytes) and len(answer) > 0
        assert not target.swarm.connection(host.id).streams  # type: ignore[union-attr]


def nested(depth: int) -> bytes:
    """Groups within each other, as an unknown field."""
    return b"\x7b" * depth + b"\x7c" * depth


async def test_garbage() -> None:
    """Row 43: kad_garbage: the stream is reset or ends, and the table is as before."""
    find = Message(MessageType.FIND_NODE, KEY)
    bad_peers = pb.Message(type=4, key=KEY)
    for encoded in (b"", b"\xff" * 40, bytes(200)):
        bad = pb.Peer(id=encoded, addrs=[b"\xff\xff", bytes(1000)])
        bad_peers.closerPeers.append(bad.SerializeToString())
    rubbish = [
        b"\xff" * 64,
        b"\x08\x63",  # type 99
        nested(1000),
        b"\x12\x80",  # ends too early
        b"\x1a\x02\x0a\x00\x12\x01a",  # a record for another key
        pb.Message(type=0, key=KEY).SerializeToString(),  # nothing to put
        pb.Message(type=2, key=bytes(81)).SerializeToString(),
        pb.Message(type=3, key=b"").SerializeToString(),
        pb.Message(type=1).SerializeToString(),
    ]
    async with besieged(node=node()) as siege, attacker(siege.address) as host:
        for message in rubbish * 20:
            assert refused(await answer_to(host, siege.node.id, encode_frame(message)))
        # What is understood in part is answered.
        assert not refused(
            await answer_to(host, siege.node.id, encode_frame(bad_peers.SerializeToString()))
        )
        assert not refused(await answer_to(host, siege.node.id, encode_frame(find.encode())))
        assert len(dht(siege.node).table) == 0
        assert len(dht(siege.node).providers) == 0  # type: ignore[arg-type]
        await served(siege, host)


@asynccontextmanager
async def liar(key: bytes, answers: Sequence[bytes]) -> AsyncIterator[tuple[Host, Host]]:
    """A client of the DHT, and the one server that it knows. That one answers questions about `key`
    with these bytes, one after the other, and others that it knows nobody."""
    given = list(answers)

    async def lie(stream: Stream) -> None:
        async for frame in stream.frames(MAX_MESSAGE):
            request = decode(frame)
            honest = encode_frame(Message(request.type, request.key).encode())
            await stream.send_all(given.pop(0) if request.key == key and given else honest)

    client = Kademlia(KademliaOptions.local(mode=Mode.CLIENT, clock=lambda: NOW))
    quiet = HostBuilder().transports("tcp")
    lying = quiet.handle(KAD, lie).listen("/ip4/127.0.0.1/tcp/0")
    async with lying.open() as bad, quiet.services(client).open() as host:
        await host.connect(bad.addresses[0])
        await host.service(Kademlia).networks[0].upkeep.check(bad.id)
        assert bad.id in dht(host).table
        yield host, bad


async def test_a_fat_answer() -> None:
    """Row 71: kad_client_fat_reply: 2 k peers of 64 addresses are read, and nobody is dialled for
    the rest; a message over the limit ends the stream."""
    fat = pb.Message(type=4, key=KEY)
    for number in range(1000):
        named = pb.Peer(id=peer(number).to_bytes(), addrs=[ADDRESS.to_bytes()] * 70)
        fat.closerPeers.append(named.SerializeToString())
    encoded = fat.SerializeToString()
    assert len(encoded) < MAX_MESSAGE
    read = decode(encoded)
    assert len(read.closer) == MAX_PEERS
    assert all(len(each.encoded) == 64 for each in read.closer)
    lies = [encode_frame(encoded), encode_varint(MAX_MESSAGE + 1)]
    async with liar(KEY, lies) as (host, bad):
        found = await dht(host).closest_peers(KEY)
        assert [each.id for each in found.closest] == [bad.id]
        assert (await dht(host).closest_peers(KEY)).closest == []
        assert bad.id not in dht(host).table


async def test_records_that_do_not_belong_there() -> None:
    """Row 74, as a server: kad_wrong_records: each is refused, and nothing is stored."""
    key, other = PrivateKey.generate(), PrivateKey.generate()
    pk = b"/pk/" + key.peer_id.to_bytes()
    forged = IpnsRecord.create(other, "/ipfs/evil", now=NOW)
    spoiled = bytearray(IpnsRecord.create(key, "/ipfs/x", now=NOW).encoded)
    spoiled[-3] ^= 1
    name = ipns_key(key.peer_id)
    puts = [
        Message(MessageType.PUT_VALUE, pk, Record(pk, other.public_key.to_protobuf())),
        Message(MessageType.PUT_VALUE, name, Record(name, forged.encoded)),
        Message(MessageType.PUT_VALUE, name, Record(name, bytes(spoiled))),
        Message(MessageType.PUT_VALUE, pk, Record(b"/pk/x", key.public_key.to_protobuf())),
        Message(MessageType.ADD_PROVIDER, KEY, providers=(PeerInfo.of(other.peer_id, [ADDRESS]),)),
        Message(MessageType.ADD_PROVIDER, KEY),
    ]
    async with besieged(node=node()) as siege, attacker(siege.address) as host:
        bare = Message(MessageType.ADD_PROVIDER, KEY, providers=(PeerInfo(host.id, (b"\xff",)),))
        for message in (*puts, bare):
            assert refused(await answer_to(host, siege.node.id, encode_frame(message.encode()))), (
                message
            )
        assert not list(dht(siege.node).records.keys())
        assert not dht(siege.node).providers.get(KEY, NOW)
        # When it was received is for us to say.
        later = pb.Message(type=0, key=pk)
        later.record.key, later.record.value = pk, key.public_key.to_protobuf()
        later.record.timeReceived = "2099-01-01T00:00:00Z"
        request = encode_frame(later.SerializeToString())
        assert not refused(await answer_to(host, siege.node.id, request))
        stored = dht(siege.node).records.get(pk, NOW)
        assert stored is not None and stored.received is not None
        assert stored.received.timestamp() == NOW


async def test_answers_that_do_not_belong_there() -> None:
    """Row 74, as a client: a value that is not valid, or for another key, is never returned."""
    key, other = PrivateKey.generate(), PrivateKey.generate()
    name = ipns_key(key.peer_id)
    forged = IpnsRecord.create(other, "/ipfs/evil", now=NOW).encoded
    wrong_key = pb.Message(type=1, key=name)
    wrong_key.record.key, wrong_key.record.value = b"/ipns/other", forged
    answers = [
        Message(MessageType.GET_VALUE, name, Record(name, forged)).encode(),
        wrong_key.SerializeToString(),
        Message(MessageType.FIND_NODE, name).encode(),  # to another question
    ]
    for answer in answers:
        async with liar(name, [encode_frame(answer)]) as (host, bad):
            with pytest.raises(CarrickError, match="nobody has a value"):
                await host.service(Kademlia).get_value(name)
            assert not list(dht(host).records.keys())
            assert bad.id


async def test_a_put_that_is_not_echoed_does_not_count() -> None:
    key = PrivateKey.generate()
    pk, value = b"/pk/" + key.peer_id.to_bytes(), key.public_key.to_protobuf()
    silent = encode_frame(Message(MessageType.PUT_VALUE, pk).encode())
    found = encode_frame(Message(MessageType.FIND_NODE, pk).encode())
    async with liar(pk, [found, silent]) as (host, _):
        with pytest.raises(NothingStored):
            await host.service(Kademlia).put_value(pk, value)
