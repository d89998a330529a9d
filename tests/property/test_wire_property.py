"""Any cut of the input gives the same frames; garbage raises only ProtocolError."""

from __future__ import annotations

import contextlib

from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import ProtocolError
from carrick.wire import (
    MAX_VARINT,
    FrameReader,
    decode_varint,
    encode_frame,
    encode_varint,
    parse_message,
)

LIMIT = 40


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def read(parts: list[bytes]) -> tuple[list[bytes], type[Exception] | None, bytes]:
    """What a reader makes of `parts`: frames, the error that ended it, and the rest."""
    reader = FrameReader(LIMIT)
    frames: list[bytes] = []
    try:
        for part in parts:
            reader.feed(part)
            while (frame := reader.next()) is not None:
                frames.append(frame)
            assert reader.buffered < LIMIT + 9
    except ProtocolError as error:
        assert reader.buffered == 0
        return frames, type(error), b""
    return frames, None, reader.rest()


@given(st.integers(0, MAX_VARINT), st.binary(max_size=4))
def test_varint_round_trip(value: int, tail: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + tail) == (value, len(encoded))


@given(st.binary(max_size=12))
def test_what_decodes_is_the_only_encoding(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        if (decoded := decode_varint(data)) is not None:
            value, end = decoded
            assert encode_varint(value) == data[:end]


@given(st.lists(st.binary(max_size=LIMIT), max_size=8), st.lists(st.integers(0), max_size=12))
def test_frames_survive_any_cut(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(encode_frame, payloads))
    assert read(pieces(data, cuts)) == (payloads, None, b"")


@settings(max_examples=200)
@given(st.binary(max_size=200), st.lists(st.integers(0), max_size=12))
def test_garbage_gives_the_same_at_any_cut(data: bytes, cuts: list[int]) -> None:
    assert read(pieces(data, cuts)) == read([data])


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_parse_message_raises_only_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse_message(Struct, data)
