"""QUIC under any bytes and any network: parsers never fail, streams arrive whole and in order."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.identity import PrivateKey
from carrick.transports.quic.backend import Closed, StreamData
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.identity import HostIdentity
from carrick.transports.quic.packets import (
    INITIAL,
    LongHeader,
    encode_retry,
    encode_version_negotiation,
    parse_long,
)
from carrick.transports.quic.sealing import encode_max_stream_data, has_ping
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.tokens import LIFETIME, AddressTokens
from tests.support.quic import CLIENT, SERVER, EnginePair, frame

CLIENT_PROFILE = HostIdentity(PrivateKey.generate()).profile()
SERVER_PROFILE = HostIdentity(PrivateKey.generate()).profile()
IDS = st.binary(max_size=20)
NUMBERS = st.integers(0, (1 << 62) - 1)


@given(st.binary(max_size=64))
def test_any_datagram_is_parsed_or_not(data: bytes) -> None:
    header = parse_long(data)
    if header is not None:
        assert data[0] & 0x80
        assert header.destination in data and header.source in data and header.token in data


@given(IDS, IDS, st.binary(max_size=80))
def test_an_initial_packet_is_read_as_it_was_written(
    destination: bytes, source: bytes, token: bytes
) -> None:
    packet = b"".join(
        (
            b"\xc0\0\0\0\1",
            bytes((len(destination),)),
            destination,
            bytes((len(source),)),
            source,
            (0x4000 | len(token)).to_bytes(2, "big"),
            token,
            b"rest",
        )
    )
    assert parse_long(packet) == LongHeader(1, destination, source, INITIAL, token)
    for end in range(len(packet) - len(b"rest")):
        cut = parse_long(packet[:end])
        assert cut is None


@given(IDS, IDS, st.integers(0, 127))
def test_version_negotiation_swaps_the_ids(destination: bytes, source: bytes, noise: int) -> None:
    answer = encode_version_negotiation(LongHeader(9, destination, source, 0, b""), noise)
    header = parse_long(answer)
    assert header is not None and header.version == 0
    assert (header.destination, header.source) == (source, destination)
    assert answer.endswith(b"\0\0\0\1")


@given(IDS, IDS, IDS, st.binary(max_size=60))
def test_retry_is_a_packet_for_the_client(
    destination: bytes, source: bytes, retry_id: bytes, token: bytes
) -> None:
    packet = encode_retry(LongHeader(1, destination, source, INITIAL, b""), retry_id, token)
    header = parse_long(packet)
    assert header is not None and header.kind == 3
    assert (header.destination, header.source) == (source, retry_id)
    assert packet[:-16].endswith(token)


ADDRESSES = st.tuples(
    st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str)),
    st.integers(0, 65535),
)


@given(ADDRESSES, ADDRESSES, IDS, IDS, IDS, st.floats(0, 1e6), st.floats(-5, 30))
def test_a_token_is_good_for_its_address_id_and_time_only(
    remote: tuple[str, int],
    other: tuple[str, int],
    original: bytes,
    retry: bytes,
    wrong: bytes,
    now: float,
    later: float,
) -> None:
    tokens = AddressTokens(b"s" * 32)
    token = tokens.issue(remote, original, retry, now)
    assert tokens.original_id(token, remote, retry, now) == original
    if -0.9 < later < LIFETIME - 0.1:
        assert tokens.original_id(token, remote, retry, now + later) == original
    if later > LIFETIME + 0.1:
        assert tokens.original_id(token, remote, retry, now + later) is None
    if other != remote:
        assert tokens.original_id(token, other, retry, now) is None
    if wrong != retry:
        assert tokens.original_id(token, remote, wrong, now) is None
    assert AddressTokens(b"t" * 32).original_id(token, remote, retry, now) is None


@given(st.binary(max_size=80))
def test_no_other_bytes_are_a_token(data: bytes) -> None:
    assert AddressTokens(b"s" * 32).original_id(data, CLIENT, b"12345678", 5.0) is None


FRAMES = st.one_of(
    st.just(bytes(3)),
    st.builds(lambda a, b, c, d: frame(0x02, a, b, 1, c, d, a), NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(lambda a: frame(0x03, a, a, 0, a, a, a, a), NUMBERS),
    st.builds(lambda a, b, c: frame(0x04, a, b, c), NUMBERS, NUMBERS, NUMBERS),
    st.builds(lambda a, data: frame(0x06, a, len(data), data), NUMBERS, st.binary(max_size=9)),
    st.builds(
        lambda a, b, data: frame(0x0E, a, b, len(data), data),
        NUMBERS,
        NUMBERS,
        st.binary(max_size=9),
    ),
    st.builds(lambda a, data: frame(0x0A, a, len(data), data), NUMBERS, st.binary(max_size=9)),
    st.builds(lambda a: frame(0x10, a), NUMBERS),
    st.builds(lambda a, b: frame(0x11, a, b), NUMBERS, NUMBERS),
    st.builds(lambda a, b: frame(0x15, a, b), NUMBERS, NUMBERS),
    st.builds(
        lambda a, id: frame(0x18, a, 0) + bytes((len(id),)) + id + b"\x01" * 16, NUMBERS, IDS
    ),
    st.builds(lambda a: frame(0x19, a), NUMBERS),
    st.builds(lambda data: frame(0x1B, data), st.binary(min_size=8, max_size=8)),
    st.just(frame(0x1E)),
    st.builds(lambda data: frame(0x31, len(data), data), st.binary(max_size=9)),
    st.builds(encode_max_stream_data, NUMBERS, NUMBERS),
)


@given(st.lists(FRAMES, max_size=6), st.integers(0, 6), st.booleans())
def test_a_ping_is_found_among_any_frames(frames: list[bytes], at: int, there: bool) -> None:
    if there:
        frames = [*frames[:at], b"\x01", *frames[at:]]
    assert has_ping(b"".join(frames)) is there


@given(st.binary(max_size=40))
def test_any_payload_is_looked_through(payload: bytes) -> None:
    has_ping(payload)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=1400), max_size=10), st.booleans(), st.integers(0, 1 << 32))
def test_any_datagrams_at_any_time(rubbish: list[bytes], early: bool, seed: int) -> None:
    """Rubbish on a connection changes nothing."""
    pair = EnginePair(CLIENT_PROFILE, SERVER_PROFILE)
    rng = random.Random(seed)
    if not early:
        pair.exchange()
    for data in rubbish:
        pair.client.receive(data or b"\0", max(1, rng.randrange(1, 1400)), SERVER, pair.now)
        if pair.server is not None:
            changed = bytes(pair.server.local_id.join((b"@", data)))
            pair.server.receive(changed, len(changed), CLIENT, pair.now)
        pair.exchange()
    pair.exchange()
    pair.sleep(1)
    assert pair.established("client") and pair.established("server")
    assert pair.closed("client") is None and pair.closed("server") is None


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1 << 32),
    st.floats(0, 0.25),
    st.floats(0, 0.2),
    st.booleans(),
    st.integers(1, 200_000),
)
def test_streams_arrive_whole_whatever_the_network_does(
    seed: int, loss: float, doubled: float, shuffled: bool, size: int
) -> None:
    rng = random.Random(seed)

    def change(datagrams: list[bytes], to: str) -> list[bytes]:
        found = [
            data
            for data in datagrams
            for _ in range(1 + (rng.random() < doubled))
            if rng.random() >= loss
        ]
        if shuffled:
            rng.shuffle(found)
        return found

    pair = EnginePair(CLIENT_PROFILE, SERVER_PROFILE, change=change)
    for _ in range(200):
        pair.exchange()
        if pair.established("client") and pair.established("server"):
            break
        pair.sleep(0.5)
    if pair.closed("client") is not None or pair.closed("server") is not None:
        return  # so much got lost that the handshake was given up
    stream = pair.client.open_stream()
    assert stream is not None
    data = rng.randbytes(size)
    pair.client.write(stream, data, fin=True)
    for _ in range(200):
        pair.exchange()
        pair.sleep(0.5)
        events = [each for each in pair.events["server"] if isinstance(each, StreamData)]
        if any(each.fin for each in events):
            break
    assert b"".join(each.data for each in events) == data
    assert events[-1].fin


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=1500))
def test_a_server_takes_any_first_datagram(data: bytes) -> None:
    server = Engine(
        {"libp2p": SERVER_PROFILE}, EngineSettings(), is_client=False, original_id=b"12345678"
    )
    server.receive(data, len(data), CLIENT, 1.0)
    assert not server.is_genuine
    event = server.next_event()
    assert event is None or isinstance(event, Closed)
