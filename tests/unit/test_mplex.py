"""Mplex on the wire, and what hostile peers do to it."""

from __future__ import annotations

import tracemalloc

import pytest

from carrick.errors import MuxerError
from carrick.interfaces import Buffer, MuxerStream, Role
from carrick.transports.muxers.mplex import Mplex, MplexConfig
from tests.support.muxers import mplex, pair, write_all

NEW, MESSAGE_R, MESSAGE_I, CLOSE_R, CLOSE_I, RESET_R, RESET_I = range(7)
MIB = 1024 * 1024


def varint(value: int) -> bytes:
    """Built by hand, so that the code under test is not its own oracle."""
    encoded = b""
    while value > 0x7F:
        encoded += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return encoded + bytes((value,))


def message(stream_id: int, flag: int, body: bytes = b"", length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    return varint(stream_id << 3 | flag) + varint(announced) + body


def output(core: Mplex) -> bytes:
    pieces: list[Buffer] = []
    while core.has_output():
        pieces += core.take(65519)
    return b"".join(pieces)


def victim() -> tuple[Mplex, MuxerStream]:
    core = mplex(Role.SERVER)
    core.feed(message(0, NEW, b"name") + message(0, MESSAGE_I, b"x"))
    stream = core.accept()
    assert stream is not None
    return core, stream


def test_the_initiator_sends() -> None:
    core = mplex()
    stream = core.open()
    stream.write(memoryview(b"hello"))
    assert output(core) == bytes.fromhex("0000" + "0205") + b"hello"
    stream.close_write()
    assert output(core) == bytes.fromhex("0400")
    stream = core.open()
    assert output(core) == bytes.fromhex("0800")
    stream.reset()
    assert output(core) == bytes.fromhex("0e00")


def test_the_receiver_sends() -> None:
    core, stream = victim()
    stream.write(memoryview(b"hello"))
    assert output(core) == bytes.fromhex("0105") + b"hello"
    stream.close_write()
    assert output(core) == bytes.fromhex("0300")
    stream.reset()
    assert output(core) == bytes.fromhex("0500")


def test_both_sides_may_use_an_id() -> None:
    core, theirs = victim()
    ours = core.open()
    assert ours.id == theirs.id == 0
    output(core)
    core.feed(message(0, MESSAGE_R, b"for ours") + message(0, MESSAGE_I, b"for theirs"))
    assert ours.take(99) == b"for ours"
    assert theirs.take(99) == b"xfor theirs"
    core.feed(message(0, CLOSE_R) + message(0, RESET_I))
    assert ours.remote_closed and ours.reset_code is None
    assert theirs.reset_by_remote


def test_largest_id() -> None:
    core = mplex(Role.SERVER)
    core.feed(message(2**60 - 1, NEW) + message(2**60 - 1, MESSAGE_I, b"far"))
    stream = core.accept()
    assert stream is not None
    assert stream.id == 2**60 - 1
    assert stream.take(9) == b"far"
    stream.reset()
    assert output(core) == message(2**60 - 1, RESET_R)


def test_largest_message() -> None:
    core, stream = victim()
    core.feed(message(0, MESSAGE_I, length=MIB) + bytes(MIB))
    assert stream.received == MIB + 1


def test_no_timers() -> None:
    core = mplex()
    core.tick(1e9)
    assert core.next_deadline() is None
    assert core.rtt is None
    assert core.remote_close_code is None


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(message(0, 7), id="unknown flag"),
        pytest.param(message(0, MESSAGE_I, length=MIB + 1), id="1 MiB + 1"),
        pytest.param(message(0, MESSAGE_I, length=2**63 - 1), id="length 2**63 - 1"),
        pytest.param(b"\xff" * 9, id="header of 10 bytes"),
        pytest.param(b"\x80\x00\x00", id="header not minimal"),
        pytest.param(b"\x02" + b"\xff" * 9, id="length of 10 bytes"),
        pytest.param(message(0, NEW), id="second NewStream"),
        pytest.param(message(1, NEW, length=1025), id="name of 1,025 bytes"),
    ],
)
def test_refused_at_the_header(attack: bytes) -> None:
    core, _ = victim()
    with pytest.raises(MuxerError):
        core.feed(attack)
    assert not core.has_output()
    assert core.stream_count == 1


def test_names_are_not_kept() -> None:
    core = mplex(Role.SERVER)
    core.feed(message(0, NEW, b"n" * 1000)[:500])
    assert core.stream_count == 1
    core.feed(message(0, NEW, b"n" * 1000)[500:] + message(0, MESSAGE_I, b"data"))
    stream = core.accept()
    assert stream is not None
    assert stream.take(9999) == b"data"


def test_data_behind_the_end() -> None:
    core, stream = victim()
    core.feed(message(0, CLOSE_I) + message(0, MESSAGE_I, b"more"))
    assert stream.reset_code is not None
    assert output(core) == message(0, RESET_R)


def test_slow_reader_stops_the_connection_then_loses_its_stream() -> None:
    joined = pair("mplex")
    fast, fast_there = joined.streams()
    slow, slow_there = joined.streams()
    write_all(joined, fast, bytes(1000))
    write_all(joined, slow, bytes(MIB - 1))
    assert not joined.server.overloaded
    write_all(joined, slow, b"1")
    assert joined.server.overloaded
    slow_there.take(1)
    assert not joined.server.overloaded
    write_all(joined, slow, b"1")
    joined.server.on_stall()
    assert not joined.server.overloaded
    joined.run()
    assert slow.reset_by_remote
    assert fast.reset_code is None
    assert fast_there.received == 1000


def test_hard_bounds() -> None:
    """A driver that goes on feeding holds no more than the limits and a batch."""
    core = Mplex(Role.SERVER, config=MplexConfig(), now=0.0)
    for i in range(10):
        core.feed(message(i, NEW))
    streams = [core.accept() for _ in range(10)]
    for _ in range(200):
        for i in range(10):
            core.feed(message(i, MESSAGE_I, bytes(20_000)))
            held = [stream.received for stream in streams if stream is not None]
            assert max(held) < MIB + 256 * 1024
            assert sum(held) < 4 * MIB + 256 * 1024
    assert core.stream_count < 10


def test_unknown_streams() -> None:
    core, _ = victim()
    with pytest.raises(MuxerError, match="not open"):
        for i in range(100_000):
            core.feed(message(i + 5, MESSAGE_I, bytes(256)))
    assert core.stream_count == 1


def test_new_stream_flood() -> None:
    core = mplex(Role.SERVER)
    with pytest.raises(MuxerError, match="beyond the limit"):
        for i in range(100_000):
            core.feed(message(i, NEW))
            core.accept()
    assert core.stream_count == 512


def test_rapid_reset() -> None:
    core = mplex(Role.SERVER)
    with pytest.raises(MuxerError, match="opened and reset"):
        for i in range(60_000):
            core.feed(message(i, NEW) + message(i, MESSAGE_I, b"hello") + message(i, RESET_I))
            assert core.accept() is None
    assert core.stream_count == 0


def test_empty_messages() -> None:
    core, stream = victim()
    with pytest.raises(MuxerError, match="without payload"):
        core.feed(message(0, MESSAGE_I) * 300_000)
    assert stream.received == 1


def test_resets_that_nobody_reads() -> None:
    core = mplex(Role.SERVER)
    i = 0
    while not core.overloaded:
        core.feed(message(i, NEW))
        stream = core.accept()
        assert stream is not None
        stream.reset()
        i += 1
    assert i == 1024
    with pytest.raises(MuxerError):
        core.on_stall()


def test_bytes_of_small_messages_are_held_at_their_size() -> None:
    core, stream = victim()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(50_000):
        core.feed(message(0, MESSAGE_I, b"y"))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert stream.received == 50_001
    assert held < 4 * 50_000


@pytest.mark.parametrize("wrong", [{"max_unread": 0}, {"max_streams": 0}, {"max_name": -1}])
def test_config_is_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        MplexConfig(**wrong)
