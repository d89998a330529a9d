"""The trace's view of muxer frames: the same however the bytes are cut, and never an error."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.transports.bytestream.headers import (
    Frame,
    HeaderParser,
    MplexHeaders,
    YamuxHeaders,
    parser_for,
)
from carrick.transports.muxers.mplex import frame as mplex
from carrick.transports.muxers.yamux import frame as yamux

FLAGS = ("syn", "ack", "fin", "rst")
uint32 = st.integers(0, 2**32 - 1)


@st.composite
def yamux_frames(draw: st.DrawFn) -> tuple[Frame, bytes]:
    kind = draw(st.sampled_from([yamux.DATA, yamux.WINDOW_UPDATE, yamux.PING, yamux.GO_AWAY]))
    flags = draw(st.integers(0, 15))
    stream = draw(uint32)
    payload = draw(st.binary(max_size=50)) if kind == yamux.DATA else b""
    length = len(payload) if kind == yamux.DATA else draw(uint32)
    name = ("data", "window_update", "ping", "go_away")[kind]
    named = tuple(text for bit, text in enumerate(FLAGS) if flags & 1 << bit)
    return Frame(name, named, stream, length), yamux.pack(kind, flags, stream, length) + payload


@st.composite
def mplex_frames(draw: st.DrawFn) -> tuple[Frame, bytes]:
    flag = draw(st.integers(0, 6))
    stream = draw(st.integers(0, 2**60 - 1))
    payload = draw(st.binary(max_size=200))
    name = ("new_stream", "message", "message", "close", "close", "reset", "reset")[flag]
    side = "receiver" if flag in (1, 3, 5) else "initiator"
    return (
        Frame(name, (side,), stream, len(payload)),
        mplex.pack(stream, flag, len(payload)) + payload,
    )


def read(parser: HeaderParser, data: bytes, cuts: list[int]) -> list[Frame]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    found: list[Frame] = []
    for start, end in zip(places, places[1:], strict=False):
        found += parser.feed(memoryview(data)[start:end])
    return found


cuts = st.lists(st.integers(0, 2000), max_size=30)


@given(st.lists(yamux_frames(), max_size=8), cuts)
def test_yamux_frames_are_seen(frames: list[tuple[Frame, bytes]], cuts: list[int]) -> None:
    data = b"".join(raw for _, raw in frames)
    assert read(YamuxHeaders(), data, cuts) == [frame for frame, _ in frames]


@given(st.lists(mplex_frames(), max_size=8), cuts)
def test_mplex_frames_are_seen(frames: list[tuple[Frame, bytes]], cuts: list[int]) -> None:
    data = b"".join(raw for _, raw in frames)
    assert read(MplexHeaders(), data, cuts) == [frame for frame, _ in frames]


@pytest.mark.parametrize("muxer", ["/yamux/1.0.0", "/mplex/6.7.0", "/other/1.0.0"])
@settings(max_examples=200)
@given(data=st.binary(max_size=300), cuts=cuts)
def test_garbage_raises_nothing(muxer: str, data: bytes, cuts: list[int]) -> None:
    whole = read(parser_for(muxer), data, [])
    assert read(parser_for(muxer), data, cuts) == whole
    assert [frame.type for frame in whole].count("unknown") <= 1


def test_unknown_frames_end_the_reading() -> None:
    good = yamux.pack(yamux.PING, 1, 0, 7)
    assert list(YamuxHeaders().feed(yamux.pack(9, 0x10, 1, 2) + good)) == [
        Frame("unknown", ("0x10",), 1, 2)
    ]
    assert list(YamuxHeaders().feed(good)) == [Frame("ping", ("syn",), 0, 7)]
    assert list(MplexHeaders().feed(mplex.pack(3, 7, 0) + mplex.pack(3, 1, 0))) == [
        Frame("unknown", (), 3, 0)
    ]
