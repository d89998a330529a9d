"""Identify between whole hosts, and against peers that lie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from carrick.addressing import Multiaddr, parse_address
from carrick.builder import HostBuilder
from carrick.errors import ProtocolNotSupported
from carrick.host import Host
from carrick.identity import PeerRecord, PrivateKey
from carrick.network import Connection, Stream
from carrick.network.events import ConnectionClosed
from carrick.protocols.identify import (
    ID,
    ID_PUSH,
    Identify,
    IdentifyFailed,
    IdentifyOptions,
    ObservedAddress,
    PeerIdentified,
    PeerUpdated,
)
from carrick.protocols.identify.pb.identify_pb2 import Identify as Message
from carrick.wire import encode_frame, encode_varint

MEMORY = HostBuilder().transports("memory").listen("/memory/0")
TCP = HostBuilder().listen("/ip4/127.0.0.1/tcp/0")
BARE = MEMORY.services(defaults=False)
OTHER = PrivateKey.generate()


def message(**fields: Any) -> bytes:
    return encode_frame(Message(**fields).SerializeToString())


def answering(*pieces: bytes) -> Callable[[Stream], Awaitable[None]]:
    async def answer(stream: Stream) -> None:
        for piece in pieces:
            await stream.send_all(piece)

    return answer


async def push(connection: Connection, *pieces: bytes) -> bool:
    """Push raw bytes; whether the other side took them and closed its side in order."""
    stream = await connection.open_stream(ID_PUSH)
    try:
        for piece in pieces:
            await stream.send_all(piece)
        await stream.send_eof()
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return False


async def acquaint(alice: Host, bob: Host) -> Connection:
    """Connect, and wait until each side has identified the other."""
    with bob.events.subscribe(PeerIdentified) as identified, trio.fail_after(5):
        connection = await alice.connect(bob.addresses[0])
        await identified.__anext__()
    return connection


async def test_both_sides_know_each_other() -> None:
    options = IdentifyOptions(agent_version="test/1", protocol_version="net/1")
    async with TCP.open() as alice, TCP.services(Identify(options)).open() as bob:

        @bob.handle("/echo/1")
        async def echo(stream: Stream) -> None: ...

        with bob.events.subscribe(PeerIdentified) as identified:
            connection = await alice.connect(bob.addresses[0])
            store = alice.peerstore
            assert {"/echo/1", ID, ID_PUSH} <= (store.protocols(bob.id) or set())
            assert connection.protocols == store.protocols(bob.id)
            metadata = store.metadata(bob.id)
            assert metadata["agent_version"] == "test/1"
            assert metadata["protocol_version"] == "net/1"
            assert store.public_key(bob.id) == bob.key.public_key
            assert bob.own_addresses.all()[0] in store.addresses(bob.id)
            with trio.fail_after(5):
                event = await identified.__anext__()
            assert event.connection.peer_id == alice.id
            assert (event.info.agent_version or "").startswith("carrick/")
            assert alice.own_addresses.all()[0] in bob.peerstore.addresses(alice.id)


async def test_ask_again() -> None:
    async with TCP.open() as alice, TCP.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        with alice.events.subscribe(ObservedAddress) as seen:
            info = await alice.service(Identify).identify(connection)
            event = seen.get_nowait()
        assert event is not None and event.address == info.observed_address
        assert info.observed_address == connection.local_address
        assert info.public_key == bob.key.public_key
        assert info.listen_addresses == tuple(bob.own_addresses.all())
        assert info.signed_record is not None
        assert PeerRecord.open(info.signed_record).peer_id == bob.id
        assert (await alice.service(Identify).identify(connection)).signed_record == (
            info.signed_record
        )


async def test_observed_addresses_come_without_our_peer_id() -> None:
    """js-libp2p appends it."""
    seen = parse_address("/ip4/8.8.8.8/tcp/1")
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await acquaint(alice, bob)
        with bob.events.subscribe(ObservedAddress) as observed:
            for peer in (bob.id, OTHER.peer_id):
                address = parse_address(f"{seen}/p2p/{peer}")
                assert await push(connection, message(observed_address=address.to_bytes()))
            event = observed.get_nowait()
            assert event is not None and event.address == seen
            assert observed.get_nowait() is None


async def test_changes_are_pushed() -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        await acquaint(alice, bob)
        with alice.events.subscribe(PeerUpdated) as updates:

            async def echo(stream: Stream) -> None: ...

            for number in range(5):
                bob.handle(f"/echo/{number}", echo)
            address = await bob.listen("/memory/0")
            with trio.fail_after(5):
                event = await updates.__anext__()
            assert {f"/echo/{number}" for number in range(5)} <= set(event.info.protocols)
            assert address in event.info.listen_addresses
            assert updates.get_nowait() is None
        assert "/echo/4" in (alice.peerstore.protocols(bob.id) or ())
        assert address in alice.peerstore.addresses(bob.id)
        (connection,) = alice.connections
        assert "/echo/4" in (connection.protocols or ())


async def test_a_partial_push_leaves_the_rest() -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await acquaint(alice, bob)
        before = bob.peerstore.protocols(alice.id), bob.peerstore.addresses(alice.id)
        assert before[0] and before[1]
        assert await push(connection, message(agent_version=b"new/2"))
        assert bob.peerstore.metadata(alice.id)["agent_version"] == "new/2"
        assert (bob.peerstore.protocols(alice.id), bob.peerstore.addresses(alice.id)) == before


async def test_a_newer_record_takes_the_place_of_the_older_one() -> None:
    old, new = parse_address("/ip4/8.8.8.8/tcp/1"), parse_address("/ip4/8.8.8.8/tcp/2")

    def signed(key: PrivateKey, address: Multiaddr, sequence: int) -> bytes:
        return PeerRecord(key.peer_id, sequence, (address.to_bytes(),)).seal(key)

    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        first, second = signed(alice.key, old, 7), signed(alice.key, new, 8)
        assert await push(connection, message(signed_peer_record=first))
        assert bob.peerstore.addresses(alice.id) == [old]
        assert await push(connection, message(signed_peer_record=second))
        assert bob.peerstore.addresses(alice.id) == [new]
        assert bob.peerstore.record(alice.id) == second


async def test_the_dialled_address_stays_known() -> None:
    """Whatever a peer lists: it may not know its port forwarding, or its name."""
    async with MEMORY.open() as alice, MEMORY.announce("/ip4/8.8.8.8/tcp/1").open() as bob:
        connection = await alice.connect(bob.swarm.listen_addresses)
        assert connection.remote_address in alice.peerstore.addresses(bob.id)
        assert parse_address("/ip4/8.8.8.8/tcp/1") in alice.peerstore.addresses(bob.id)


async def test_a_peer_without_identify_is_connected_all_the_same() -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:
        with alice.events.subscribe(IdentifyFailed) as failures:
            await alice.connect(bob.addresses[0])
            event = failures.get_nowait()
        assert event is not None and isinstance(event.cause, ProtocolNotSupported)
        assert alice.peerstore.protocols(bob.id) is None


async def test_the_first_message_says_it_all() -> None:
    """Peers that read one message, and at most 4 KiB of it, still understand us."""
    async with BARE.open() as alice, MEMORY.open() as bob:
        connection = await alice.connect(bob.addresses[0])
        stream = await connection.open_stream(ID)
        info = await stream.read_message(Message, 4096)
        assert {ID.encode(), ID_PUSH.encode()} <= set(info.protocols)
        assert info.signed_peer_record and info.listen_addresses and info.observed_address
        assert await stream.receive_some() == b""


# --- peers that lie -----------------------------------------------------------------------------


async def refused(answer: Callable[[Stream], Awaitable[None]]) -> tuple[Exception, Host]:
    """What identify of a peer that answers so fails with; nothing of it is stored."""
    async with MEMORY.open() as alice, BARE.open() as mallory:
        mallory.handle(ID, answer)
        with alice.events.subscribe(IdentifyFailed) as failures, trio.fail_after(5):
            connection = await alice.connect(mallory.addresses[0])
            event = await failures.__anext__()
        assert alice.peerstore.protocols(mallory.id) is None
        assert not alice.peerstore.metadata(mallory.id)
        assert not connection.closed
        return event.cause, alice


PROTOCOLS = [b"/protocol/%d" % number for number in range(501)]


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "without an identify message"),
        ([b"\xff" * 20], "varint"),
        ([encode_frame(b"\x0a\xff")], "malformed"),
        ([message(protocols=PROTOCOLS)[:-1]], "within a message"),
        ([message(protocols=[b"/%d" % number]) for number in range(11)], "10 identify messages"),
        ([message(protocols=PROTOCOLS[:400])] * 3, "1000 protocols"),
        ([message(listen_addresses=[b"\x04\x08\x08\x08\x08"] * 129)], "128 listen addresses"),
        ([message(agent_version=b"a" * 7000)], "256 bytes"),
        ([message(public_key=b"\x08\x07\x12\x00", protocols=[b"/a"])], "public key"),
    ],
)
async def test_answers_beyond_the_bounds(pieces: list[bytes], reason: str) -> None:
    cause, _ = await refused(answering(*pieces))
    assert reason in str(cause)


async def test_a_huge_answer_is_refused_at_its_length() -> None:
    async def answer(stream: Stream) -> None:
        await stream.send_all(encode_varint(10 << 20))
        with pytest.raises(trio.BrokenResourceError):
            while True:  # it is reset, and not read
                await stream.send_all(bytes(64 * 1024))

    cause, _ = await refused(answer)
    assert "10485760 bytes announced" in str(cause)


async def test_the_key_of_another_peer_closes_the_connection() -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await acquaint(alice, bob)
        lie = message(public_key=OTHER.public_key.to_protobuf(), agent_version=b"liar/1")
        with bob.events.subscribe(ConnectionClosed) as closed, trio.fail_after(5):
            assert not await push(connection, lie)
            await closed.__anext__()
        assert bob.peerstore.metadata(alice.id)["agent_version"] != "liar/1"


async def test_records_of_other_peers_are_refused() -> None:
    """ATTACKS row 38: the peerstore holds nothing of peers that others speak for."""
    address = parse_address("/ip4/8.8.8.8/tcp/1").to_bytes()
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        connection = await acquaint(alice, bob)
        known = set(bob.peerstore.peers())
        for sequence in range(20):
            record = PeerRecord(OTHER.peer_id, sequence, (address,)).seal(OTHER)
            assert not await push(connection, message(signed_peer_record=record))
        assert set(bob.peerstore.peers()) == known
        assert not bob.peerstore.addresses(OTHER.peer_id)
        assert await push(connection, message(agent_version=b"fine/1"))


async def test_pushes_are_limited_by_network() -> None:
    async with TCP.limits(count_loopback=True).open() as alice, TCP.open() as bob:
        connection = await bob.connect(alice.addresses[0])
        for number in range(10):
            assert await push(connection, message(agent_version=b"v/%d" % number))
        assert not await push(connection, message(agent_version=b"v/10"))
        assert alice.peerstore.metadata(bob.id)["agent_version"] == "v/9"
        assert not connection.closed
