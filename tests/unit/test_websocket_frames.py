"""WebSocket frames: what RFC 6455 asks for, byte by byte."""

from __future__ import annotations

import pytest

from carrick.transports.websocket.frames import (
    MAX_IDLE_FRAMES,
    MAX_MESSAGE,
    CloseCode,
    FrameDecoder,
    FrameError,
    Mask,
    Opcode,
    encode_control,
    encode_head,
)

KEY = bytes.fromhex("37fa213d")


def decode(data: bytes, *, masked: bool = False, decoder: FrameDecoder | None = None) -> bytes:
    decoder = decoder or FrameDecoder(masked=masked)
    buffer = memoryview(bytearray(data))
    return bytes(buffer[: decoder.decode(buffer, len(buffer))])


def frame(payload: bytes, first: int = 0x82) -> bytes:
    head = bytearray(encode_head(len(payload)))
    head[0] = first
    return bytes(head) + payload


def test_examples_of_the_specification() -> None:
    """RFC 6455, section 5.7, with the binary opcode where it has text."""
    assert decode(bytes.fromhex("820548656c6c6f")) == b"Hello"
    assert decode(bytes.fromhex("828537fa213d7f9f4d5158"), masked=True) == b"Hello"
    assert decode(bytes.fromhex("020348656c") + bytes.fromhex("80026c6f")) == b"Hello"
    decoder = FrameDecoder(masked=False)
    assert decode(bytes.fromhex("890548656c6c6f"), decoder=decoder) == b""
    assert decoder.ping == b"Hello"
    assert encode_control(Opcode.PONG, b"Hello", KEY) == bytes.fromhex("8a8537fa213d7f9f4d5158")
    assert encode_head(256) == bytes.fromhex("827e0100")
    assert encode_head(65536) == bytes.fromhex("827f0000000000010000")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, MAX_MESSAGE])
@pytest.mark.parametrize("key", [b"", KEY])
def test_lengths(size: int, key: bytes) -> None:
    payload = bytearray(range(256)) * (size // 256 + 1)
    view = memoryview(payload)[:size]
    masked = bytearray(size)
    if key:
        Mask(key).apply(view, memoryview(masked))
    else:
        masked[:] = view
    assert decode(encode_head(size, key=key) + masked, masked=bool(key)) == view


def test_masking_goes_on_where_a_cut_was() -> None:
    data = memoryview(bytes(range(100)))
    whole, pieces = bytearray(100), bytearray(100)
    Mask(KEY).apply(data, memoryview(whole))
    mask = Mask(KEY)
    for at, end in ((0, 1), (1, 4), (4, 11), (11, 13), (13, 100)):
        mask.apply(data[at:end], memoryview(pieces)[at:end], at)
    assert whole == pieces


def test_control_frames_stand_between_fragments() -> None:
    decoder = FrameDecoder(masked=False)
    data = frame(b"a", 0x02) + frame(b"ping", 0x89) + frame(b"b", 0x00) + frame(b"c", 0x80)
    assert decode(data, decoder=decoder) == b"abc"
    assert decoder.ping == b"ping"


def test_only_the_newest_ping_is_kept() -> None:
    decoder = FrameDecoder(masked=False)
    decode(frame(b"1", 0x89) + frame(b"2", 0x89), decoder=decoder)
    assert decoder.ping == b"2"


def test_nothing_counts_behind_a_close_frame() -> None:
    decoder = FrameDecoder(masked=False)
    assert decode(frame(b"a") + frame(b"\x03\xe8", 0x88) + b"\xff\xff", decoder=decoder) == b"a"
    assert decoder.close_code == CloseCode.NORMAL
    decoder = FrameDecoder(masked=False)
    decode(frame(b"", 0x88), decoder=decoder)
    assert decoder.close_code == 1005


@pytest.mark.parametrize(
    "data, code, why",
    [
        (b"\x81", None, "not yet"),
        (frame(b"hi", 0x81), CloseCode.UNSUPPORTED_DATA, "text frame"),
        (frame(b"hi", 0xC2), CloseCode.PROTOCOL_ERROR, "reserved bit"),
        (frame(b"hi", 0x92), CloseCode.PROTOCOL_ERROR, "reserved bit"),
        (frame(b"hi", 0x83), CloseCode.PROTOCOL_ERROR, "reserved opcode 3"),
        (frame(b"hi", 0x8B), CloseCode.PROTOCOL_ERROR, "reserved opcode 11"),
        (frame(b"hi", 0x80), CloseCode.PROTOCOL_ERROR, "out of order"),
        (frame(b"a", 0x02) + frame(b"b"), CloseCode.PROTOCOL_ERROR, "out of order"),
        (frame(b"hi", 0x09), CloseCode.PROTOCOL_ERROR, "fragmented"),
        (b"\x89\x7e\x00\x7e", CloseCode.PROTOCOL_ERROR, "too long"),
        (b"\x82\x7e\x00\x7d", CloseCode.PROTOCOL_ERROR, "shortest"),
        (b"\x82\x7f" + (65535).to_bytes(8, "big"), CloseCode.PROTOCOL_ERROR, "shortest"),
        (b"\x82\x7f" + (2**63 - 1).to_bytes(8, "big"), CloseCode.TOO_BIG, "more than"),
        (b"\x82\x7f" + (2**64 - 1).to_bytes(8, "big"), CloseCode.TOO_BIG, "more than"),
        (b"\x82\x85", CloseCode.PROTOCOL_ERROR, "is masked"),
        (frame(b"\x03", 0x88), CloseCode.PROTOCOL_ERROR, "half a code"),
        (frame(b"\x03\xe8\xff", 0x88), CloseCode.INVALID_DATA, "no text"),
    ],
)
def test_what_is_refused(data: bytes, code: CloseCode | None, why: str) -> None:
    if code is None:
        assert decode(data) == b""
        return
    with pytest.raises(FrameError, match=why) as caught:
        decode(data)
    assert caught.value.code is code


def test_a_client_must_mask() -> None:
    with pytest.raises(FrameError, match="not masked"):
        decode(frame(b"hello"), masked=True)


def test_a_message_has_a_limit_whatever_its_fragments() -> None:
    decoder = FrameDecoder(masked=False, max_message=1000)
    decode(frame(bytes(600), 0x02), decoder=decoder)
    with pytest.raises(FrameError, match="more than 1000 B") as caught:
        decode(frame(bytes(600), 0x00)[:4], decoder=decoder)  # told by the head
    assert caught.value.code is CloseCode.TOO_BIG
    decoder = FrameDecoder(masked=False, max_message=1000)
    for _ in range(3):  # each a message of its own
        assert len(decode(frame(bytes(600)), decoder=decoder)) == 600


@pytest.mark.parametrize("first", [0x89, 0x8A, 0x82])
def test_a_flood_of_frames_without_payload(first: int) -> None:
    assert decode(frame(b"", first) * MAX_IDLE_FRAMES) == b""
    with pytest.raises(FrameError, match="flood") as caught:
        decode(frame(b"", first) * (MAX_IDLE_FRAMES + 1))
    assert caught.value.code is CloseCode.POLICY


def test_an_endless_message_of_empty_fragments() -> None:
    decoder = FrameDecoder(masked=False)
    decode(frame(b"", 0x02), decoder=decoder)
    with pytest.raises(FrameError, match="flood"):
        decode(frame(b"", 0x00) * (MAX_IDLE_FRAMES + 1), decoder=decoder)
