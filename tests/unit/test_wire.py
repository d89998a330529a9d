"""Varints, frames and protobuf parsing."""

from __future__ import annotations

import time

import pytest
from google.protobuf.descriptor_pb2 import UninterpretedOption
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.wire import (
    MAX_VARINT,
    FrameReader,
    decode_varint,
    encode_frame,
    encode_varint,
    parse_message,
)

# The examples of the unsigned-varint specification, and the two ends.
VARINTS = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "8001"),
    (255, "ff01"),
    (300, "ac02"),
    (16384, "808001"),
    (MAX_VARINT, "ffffffffffffffff7f"),
]


@pytest.mark.parametrize(("value", "encoded"), VARINTS)
def test_varint_vectors(value: int, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert encode_varint(value) == data
    assert decode_varint(data) == (value, len(data))
    assert decode_varint(b"\xff\xff" + data + b"\x01", 2) == (value, 2 + len(data))
    for cut in range(len(data)):
        assert decode_varint(data[:cut]) is None


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_varint_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="unsigned varint"):
        encode_varint(value)


@pytest.mark.parametrize("data", ["ff" * 9, "80" * 9, "ff" * 20, "ff" * 9 + "01"])
def test_varint_too_long(data: str) -> None:
    with pytest.raises(ProtocolError, match="longer than 9"):
        decode_varint(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["8000", "8100", "ac8200", "80808000"])
def test_varint_not_minimal(data: str) -> None:
    with pytest.raises(ProtocolError, match="shortest"):
        decode_varint(bytes.fromhex(data))


def test_frames_and_rest() -> None:
    reader = FrameReader(300)
    payloads = [b"", b"a", b"b" * 300]
    reader.feed(b"".join(map(encode_frame, payloads)) + b"\x85\x02tail")
    assert [reader.next() for _ in range(4)] == [*payloads, None]
    assert reader.buffered == 6
    assert reader.rest() == b"\x85\x02tail"
    assert reader.buffered == 0
    assert reader.rest() == b""
    reader.feed(encode_frame(b"again"))
    assert reader.next() == b"again"


def test_frame_too_large_is_refused_by_its_prefix() -> None:
    reader = FrameReader(300)
    reader.feed(b"\xad")
    with pytest.raises(MessageTooLarge, match="301"):
        reader.feed(b"\x02")
    assert reader.buffered == 0
    with pytest.raises(MessageTooLarge):
        reader.feed(b"\x01a")  # it stays refused
    with pytest.raises(MessageTooLarge):
        reader.next()


def test_frames_before_a_bad_one_are_delivered() -> None:
    reader = FrameReader(300)
    reader.feed(encode_frame(b"good") + b"\x80\x00")
    assert reader.next() == b"good"
    with pytest.raises(ProtocolError, match="shortest"):
        reader.next()
    assert reader.buffered == 0


def test_feeding_byte_by_byte_is_linear() -> None:
    def duration(size: int) -> float:
        reader = FrameReader(size)
        data = encode_frame(bytes(size))
        start = time.process_time()
        for at in range(len(data)):
            reader.feed(data[at : at + 1])
            assert reader.next() is None or at == len(data) - 1
        return time.process_time() - start

    small = min(duration(5_000) for _ in range(3))
    large = min(duration(80_000) for _ in range(2))
    assert large < 16 * small * 4  # a quadratic reader would take 256 times as long


def test_many_small_frames_in_one_piece_are_linear() -> None:
    def duration(count: int) -> float:
        reader = FrameReader(10)
        start = time.process_time()
        reader.feed(encode_frame(b"x") * count)
        for _ in range(count):
            assert reader.next() == b"x"
        return time.process_time() - start

    small = min(duration(5_000) for _ in range(3))
    large = min(duration(80_000) for _ in range(2))
    assert large < 16 * small * 4


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_parse_message(kind: type[bytes]) -> None:
    value = Value(string_value="héllo")
    assert parse_message(Value, kind(value.SerializeToString())) == value
    assert parse_message(Struct, kind(b"")) == Struct()


@pytest.mark.parametrize(
    "data",
    [
        b"\x1a\x02\xff\xfe",  # text that is not UTF-8
        b"\x1a\x05ab",  # truncated
        b"\x1a\xff\xff\xff\xff\x0f",  # a length beyond the end
        b"\x80" * 11,  # an endless tag
        b"\x00",  # field number 0
        b"\x0c",  # the end of a group that never began
        b"\x0b" * 100_000,  # groups in groups
    ],
)
def test_malformed_message(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed Value"):
        parse_message(Value, data)


def test_message_nested_too_deeply() -> None:
    data = b""
    for _ in range(300):
        data = b"\x32" + encode_frame(data)  # Value.list_value
        data = b"\x0a" + encode_frame(data)  # ListValue.values
    with pytest.raises(ProtocolError, match="malformed ListValue"):
        parse_message(ListValue, data)


def test_message_without_a_required_field() -> None:
    with pytest.raises(ProtocolError, match="lacks a required"):
        parse_message(UninterpretedOption.NamePart, b"\x0a\x01a")
