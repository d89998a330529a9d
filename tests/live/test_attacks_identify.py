"""Attacks on identify and the peerstore: rows 34 to 38 and 77 of the list.

Row 33, ping, is in `tests/live/test_attacks_muxer.py`; how often a network may push is in
`tests/live/test_identify.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import trio

from carrick.addressing import parse_address
from carrick.identity import PeerRecord, PrivateKey
from carrick.network.codes import StreamCode
from carrick.protocols.identify.pb.identify_pb2 import Identify as Message
from carrick.transports.muxers.yamux.frame import FIN, RST
from carrick.wire import encode_frame, encode_varint
from tests.support.attacker import Frames, data, opening, proposal
from tests.support.siege import Siege, besieged
from tests.support.waiting import until

IDENTIFY = "/ipfs/id/1.0.0"
PUSH = "/ipfs/id/push/1.0.0"
PING = "/ipfs/ping/1.0.0"
ASKED = 2  # the stream on which the node asks a new peer to identify itself
MAX_ADDRESSES = 128
MAX_PROTOCOLS = 1000
AT_ONCE = 2.0


def address(number: int) -> bytes:
    return parse_address(f"/ip4/8.{number >> 16 & 255}.{number >> 8 & 255}.1/tcp/1").to_bytes()


def addresses(count: int, since: int = 0) -> list[bytes]:
    return [address((since + number) << 8) for number in range(count)]


def full(number: int) -> bytes:
    """As much as one push may hold: different addresses and protocols for each `number`."""
    listed = addresses(MAX_ADDRESSES, since=number * MAX_ADDRESSES)
    pieces = [encode_frame(Message(listen_addresses=listed).SerializeToString())]
    for piece in range(9):
        names = [b"/%d/%d/%s" % (number, piece * 100 + n, b"x" * 50) for n in range(100)]
        pieces.append(encode_frame(Message(protocols=names).SerializeToString()))
    return b"".join(pieces)


async def push(frames: Frames, stream: int, message: bytes, *, sealed: bool = True) -> bool:
    """Push; True if the node ended the stream in order, False if it reset it."""
    whole = proposal(PUSH) + message
    await frames.send(opening(stream, PUSH))
    for at in range(len(proposal(PUSH)), len(whole), 32 * 1024):
        if not await frames.send(data(stream, whole[at : at + 32 * 1024])):
            break
    await frames.send(data(stream, b"", FIN if sealed else 0))
    while True:
        frame = await frames.frame_for(stream, within=AT_ONCE)
        if frame.flags & RST:
            assert frame.length in (StreamCode.PROTOCOL_VIOLATION, StreamCode.NO_ERROR)
            return False
        if frame.flags & FIN:
            return True


async def still_connected(siege: Siege, frames: Frames, stream: int) -> None:
    await frames.send(opening(stream, PING, b"p" * 32))
    assert await frames.read(stream, len(proposal(PING)) + 32)
    assert len(siege.strangers()) == 1


def kept(siege: Siege, key: PrivateKey) -> tuple[int, int]:
    """How many addresses and protocols the node keeps of a peer."""
    store = siege.node.peerstore
    return len(store.addresses(key.peer_id)), len(store.protocols(key.peer_id) or ())


async def test_a_push_of_10_mib() -> None:
    """Row 34: id_push_10mb: reset at the prefix, which is true; nothing is parsed."""
    key = PrivateKey.generate()
    async with besieged() as siege:
        frames = await siege.frames(key=key)
        await frames.send(opening(1, PUSH, encode_varint(10 << 20)))
        reset = await frames.frame_for(1, flags=RST, within=1)
        assert reset.length == StreamCode.PROTOCOL_VIOLATION
        await still_connected(siege, frames, 3)
        assert kept(siege, key) == (0, 0)


async def test_twenty_full_pushes() -> None:
    """Row 35: id_push_1mb_x20: each as large as it may be; the last one counts, within bounds."""
    key = PrivateKey.generate()
    async with besieged() as siege:
        frames = await siege.frames(key=key)
        for number in range(20):
            assert await push(frames, 2 * number + 1, full(number))
            listed, spoken = kept(siege, key)
            assert listed <= MAX_ADDRESSES and spoken <= MAX_PROTOCOLS
        await still_connected(siege, frames, 99)
        assert kept(siege, key) == (MAX_ADDRESSES, 900)


async def answer(frames: Frames, message: bytes) -> None:
    """Answer the node's question who we are; it must reset the stream."""
    await frames.frame_for(ASKED)
    await frames.send(data(ASKED, proposal(IDENTIFY) + encode_varint(10 << 20)))
    await frames.send(data(ASKED, message))
    await frames.frame_for(ASKED, flags=RST, within=AT_ONCE)


async def test_an_answer_of_10_mib() -> None:
    """Row 36: id_reply_10mb, on ten connections."""
    async with besieged() as siege:
        keys = [PrivateKey.generate() for _ in range(10)]
        attackers = [await siege.frames(key=key) for key in keys]
        async with trio.open_nursery() as nursery:
            for frames in attackers:
                nursery.start_soon(answer, frames, bytes(128 * 1024))
        assert all(kept(siege, key) == (0, 0) for key in keys)
        assert len(siege.strangers()) == 10


async def test_many_identities_push_and_leave() -> None:
    """Row 37: id_sybil_peerstore, 40 of 150: what stays of each shrinks when it leaves."""
    keys = [PrivateKey.generate() for _ in range(40)]
    async with besieged() as siege:
        for number, key in enumerate(keys):
            frames = await siege.frames(key=key)
            assert await push(frames, 1, full(number))
            frames.channel.wire.rst()
        await until(lambda: not siege.strangers())
        await until(lambda: max(kept(siege, key)[0] for key in keys) <= 20)
        # 900 protocols of 60 bytes are more than 8 KiB: they are forgotten.
        assert max(kept(siege, key)[1] for key in keys) == 0


async def test_signed_records_of_other_peers() -> None:
    """Row 38: id_foreign_records, 200 of 1,000: refused, and the peerstore does not grow."""
    async with besieged() as siege:
        frames = await siege.frames()
        await until(lambda: len(siege.strangers()) == 1)
        known = len(siege.node.peerstore)
        for number in range(200):
            other = PrivateKey.generate()
            record = PeerRecord(other.peer_id, 1, tuple(addresses(100))).seal(other)
            message = encode_frame(Message(signed_peer_record=record).SerializeToString())
            assert not await push(frames, 2 * number + 1, message)
            assert other.peer_id not in siege.node.peerstore
        assert len(siege.node.peerstore) == known
        await still_connected(siege, frames, 999)


def chunks(messages: Iterable[Message]) -> bytes:
    return b"".join(encode_frame(message.SerializeToString()) for message in messages)


BEYOND = {
    "11 messages": chunks(Message(protocols=[b"/%d" % n]) for n in range(11)),
    "11 empty messages": b"\x00" * 11,
    "messages without end": b"\x00" * 100_000,
    "2,000 protocols": chunks(Message(protocols=[b"/%d" % n] * 250) for n in range(8)),
    "1,000 addresses": chunks(Message(listen_addresses=addresses(200)) for _ in range(5)),
    "an agent of 8,000 bytes": chunks([Message(agent_version=b"a" * 8000)]),
    "an agent of 60 KiB": chunks([Message(agent_version=b"a" * 60_000)]),
    "no protobuf": encode_frame(b"\xff" * 500),
    "cut off": chunks([Message(agent_version=b"a" * 100)])[:-1],
    "a thousand groups": encode_frame(b"\x0b" * 1000),
}


@pytest.mark.parametrize("message", BEYOND.values(), ids=BEYOND)
async def test_pushes_beyond_the_bounds(message: bytes) -> None:
    """Row 77: id_chunks: the stream is reset, nothing is kept."""
    key = PrivateKey.generate()
    async with besieged() as siege:
        frames = await siege.frames(key=key)
        assert not await push(frames, 1, message)
        assert kept(siege, key) == (0, 0)
        await still_connected(siege, frames, 3)


async def test_texts_that_are_not_utf8() -> None:
    """Row 77: they are left out, or made safe to show; the rest counts."""
    key = PrivateKey.generate()
    said = Message(
        protocols=[b"\xff\xfe", b"/good/1", b"", b"/new\nline", b"x" * 5000],
        agent_version=b"evil\x1b[2J\xff\x00",
        listen_addresses=[b"\xff" * 30, b"", address(256)],
    )
    async with besieged() as siege:
        frames = await siege.frames(key=key)
        assert await push(frames, 1, chunks([said]))
        store = siege.node.peerstore
        assert store.protocols(key.peer_id) == {"/good/1"}
        assert len(store.addresses(key.peer_id)) == 1
        assert store.metadata(key.peer_id)["agent_version"].isprintable()
        await still_connected(siege, frames, 3)


async def test_the_public_key_of_another_peer() -> None:
    """Row 77: a mismatched key closes the connection."""
    other = PrivateKey.generate()
    async with besieged() as siege:
        frames = await siege.frames()
        said = Message(public_key=other.public_key.to_protobuf())
        await frames.send(opening(1, PUSH, chunks([said])), data(1, b"", FIN))
        await frames.ended(AT_ONCE)
        assert other.peer_id not in siege.node.peerstore
        await until(lambda: not siege.strangers())
