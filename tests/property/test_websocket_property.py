"""The frame codec: any cut gives the same bytes, garbage only typed errors; so the upgrade."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.errors import HandshakeError
from carrick.transports.websocket.frames import (
    FrameDecoder,
    FrameError,
    Mask,
    Opcode,
    encode_control,
    encode_head,
)
from carrick.transports.websocket.http import MAX_HEADERS, ClientUpgrade, ServerUpgrade

keys = st.binary(min_size=4, max_size=4)
payloads = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))


def encode(payload: bytes, key: bytes) -> bytes:
    masked = bytearray(payload)
    if key and payload:
        Mask(key).apply(memoryview(masked), memoryview(masked))
    return encode_head(len(payload), key=key) + masked


def feed(decoder: FrameDecoder, data: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    found = b""
    for start, end in zip(edges, edges[1:], strict=False):
        buffer = memoryview(bytearray(data[start:end]))
        found += bytes(buffer[: decoder.decode(buffer, len(buffer))])
    return found


@settings(max_examples=60)
@given(
    st.lists(st.tuples(payloads, keys, st.booleans()), max_size=6),
    st.booleans(),
    st.lists(st.integers(0, 1 << 20), max_size=20),
)
def test_any_cut_gives_the_same_payload(
    frames: list[tuple[bytes, bytes, bool]], masked: bool, cuts: list[int]
) -> None:
    data = b""
    for payload, key, ping in frames:
        key = key if masked else b""
        if ping:
            data += encode_control(Opcode.PING, payload[:125], key)
        data += encode(payload, key)
    decoder = FrameDecoder(masked=masked)
    assert feed(decoder, data, cuts) == b"".join(payload for payload, _, _ in frames)
    pings = [payload[:125] for payload, _, ping in frames if ping]
    assert decoder.ping == (pings[-1] if pings else None)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.booleans(), st.lists(st.integers(0, 400), max_size=8))
def test_garbage_raises_only_the_typed_error(data: bytes, masked: bool, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> object:
        decoder = FrameDecoder(masked=masked)
        try:
            return feed(decoder, data, cuts), decoder.ping, decoder.close_code
        except FrameError as error:
            return error.code

    assert outcome(cuts) == outcome([])


@settings(max_examples=100)
@given(
    st.one_of(
        st.binary(max_size=600),
        st.binary(max_size=60).map(lambda data: b"GET / HTTP/1.1\r\nHost: a\r\n" + data),
        st.binary(max_size=60).map(lambda data: b"HTTP/1.1 101 Ok\r\nUpgrade: " + data),
    ),
    st.integers(1, 100),
)
def test_garbage_in_the_upgrade(data: bytes, piece: int) -> None:
    for upgrade in (ServerUpgrade(), ClientUpgrade("a", "/", bytes(16))):
        try:
            for at in range(0, len(data), piece):
                upgrade.receive(data[at : at + piece])
                if upgrade.done:
                    break
        except HandshakeError:
            pass
        assert len(upgrade.take_output()) < 1000


@settings(max_examples=50)
@given(st.integers(1, 400), st.binary(max_size=50))
def test_both_sides_of_the_upgrade_fit(piece: int, frames: bytes) -> None:
    client, server = ClientUpgrade("example.com", "/a/b", bytes(16)), ServerUpgrade()
    request = client.take_output()
    for at in range(0, len(request), piece):
        server.receive(request[at : at + piece])
    assert server.done
    response = server.take_output()
    for at in range(0, len(response) - 1, piece):
        client.receive(response[at : min(at + piece, len(response) - 1)])
    assert not client.done
    client.receive(response[-1:] + frames)
    assert client.done and client.rest == frames
    assert client.room < MAX_HEADERS
