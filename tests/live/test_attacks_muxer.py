"""Attacks on the muxer by a peer that is who it says: rows 17 to 32 of the list.

What each frame does to the state machine is in `tests/unit/test_yamux_attacks.py`; here a whole
node is attacked, over Noise. Stalls run under a virtual clock over the memory transport. Counts
are scaled down where the bound is reached much earlier.
"""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from carrick.errors import ConnectionClosed
from carrick.network import Stream
from carrick.network.codes import StreamCode
from carrick.transports.multistream import HEADER, encode_message
from carrick.transports.muxers.yamux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    pack,
)
from carrick.wire import encode_varint
from tests.support.attacker import Frames, data, opening, proposal
from tests.support.siege import Siege, besieged, held_streams
from tests.support.waiting import until

PING_ID = "/ipfs/ping/1.0.0"
IDENTIFY = "/ipfs/id/1.0.0"
ECHO = len(proposal(PING_ID)) + 32
PROTOCOL_ERROR = 1
AT_ONCE = 2.0  # s
STALL = 10.0  # s that a write may stand still
NEGOTIATION = 10.0  # s
STREAMS = 512  # inbound ones of a connection
UNNEGOTIATED = 256  # of them

GREETING = proposal(PING_ID) + bytes(32)


async def pinging(siege: Siege) -> Frames:
    """An attacker whose stream 1 is a ping stream that has been answered once."""
    frames = await siege.frames()
    await frames.send(opening(1, PING_ID, bytes(32)))
    assert await frames.read(1, ECHO) == GREETING
    return frames


async def still_served(frames: Frames, stream: int = 1) -> None:
    """The stream is as good as before."""
    await frames.send(data(stream, b"z" * 32))
    assert await frames.read(stream, 32) == b"z" * 32


async def refused(siege: Siege, frames: Frames, within: float = AT_ONCE) -> None:
    """The node closes with a protocol error, and forgets the attacker."""
    assert await frames.ended(within) == PROTOCOL_ERROR
    await until(lambda: not siege.strangers())


# --- frames that break the protocol ---------------------------------------------------------------

FORBIDDEN = {
    "21: 0xffffffff": pack(DATA, 0, 1, 0xFFFFFFFF) + bytes(1 << 16),
    "21: 0x7fffffff": pack(DATA, 0, 1, 0x7FFFFFFF) + bytes(1 << 16),
    "21: 16 MiB and one": pack(DATA, 0, 1, (16 << 20) + 1) + bytes(1 << 16),
    "22: a frame beyond the window": pack(DATA, 0, 1, 16 << 20) + bytes(1 << 16),
    "23: credit that overflows": pack(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF) * 1000,
    "24: SYN over credit": data(3, bytes(INITIAL_WINDOW + 1), SYN),
    "24: SYN and FIN over credit": data(3, bytes(INITIAL_WINDOW + 1), SYN | FIN),
    "29: version 1": b"\x01" + pack(DATA, SYN, 3, 0)[1:],
    "29: version 255": b"\xff" + pack(DATA, SYN, 3, 0)[1:],
    "29: type 4": pack(4, 0, 1, 0),
    "29: type 255": pack(255, 0, 1, 0),
    "29: all flags": pack(DATA, 0xFFFF, 3, 0),
    "29: SYN on stream 0": pack(WINDOW_UPDATE, SYN, 0, 0),
    "29: SYN of the listener's parity": pack(WINDOW_UPDATE, SYN, 102, 0),
    "29: second SYN": pack(WINDOW_UPDATE, SYN, 1, 0),
    "29: pong nobody asked for": pack(PING, ACK, 0, 77),
}


@pytest.mark.parametrize("attack", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_forbidden_frames(attack: bytes) -> None:
    """Rows 21 to 24 and 29: GoAway 1 within a second, whatever follows."""
    async with besieged() as siege:
        frames = await pinging(siege)
        await frames.send(attack)
        await refused(siege, frames, 1.0)


async def test_frames_that_are_never_finished(autojump_clock: MockClock) -> None:
    """Row 22: 24 connections announce what the window allows and hold back the last byte."""
    async with besieged("memory", connections_per_peer=64) as siege:
        attackers = [await pinging(siege) for _ in range(24)]
        for frames in attackers:
            await frames.send(pack(DATA, 0, 1, INITIAL_WINDOW) + bytes(INITIAL_WINDOW - 32 - 1))
        await siege.newcomer()
        await trio.sleep(75)
        assert held_streams(siege.node) <= 2


async def test_window_overflow() -> None:
    """Row 18: ymx_window_overflow: 64 MiB into a stream whose echoes are never credited."""
    async with besieged("memory") as siege:
        frames = await pinging(siege)
        sent = 0
        with trio.fail_after(5):
            while await frames.send(data(1, bytes(16384))):
                sent += 16384
        # The windows of the stream and of its echo, and what was in the pipe.
        assert sent <= 3 * INITIAL_WINDOW
        await refused(siege, frames)


async def test_frames_for_unknown_streams() -> None:
    """Row 17: ymx_unknown_streams: no state, and closed after a budget."""
    async with besieged() as siege:
        frames = await pinging(siege)
        assert not await frames.flood(data(4001, bytes(256)), 100_000)
        await refused(siege, frames)


async def test_window_updates_for_unknown_streams() -> None:
    async with besieged() as siege:
        frames = await pinging(siege)
        assert not await frames.flood(pack(WINDOW_UPDATE, 0, 4001, 1), 100_000)
        await refused(siege, frames)


# --- streams --------------------------------------------------------------------------------------


async def test_syn_flood(autojump_clock: MockClock) -> None:
    """Row 19: ymx_syn_flood: 256 wait for a protocol, the rest is reset, then GoAway."""
    async with besieged("memory") as siege:
        frames = await siege.frames()
        flood = b"".join(pack(WINDOW_UPDATE, SYN, 2 * n + 1, 0) for n in range(800))
        await frames.send(flood)
        await until(lambda: held_streams(siege.node) >= UNNEGOTIATED)
        assert held_streams(siege.node) <= UNNEGOTIATED + 8  # the healthy peer's, and identify
        flood = b"".join(pack(WINDOW_UPDATE, SYN, 2 * n + 1, 0) for n in range(800, 3000))
        await frames.send(flood)
        await refused(siege, frames)


async def test_streams_that_squat(autojump_clock: MockClock) -> None:
    """Row 20: ymx_stream_squat: ten connections of other peers each take all they can get."""
    async with besieged("memory") as siege:
        attackers = [await siege.frames() for _ in range(10)]
        for frames in attackers:
            for n in range(500):
                # Half never negotiate, half stay in ping.
                await frames.send(
                    pack(WINDOW_UPDATE, SYN, 2 * n + 1, 0) if n % 2 else opening(2 * n + 1, PING_ID)
                )
        began = trio.current_time()
        await siege.newcomer()
        await trio.sleep_until(began + NEGOTIATION + 1)
        # Two ping streams per peer; the others were reset, with all that did not negotiate.
        assert held_streams(siege.node) <= 10 * 2 + 4
        await siege.newcomer()


async def test_streams_after_goaway() -> None:
    """Row 25: ymx_goaway_abuse: no new stream is served, and descriptors come free."""
    async with besieged(connections_per_peer=64) as siege:
        served: list[Stream] = []

        async def serve(stream: Stream) -> None:
            served.append(stream)

        siege.node.handle("/late/1", serve)
        for code in (0, 1, 2, 0xFFFFFFFF) * 5:
            frames = await siege.frames()
            await frames.send(pack(GO_AWAY, 0, 0, code), opening(1, "/late/1", b"x"))
            await frames.send(data(3, bytes(100), SYN))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not served
        for connection in siege.strangers():
            with pytest.raises(ConnectionClosed):
                await connection.open_stream("/x/1")


async def test_rapid_reset() -> None:
    """Row 30: ymx_reset_storm: open, propose, reset, again and again; closed after a budget."""
    async with besieged() as siege:
        frames = await siege.frames()
        sent, alive = 0, True
        with trio.fail_after(10):
            while alive:
                batch = range(sent, sent + 16)
                alive = await frames.send(
                    *(
                        opening(2 * n + 1, PING_ID) + pack(WINDOW_UPDATE, RST, 2 * n + 1, 0)
                        for n in batch
                    )
                )
                sent += 16
                assert held_streams(siege.node) <= STREAMS + 8
        assert sent < 20_000
        await refused(siege, frames)


# --- frames that cost nothing to send -------------------------------------------------------------


async def test_ping_flood() -> None:
    """Row 26: ymx_ping_flood: replies are read; answered or closed, and others do not wait."""
    async with besieged() as siege:
        frames = await siege.frames()
        assert not await frames.flood(pack(PING, SYN, 0, 1), 400_000)
        await refused(siege, frames)


async def test_pings_whose_pongs_nobody_reads(autojump_clock: MockClock) -> None:
    """Row 27: ymx_ping_noread: ten connections; closed when writes stall, or by the budget."""
    async with besieged("memory", connections_per_peer=64) as siege:
        attackers = [await siege.frames() for _ in range(10)]
        async with trio.open_nursery() as nursery:

            async def attack(frames: Frames) -> None:
                with trio.fail_after(STALL + 5):
                    assert not await frames.flood(pack(PING, SYN, 0, 1), 300_000, read=False)

            for frames in attackers:
                nursery.start_soon(attack, frames)
        await until(lambda: not siege.strangers())


async def test_identify_that_nobody_reads(autojump_clock: MockClock) -> None:
    """Row 28: ymx_identify_noread: five connections ask 400 times each, and read nothing."""
    async with besieged("memory", connections_per_peer=64) as siege:
        attackers = [await siege.frames() for _ in range(5)]

        async def attack(frames: Frames) -> None:
            for n in range(400):
                if not await frames.send(opening(2 * n + 1, IDENTIFY)):
                    break

        with trio.move_on_after(STALL + 5):
            async with trio.open_nursery() as nursery:
                for frames in attackers:
                    nursery.start_soon(attack, frames)
                while True:
                    assert held_streams(siege.node) <= 5 * STREAMS
                    await trio.sleep(0.1)
        assert held_streams(siege.node) <= 5 * 17 + 8


async def test_empty_data() -> None:
    """Row 31: ymx_zero_data: 300,000 empty frames on an open stream."""
    async with besieged() as siege:
        frames = await pinging(siege)
        assert not await frames.flood(pack(DATA, 0, 1, 0), 300_000)
        await refused(siege, frames)


# --- what a stream begins with --------------------------------------------------------------------

NOT_UTF8 = [
    HEADER + b"\x05\xff\xfe\xfd\xfc\n",
    HEADER + b"\x03\xc3\x28\n",
    HEADER + b"\x04\xed\xa0\x80\n",
    HEADER + b"\x02\x80\n",
    b"\x05\xff\xfe\xfd\xfc\n",
]


@pytest.mark.parametrize("security", ["noise", "tls"])
async def test_protocol_name_that_is_not_utf8_ends_one_stream_not_the_node(security: str) -> None:
    """Row 32, for which other nodes died."""
    async with besieged() as siege:
        frames = await siege.frames(security)
        await frames.send(opening(1, PING_ID, bytes(32)))
        await frames.read(1, ECHO)
        for number, garbage in enumerate(NOT_UTF8):
            stream = 2 * number + 3
            await frames.send(data(stream, garbage, SYN))
            reset = await frames.frame_for(stream, flags=RST)
            assert reset.length == StreamCode.PROTOCOL_NEGOTIATION_FAILED
            await still_served(frames)


async def test_streams_that_begin_with_garbage() -> None:
    """Row 32: ms_stream_garbage: 900 streams, fewer than the budget of violations."""
    rng = random.Random(32)
    kinds = [
        NOT_UTF8[0],
        HEADER + encode_varint(1 << 40),
        encode_varint(1 << 62) + bytes(100),
        HEADER + b"\xff" * 20,
        HEADER + b"\x04/abc",
        HEADER + encode_message("na"),
        b"GET / HTTP/1.1\r\n\r\n",
    ]
    async with besieged() as siege:
        frames = await pinging(siege)
        for number in range(900):
            garbage = rng.choice(kinds) if number % 2 else rng.randbytes(200)
            stream = 2 * number + 3
            await frames.send(data(stream, garbage, SYN))
            await frames.frame_for(stream, flags=RST)
        await still_served(frames)
        assert len(siege.strangers()) == 1


async def test_too_much_garbage() -> None:
    """Row 32, promise 8: behind a thousand violations the connection ends, and no other."""
    async with besieged() as siege:
        frames = await pinging(siege)
        number = 0
        with trio.fail_after(10):
            while await frames.send(
                *(data(2 * n + 3, NOT_UTF8[0], SYN) for n in range(number, number + 16))
            ):
                number += 16
                await trio.lowlevel.checkpoint()
        assert number < 5000
        # The reset for what the node has not read may overtake its GoAway.
        assert await frames.ended() in (PROTOCOL_ERROR, None)
        await until(lambda: not siege.strangers())


async def test_protocols_without_end_on_a_stream() -> None:
    """Row 7, behind the upgrade: a thousand proposals end one stream."""
    async with besieged() as siege:
        frames = await pinging(siege)
        await frames.send(data(3, HEADER + encode_message("/x") * 2000, SYN))
        await frames.frame_for(3, flags=RST)
        await still_served(frames)


async def test_pings_in_pieces(autojump_clock: MockClock) -> None:
    """Row 33: ping_fragments: only whole payloads are echoed; unfinished ones end after 60 s."""
    async with besieged("memory") as siege:
        frames = await pinging(siege)
        for byte in range(32):
            await frames.send(data(1, bytes((byte,))))
        assert await frames.read(1, 32) == bytes(range(32))
        await frames.send(data(1, b"a" * 33))
        assert await frames.read(1, 32) == b"a" * 32
        await frames.send(data(1, b"b" * 15, FIN))
        await frames.frame_for(1, flags=FIN)
        for n in range(200):
            await frames.send(opening(2 * n + 3, PING_ID, b"c" * 16))
        began = trio.current_time()
        reset = {stream async for stream in resets(frames, 200, within=70)}
        assert reset == {2 * n + 3 for n in range(200)}
        assert trio.current_time() - began == pytest.approx(60, abs=1)


async def resets(frames: Frames, count: int, *, within: float):  # type: ignore[no-untyped-def]
    """The streams that the node resets, so many of them."""
    with trio.fail_after(within):
        while count and (frame := await frames.next()) is not None:
            if frame.kind == WINDOW_UPDATE and frame.flags & RST and frame.stream % 2:
                count -= 1
                yield frame.stream
