"""WebTransport's parsers take any bytes, cut anywhere."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from carrick.addressing import address_from_bytes
from carrick.errors import HandshakeError
from carrick.transports.webtransport.address import find_place, webtransport_address
from carrick.transports.webtransport.certificates import certhash, check_certificate
from carrick.transports.webtransport.codes import Http3Error, from_http3, to_http3
from carrick.transports.webtransport.frames import (
    DATA,
    HEADERS,
    MAX_HEADERS,
    CapsuleReader,
    ControlReader,
    FrameReader,
    SessionClosed,
    decode_settings,
    encode_close,
    encode_frame,
    encode_settings,
)
from carrick.transports.webtransport.headers import (
    decode_headers,
    encode_headers,
    judge_request,
    status_of,
)
from carrick.transports.webtransport.varint import decode_varint, encode_varint
from tests.unit.test_webtransport import NOW

NUMBERS = st.integers(0, (1 << 62) - 1)
FRAMES = st.lists(
    st.tuples(st.sampled_from([DATA, HEADERS, 0x21, 0x40]), st.binary(max_size=40)), max_size=6
)
NAMES = st.from_regex(rb"\A:?[a-z0-9-]{1,12}\Z")
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(each % (len(data) + 1) for each in points)})
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@given(NUMBERS, st.binary(max_size=3))
def test_varints_come_back(value: int, rest: bytes) -> None:
    encoded = encode_varint(value)
    assert decode_varint(encoded + rest) == (value, len(encoded))


@given(st.integers(0, 0xFFFFFFFF))
def test_reset_codes_come_back(code: int) -> None:
    assert from_http3(to_http3(code)) == code
    assert (to_http3(code) - 0x21) % 0x1F != 0


@given(NUMBERS)
def test_any_reset_code_is_read(code: int) -> None:
    assert 0 <= from_http3(code) <= 0xFFFFFFFF


def read(pieces: list[bytes]) -> tuple[list[int], bytes]:
    """The types of the frames, and all that they carry."""
    reader, kinds, payload = FrameReader(), [], b""
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next()) is not None:
            if frame[0] == HEADERS:
                kinds.append(HEADERS)
            payload += frame[1]
    return kinds, payload


@given(FRAMES, st.lists(st.integers(0, 500), max_size=8))
def test_frames_cut_anywhere(frames: list[tuple[int, bytes]], points: list[int]) -> None:
    data = b"".join(encode_frame(kind, payload) for kind, payload in frames)
    wanted = [frame for frame in frames if frame[0] in (DATA, HEADERS)]
    assert read(cut(data, points)) == (
        [kind for kind, _ in wanted if kind == HEADERS],
        b"".join(payload for _, payload in wanted),
    )


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_as_frames(pieces: list[bytes]) -> None:
    reader = FrameReader()
    with contextlib.suppress(Http3Error):
        for piece in pieces:
            reader.feed(piece)
            while reader.next() is not None:
                pass
            assert reader.buffered <= MAX_HEADERS


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_on_the_control_stream(pieces: list[bytes]) -> None:
    reader = ControlReader()
    with contextlib.suppress(Http3Error):
        for piece in pieces:
            reader.feed(piece)


@given(st.dictionaries(NUMBERS.filter(lambda name: name not in (0, 2, 3, 4, 5)), NUMBERS))
def test_settings_come_back(settings: dict[int, int]) -> None:
    assert decode_settings(encode_settings(settings)) == settings


@given(st.binary(max_size=40))
def test_any_settings(payload: bytes) -> None:
    with contextlib.suppress(Http3Error):
        decode_settings(payload)


@given(
    st.lists(st.tuples(st.integers(0, 0x2842), st.binary(max_size=30)), max_size=4),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(0, 500), max_size=6),
)
def test_capsules_cut_anywhere(
    others: list[tuple[int, bytes]], code: int, points: list[int]
) -> None:
    data = b"".join(encode_frame(*each) for each in others) + encode_close(code, "why")
    reader, found = CapsuleReader(), []
    for piece in cut(data, points):
        reader.feed(piece)
        if (closed := reader.next()) is not None:
            found.append(closed)
    assert found == [SessionClosed(code, "why")]


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_as_capsules(pieces: list[bytes]) -> None:
    reader = CapsuleReader()
    with contextlib.suppress(Http3Error):
        for piece in pieces:
            reader.feed(piece)
            reader.next()
            assert reader.buffered <= 2000


@given(st.lists(st.tuples(NAMES, VALUES.map(str.encode)), min_size=1, max_size=8))
def test_fields_come_back(headers: list[tuple[bytes, bytes]]) -> None:
    assert list(decode_headers(encode_headers(headers))) == headers


@given(st.binary(max_size=200))
def test_any_bytes_as_fields(data: bytes) -> None:
    with contextlib.suppress(Http3Error):
        headers = decode_headers(data)
        with contextlib.suppress(Http3Error):
            assert judge_request(headers) in (200, 400, 404, 405, 501)
        assert 100 <= status_of(headers) <= 999


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4))
def test_addresses_come_back(digests: list[bytes]) -> None:
    hashes = tuple(b"\x12\x20" + digest for digest in digests)
    address = webtransport_address(("192.0.2.1", 4001), hashes)
    place = find_place(address_from_bytes(address.to_bytes()))
    assert place is not None and place.hashes == hashes


@given(st.binary(max_size=200))
def test_any_bytes_as_a_certificate(der: bytes) -> None:
    try:
        check_certificate([der], accepted=[certhash(der)], now=NOW)
    except HandshakeError:
        return
    raise AssertionError("a random certificate was taken")
