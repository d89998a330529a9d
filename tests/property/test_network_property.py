from __future__ import annotations

import ipaddress
import random
from functools import partial
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.addressing import parse_address
from carrick.errors import CarrickError, MessageTooLarge, ProtocolError, ResourceLimitExceeded
from carrick.identity import PrivateKey
from carrick.interfaces import Direction
from carrick.network import Limits, Stream
from carrick.network.dial.backoff import Backoff
from carrick.network.dial.schedule import DialSchedule
from carrick.network.resources import GUARANTEED, ResourceManager
from carrick.wire import encode_frame

PEERS = [PrivateKey.generate().peer_id for _ in range(4)]
IPS = [None, *map(ipaddress.ip_address, ("1.2.3.4", "192.168.0.1", "2600::1", "127.0.0.1"))]
ADDRESSES = [parse_address(f"/ip4/1.2.3.4/tcp/{port}") for port in range(1, 9)]
ACTIONS = ["open", "peer", "stream", "negotiate", "memory", "end"]
SMALL = Limits().with_overrides(
    connections=8,
    connections_inbound=6,
    connections_per_peer=3,
    connections_pending=3,
    connections_per_address=2,
    streams=20,
    streams_inbound=12,
    streams_pending=6,
    streams_inbound_per_connection=5,
    streams_per_connection=8,
    streams_pending_per_connection=4,
    streams_inbound_per_protocol_and_peer=2,
    memory=2 << 20,
    memory_per_peer=1 << 20,
    memory_per_connection=1 << 19,
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_resources_return_to_nothing_whatever_happens(data: st.DataObject) -> None:
    """Random opening, authenticating, negotiating, reserving and releasing."""
    resources = ResourceManager(SMALL)
    connections: list[Any] = []
    streams: list[Any] = []
    reserved: list[tuple[Any, int]] = []
    now = 0.0
    for _ in range(data.draw(st.integers(1, 60))):
        now += 0.5
        action = data.draw(
            st.sampled_from(["open", "peer", "stream", "negotiate", "memory", "end"])
        )
        try:
            if action == "open":
                connections.append(
                    resources.open_connection(
                        data.draw(st.sampled_from(Direction)),
                        ip=data.draw(st.sampled_from(IPS)),
                        now=now,
                        spare=partial(data.draw, st.booleans()),
                    )
                )
            elif action == "peer" and connections:
                connection = data.draw(st.sampled_from(connections))
                if connection.peer is None and not connection._released:
                    connection.authenticated(
                        data.draw(st.sampled_from(PEERS)), protected=data.draw(st.booleans())
                    )
            elif action == "stream" and connections:
                connection = data.draw(st.sampled_from(connections))
                if connection.peer is not None:
                    streams.append(connection.open_stream(data.draw(st.sampled_from(Direction))))
            elif action == "negotiate" and streams:
                stream = streams.pop()
                with stream:
                    stream.negotiated(
                        data.draw(st.sampled_from(["/a", "/b"])),
                        service=data.draw(st.sampled_from([None, "s"])),
                    )
            elif action == "memory" and connections:
                connection = data.draw(st.sampled_from(connections))
                size = data.draw(st.integers(0, 1 << 20))
                if connection.budget.try_reserve(size):
                    reserved.append((connection, size))
            elif action == "end" and connections:
                connections.pop(data.draw(st.integers(0, len(connections) - 1))).release()
        except (ResourceLimitExceeded, CarrickError):
            pass
        system = resources.stat()["system"]
        assert 0 <= system["connections"] <= 8
        assert system["connections_inbound"] <= 6
        assert system["streams_inbound"] <= 12 + GUARANTEED * 8
        assert 0 <= system["memory"] <= 2 << 20
    for connection, size in reserved[::2]:
        connection.budget.release(size)
    for each in (*streams, *connections):
        each.release()
    for connection, _ in reserved:
        connection.release()
    assert sum(sum(counts.values()) for counts in resources.stat().values()) == 0
    assert set(resources.stat()) == {"system", "transient"}
    resources.addresses.admit(None, now + 3600)
    assert len(resources.addresses) == 0


@settings(max_examples=150, deadline=None)
@given(
    delays=st.lists(st.floats(0, 2), min_size=1, max_size=8),
    outcomes=st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=8, max_size=8),
    parallel=st.integers(1, 8),
)
def test_the_dial_schedule_tries_every_address_once_and_ends(
    delays: list[float], outcomes: list[tuple[float, bool]], parallel: int
) -> None:
    schedule = DialSchedule(parallel)
    ranked = sorted(zip(ADDRESSES, delays, strict=False), key=lambda entry: entry[1])
    schedule.add(ranked, now=0)
    ends: dict[Any, float] = {}
    started: list[Any] = []
    now, won = 0.0, False
    for _ in range(100):
        for address in schedule.due(now):
            assert address not in started
            started.append(address)
            ends[address] = now + outcomes[ADDRESSES.index(address)][0]
        assert len(ends) <= parallel
        if schedule.exhausted or won:
            break
        moments = list(ends.values())
        if schedule.next_at is not None:
            moments.append(schedule.next_at)
        assert moments, "nothing will ever happen again"
        now = max(now, min(moments))
        for address, end in list(ends.items()):
            if end <= now:
                del ends[address]
                if outcomes[ADDRESSES.index(address)][1]:
                    won = True
                else:
                    schedule.failed(address, OSError())
    assert won or schedule.exhausted
    assert started == [address for address, _ in ranked][: len(started)]
    if not won:
        assert len(schedule.causes) == len(ranked)


@given(st.lists(st.tuples(st.sampled_from(ADDRESSES), st.floats(0, 100)), max_size=40))
def test_backoff_is_never_longer_than_five_minutes(steps: list[tuple[Any, float]]) -> None:
    backoff, now = Backoff(random.Random(0)), 0.0
    for address, pause in steps:
        now += pause
        backoff.failed(PEERS[0], address, now)
        assert 0 < backoff.remaining(PEERS[0], address, now) <= 300


class Wire:
    """The receiving side of a muxed stream: pieces, then the end of file."""

    id = 1
    direction = Direction.INBOUND

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    def reset(self, code: int = 0) -> None:
        pass


class Peer:
    peer_id = PEERS[0]


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    return [data[lo:hi] for lo, hi in zip(edges, edges[1:], strict=False)]


def stream_of(pieces: list[bytes]) -> Stream:
    wire: Any = Wire(pieces)
    peer: Any = Peer()
    return Stream(wire, peer, "/x/1", received=pieces[0][:0], ended=lambda *_: None)


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=5),
    at=st.lists(st.integers(0, 2000), max_size=8),
)
def test_frames_do_not_depend_on_how_the_bytes_are_cut(
    payloads: list[bytes], at: list[int]
) -> None:
    async def read() -> list[bytes]:
        stream = stream_of(cut(b"".join(map(encode_frame, payloads)), at))
        return [frame async for frame in stream.frames(300)]

    assert trio.run(read) == payloads


@given(garbage=st.binary(max_size=200), at=st.lists(st.integers(0, 200), max_size=4))
def test_garbage_raises_only_protocol_errors(garbage: bytes, at: list[int]) -> None:
    async def read() -> None:
        stream = stream_of(cut(garbage, at))
        try:
            while True:
                assert len(await stream.read_frame(64)) <= 64
        except (ProtocolError, MessageTooLarge):
            pass

    trio.run(read)
