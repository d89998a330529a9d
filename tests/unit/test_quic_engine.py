"""Two engines in memory: windows that follow the reader, paths, versions, Retry."""

from __future__ import annotations

import pytest

from carrick.identity import PrivateKey
from carrick.transports.quic.backend import Closed, PathChanged, StreamData, StreamReset
from carrick.transports.quic.engine import Engine
from carrick.transports.quic.identity import HostIdentity
from carrick.transports.quic.packets import encode_retry, encode_version_negotiation, parse_long
from carrick.transports.quic.settings import EngineSettings
from tests.support.quic import CLIENT, SERVER, EnginePair

KIB = 1024


def connected(**options: object) -> EnginePair:
    pair = EnginePair(**options)  # type: ignore[arg-type]
    pair.exchange()
    assert pair.established("client") and pair.established("server")
    return pair


def received(pair: EnginePair, name: str = "server") -> int:
    return sum(len(each.data) for each in pair.events[name] if isinstance(each, StreamData))


def opened(pair: EnginePair) -> int:
    stream = pair.client.open_stream()
    assert stream is not None
    return stream


def test_nothing_beyond_the_window_until_it_is_granted() -> None:
    pair = connected()
    window = pair.settings.stream_window
    stream = opened(pair)
    assert pair.client.credit(stream) == window
    pair.client.write(stream, bytes(window + 100 * KIB))
    pair.exchange()
    assert received(pair) == window
    assert pair.client.unsent(stream) == 100 * KIB
    assert pair.client.credit(stream) == 0
    assert pair.server is not None
    pair.server.grant(stream, window + 300 * KIB)
    pair.exchange()
    pair.sleep(0.1)
    assert received(pair) == window + 100 * KIB
    assert pair.client.credit(stream) == 200 * KIB


def test_a_lost_grant_is_given_again() -> None:
    lose = False

    def change(datagrams: list[bytes], to: str) -> list[bytes]:
        return [] if lose and to == "client" else datagrams

    pair = connected(change=change)
    stream = opened(pair)
    pair.client.write(stream, bytes(pair.settings.stream_window))
    pair.exchange()
    assert pair.server is not None
    lose = True
    pair.server.grant(stream, pair.settings.stream_window + 1000)
    pair.exchange()
    assert pair.client.credit(stream) == 0
    lose = False
    pair.sleep(2)
    assert pair.client.credit(stream) == 1000


def test_grants_go_on_after_key_updates() -> None:
    pair = connected()
    pair.sleep(0.2)
    assert pair.server is not None
    stream = opened(pair)
    limit = pair.settings.stream_window
    for _ in range(4):
        pair.client.write(stream, bytes(1000))
        pair.exchange()
        pair.sleep(1)
        pair.server.request_key_update()
        limit += 1000
        pair.server.grant(stream, limit)
        pair.exchange()
        pair.sleep(1)
        assert pair.client._credit.limits[stream] == limit


def test_many_grants_at_once() -> None:
    pair = connected()
    streams = [opened(pair) for _ in range(100)]
    for stream in streams:
        pair.client.write(stream, b"x")
    pair.exchange()
    assert pair.server is not None
    for stream in streams:
        pair.server.grant(stream, 10_000_000)
    pair.exchange()
    pair.sleep(3)
    assert {pair.client._credit.limits[stream] for stream in streams} == {10_000_000}


def test_the_connection_window_is_kept_open_by_what_leaves_the_engine() -> None:
    pair = connected(settings=EngineSettings(stream_window=8 << 20, max_stream_window=8 << 20))
    stream = opened(pair)
    pair.client.write(stream, bytes(8 << 20))
    pair.exchange(rounds=10_000)
    pair.sleep(5)
    assert received(pair) == 8 << 20


def test_as_many_streams_as_announced() -> None:
    pair = connected(settings=EngineSettings(max_streams=3))
    assert [pair.client.open_stream() for _ in range(4)] == [0, 4, 8, None]
    assert pair.server is not None
    for stream in (0, 4, 8):
        pair.client.write(stream, b"", fin=True)
    pair.exchange()
    for stream in (0, 4, 8):
        pair.server.write(stream, b"", fin=True)
    pair.exchange()
    pair.sleep(0.5)
    assert pair.client.open_stream() == 12


def test_codes_cross() -> None:
    pair = connected()
    stream = opened(pair)
    pair.client.write(stream, b"x")
    pair.client.reset(stream, 0x1005)
    pair.exchange()
    assert StreamReset(stream, 0x1005) in pair.events["server"]
    pair.client.close(0x1006, "done")
    pair.exchange()
    assert pair.closed("server") == Closed(0x1006, "done", True, True)


def test_a_path_change_is_followed() -> None:
    """The client's NAT gives it another port: the server validates the new path and moves."""
    pair = connected()
    pair.sleep(0.2)
    stream = opened(pair)
    assert pair.server is not None and pair.server.remote == CLIENT
    pair.client_address = ("192.0.2.1", 1001)
    pair.client.write(stream, bytes(100 * KIB))
    pair.exchange()
    pair.sleep(0.5)
    assert received(pair) == 100 * KIB
    assert PathChanged(("192.0.2.1", 1001)) in pair.events["server"]
    assert pair.server.remote == ("192.0.2.1", 1001)


def test_an_idle_connection_ends() -> None:
    pair = connected()
    pair.sleep(40)
    assert pair.closed("client") is not None and pair.closed("server") is not None


def test_pings_keep_it_open() -> None:
    pair = connected()
    for _ in range(6):
        pair.sleep(15)
        pair.client.ping()
        pair.exchange()
    assert pair.closed("client") is None and pair.closed("server") is None


def test_a_client_ends_when_its_version_is_not_spoken() -> None:
    client = Engine(
        {"libp2p": HostIdentity(PrivateKey.generate()).profile()}, EngineSettings(), is_client=True
    )
    client.start(SERVER, 0.0)
    (first, _), *_ = client.poll(0.0, 1)
    header = parse_long(first)
    assert header is not None
    # What a server that speaks other versions only would say.
    answer = encode_version_negotiation(header, 0)[:-8] + b"\x1a\x2a\x3a\x4a\x70\x00\x00\x01"
    client.receive(answer, len(answer), SERVER, 0.1)
    closed = client.next_event()
    assert isinstance(closed, Closed) and closed.remote


def test_a_client_ignores_a_negotiation_that_lists_its_version() -> None:
    client = Engine(
        {"libp2p": HostIdentity(PrivateKey.generate()).profile()}, EngineSettings(), is_client=True
    )
    client.start(SERVER, 0.0)
    (first, _), *_ = client.poll(0.0, 1)
    header = parse_long(first)
    assert header is not None
    answer = encode_version_negotiation(header, 0x2A)
    client.receive(answer, len(answer), SERVER, 0.1)
    assert client.next_event() is None


@pytest.mark.parametrize("genuine", [True, False])
def test_retry(genuine: bool) -> None:
    """A client comes back with the token; a Retry with a wrong integrity tag is ignored."""
    client = Engine(
        {"libp2p": HostIdentity(PrivateKey.generate()).profile()}, EngineSettings(), is_client=True
    )
    client.start(SERVER, 0.0)
    (first, _), *_ = client.poll(0.0, 8)
    header = parse_long(first)
    assert header is not None and header.token == b""
    retry = encode_retry(header, b"12345678", b"the token")
    if not genuine:
        retry = retry[:-1] + bytes((retry[-1] ^ 1,))
    client.receive(retry, len(retry), SERVER, 0.1)
    again = client.poll(0.1, 8)
    if genuine:
        second = parse_long(again[0][0])
        assert second is not None
        assert (second.token, second.destination) == (b"the token", b"12345678")
    else:
        assert not again


def test_a_defect_in_the_library_ends_only_its_connection() -> None:
    pair = connected()

    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("a defect")

    pair.client._core = Broken()  # type: ignore[assignment]
    pair.client.receive(b"x" * 50, 50, SERVER, pair.now)
    closed = pair.client.next_event()
    assert isinstance(closed, Closed) and closed.code == 1
    assert pair.client.poll(pair.now, 8) == [] and pair.client.next_timer() is None
