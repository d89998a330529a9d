"""Muxer cores under any cut of the bytes, any order of operations, and any garbage."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import ConnectionClosed, MuxerError, ResourceLimitExceeded
from carrick.interfaces import Muxer, MuxerStream, Role
from carrick.transports.muxers.yamux import Yamux, YamuxConfig
from tests.support.muxers import MUXERS, Memory, Pair, mplex

UNREAD_LIMIT = 4 * 1024 * 1024

muxer_names = pytest.mark.parametrize("name", sorted(MUXERS))


def events(core: Muxer) -> list[Any]:
    """All that the application could see, after the input was fed."""
    seen: list[Any] = []
    while (stream := core.accept()) is not None:
        data = b"".join(stream.take_views())
        seen.append((stream.id, data, stream.remote_closed, stream.reset_code))
    seen.append((core.going_away, core.remote_close_code, core.stream_count))
    seen.append(b"".join(b"".join(core.take(65519)) for _ in range(40)))
    return seen


def fed(core: Muxer, pieces: list[bytes]) -> tuple[bool, list[Any]]:
    failed = False
    try:
        for piece in pieces:
            core.feed(piece)
    except MuxerError:
        failed = True
    return failed, events(core)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


def conversation(name: str, seed: int) -> bytes:
    """What a client sends that opens, writes, closes and resets at random."""
    chance = random.Random(seed)
    client = MUXERS[name](Role.CLIENT)
    streams: list[MuxerStream] = []
    sent = b""
    for _ in range(30):
        step = chance.randrange(6)
        if step == 0 or not streams:
            streams.append(client.open())
        stream = chance.choice(streams)
        if step == 1 and not stream.pending:
            with contextlib.suppress(RuntimeError):
                stream.write(memoryview(chance.randbytes(chance.choice((1, 50, 5000, 70_000)))))
        elif step == 2:
            stream.close_write()
        elif step == 3 and chance.random() < 0.3:
            stream.reset(chance.randrange(10))
        else:
            sent += b"".join(client.take(chance.choice((64, 2000, 65519))))
    while pieces := client.take(65519):
        sent += b"".join(pieces)
    return sent


@muxer_names
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 100_000), max_size=40))
def test_any_cut_gives_the_same(name: str, seed: int, cuts: list[int]) -> None:
    sent = conversation(name, seed)
    make = MUXERS[name]
    whole = fed(make(Role.SERVER), [sent])
    assert not whole[0]
    assert fed(make(Role.SERVER), cut(sent, cuts)) == whole


frames = st.builds(
    lambda kind, flags, stream_id, length, body: (
        bytes((0, kind))
        + flags.to_bytes(2, "big")
        + stream_id.to_bytes(4, "big")
        + length.to_bytes(4, "big")
        + body
    ),
    st.integers(0, 4),
    st.sampled_from((0, 0, 0, 1, 2, 4, 8, 5, 6, 12, 16)),
    st.sampled_from((0, 1, 2, 3, 5, 7, 2**32 - 1)),
    st.sampled_from((0, 1, 5, 100, 2**18, 2**18 + 1, 2**32 - 1)),
    st.binary(max_size=100),
)
messages = st.builds(
    lambda stream_id, flag, length, body: bytes((stream_id << 3 | flag, length)) + body,
    st.integers(0, 5),
    st.integers(0, 7),
    st.integers(0, 127),
    st.binary(max_size=100),
)


@muxer_names
@settings(max_examples=300, deadline=None)
@given(
    garbage=st.lists(st.one_of(frames, messages, st.binary(max_size=200)), max_size=30),
    cuts=st.lists(st.integers(0, 3000), max_size=10),
)
def test_garbage(name: str, garbage: list[bytes], cuts: list[int]) -> None:
    """Nothing but MuxerError, whole or cut; no more is held or sent than came."""
    data = b"".join(garbage)
    make = MUXERS[name]
    for core, pieces in ((make(Role.SERVER), [data]), (make(Role.SERVER), cut(data, cuts))):
        sent = 0
        with contextlib.suppress(MuxerError):
            for piece in pieces:
                core.feed(piece)
        assert core._unread <= len(data)  # type: ignore[attr-defined]
        assert core.stream_count <= len(data) // 2
        while core.has_output():
            sent += len(b"".join(core.take(65519)))
        assert sent <= len(data) + 12  # 12: our first ping, or GoAway
    assert fed(make(Role.SERVER), [data]) == fed(make(Role.SERVER), cut(data, cuts))


class End:
    """One end of a stream, with what was sent on it and what came."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.sent = b""
        self.got = b""
        self.closed = False


class Party:
    """One end of a connection that does random things."""

    def __init__(self, core: Muxer, chance: random.Random) -> None:
        self.core = core
        self.chance = chance
        self.ends: dict[tuple[int, bool], End] = {}  # by id, and whether the client opened it

    def add(self, stream: Any, by_client: bool) -> None:
        self.ends[stream.id, by_client] = End(stream)

    def act(self, is_client: bool, *, resets: bool) -> None:
        chance = self.chance
        while (stream := self.core.accept()) is not None:
            self.add(stream, not is_client)
        if not self.ends or chance.random() < 0.1:
            with contextlib.suppress(ResourceLimitExceeded, ConnectionClosed):
                self.add(self.core.open(), is_client)
            return
        end = chance.choice(list(self.ends.values()))
        stream = end.stream
        what = chance.random()
        if what < 0.4:
            if not stream.pending and not end.closed and stream.reset_code is None:
                data = chance.randbytes(chance.choice((1, 30, 3000, 100_000, 400_000)))
                stream.write(memoryview(data))
                end.sent += data
        elif what < 0.8:
            if chance.random() < 0.5:
                end.got += stream.take(chance.choice((1, 100, 70_000, 10**6)))
            else:
                end.got += b"".join(stream.take_views())
        elif what < 0.9:
            stream.close_write()
            end.closed = True
        elif resets and what < 0.92:
            stream.reset(3)
        elif resets and what < 0.94:
            stream.close_read()


def checked(core: Muxer) -> None:
    if isinstance(core, Yamux):
        for stream in core._streams.values():
            assert 0 <= stream._credit <= stream._window
            assert stream.received + stream._credit + stream._consumed <= stream._window
            assert stream._send_window >= 0
    held = sum(stream.received for stream in core._streams.values())  # type: ignore[attr-defined]
    assert held == core._unread  # type: ignore[attr-defined]


def live(
    name: str, seed: int, steps: int, *, resets: bool
) -> tuple[Pair, Party, Party, list[Memory]]:
    """Two parties do random things for a while."""
    chance = random.Random(seed)
    memories = [Memory(limit=chance.choice((0, 2**20, 2**40))) for _ in range(2)]
    cores: list[Muxer] = []
    for role, memory in zip(Role, memories, strict=True):
        if name == "yamux":
            config = YamuxConfig(max_window=chance.choice((2**18, 2**21)))
            cores.append(Yamux(role, budget=memory, config=config, now=0.0))
        else:
            cores.append(mplex(role))
    joined = Pair(cores[0], cores[1])
    client, server = (Party(core, chance) for core in cores)
    for _ in range(steps):
        for party, other in ((client, server), (server, client)):
            party.act(party is client, resets=resets)
            if chance.random() < 0.4 and not other.core.overloaded:
                joined.now += chance.choice((0.0, 0.001, 0.02))
                joined.step(party.core, other.core, chance.choice((100, 5000, 65519)))
            checked(party.core)
            checked(other.core)
            assert party.core._unread <= UNREAD_LIMIT + 2**21 + 65519  # type: ignore[attr-defined]
            party.core.touched()
    return joined, client, server, memories


@muxer_names
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_stream_gets_its_bytes_in_order(name: str, seed: int) -> None:
    joined, client, server, memories = live(name, seed, 150, resets=False)
    for party in (client, server):
        for end in party.ends.values():
            if not end.stream.pending:
                end.stream.close_write()
    for _ in range(2000):
        moved = joined.step(client.core, server.core) + joined.step(server.core, client.core)
        for party, is_client in ((client, True), (server, False)):
            while (stream := party.core.accept()) is not None:
                party.add(stream, not is_client)
                stream.close_write()
            for end in party.ends.values():
                end.got += b"".join(end.stream.take_views())
                if not end.stream.pending:
                    end.stream.close_write()
        if not (moved or client.core.has_output() or server.core.has_output()):
            break
    assert client.ends.keys() == server.ends.keys()
    for key, end in client.ends.items():
        other = server.ends[key]
        assert end.got == other.sent
        assert other.got == end.sent
        assert end.stream.remote_closed and other.stream.remote_closed
        assert end.stream.reset_code is other.stream.reset_code is None
    assert client.core.stream_count == server.core.stream_count == 0
    assert [memory.used for memory in memories] == [0, 0]


@muxer_names
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_resets_at_any_moment(name: str, seed: int) -> None:
    _, client, server, memories = live(name, seed, 200, resets=True)
    for party, other in ((client, server), (server, client)):
        for key, end in party.ends.items():
            end.got += b"".join(end.stream.take_views())
            if key in other.ends:
                assert other.ends[key].sent.startswith(end.got)
        party.core.abandon(0, remote=True)
        for end in party.ends.values():
            end.stream.take_views()
        assert party.core._unread == 0  # type: ignore[attr-defined]
        assert party.core.stream_count == 0
    assert [memory.used for memory in memories] == [0, 0]
