"""What hostile peers do to yamux: rows 17 to 31 of the list of attacks, against the core alone."""

from __future__ import annotations

import tracemalloc

import pytest

from carrick.errors import MuxerError
from carrick.interfaces import MuxerStream, Role
from carrick.transports.muxers.yamux import Yamux
from tests.support.muxers import RECORD, Memory, yamux
from tests.unit.test_yamux import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    RST,
    SYN,
    WINDOW,
    WINDOW_UPDATE,
    data,
    frame,
    output,
    quiet,
)

PROTOCOL_ERROR = frame(GO_AWAY, 0, 0, 1)


def victim() -> tuple[Yamux, MuxerStream]:
    """A listener with one open stream, id 1."""
    core = yamux(Role.SERVER)
    core.feed(data(1, b"x", SYN))
    stream = core.accept()
    assert stream is not None
    core._keepalive.overdue = True
    output(core)  # the first ping, and the ACK that waited for it
    return core, stream


def closed_by(core: Yamux, attack: bytes) -> None:
    with pytest.raises(MuxerError) as caught:
        core.feed(attack)
    assert caught.value.code == 1
    assert output(core) == PROTOCOL_ERROR


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(b"\x01" + frame(PING, SYN, 0, 0)[1:], id="version 1"),
        pytest.param(b"\xff" + frame(DATA, 0, 1, 0)[1:], id="version 255"),
        pytest.param(frame(4, 0, 1, 0), id="type 4"),
        pytest.param(frame(255, 0, 1, 0), id="type 255"),
        pytest.param(frame(DATA, 0xFFFF, 3, 0), id="all flags"),
        pytest.param(frame(DATA, 0x000F, 3, 0), id="all known flags"),
        pytest.param(frame(DATA, 0x0010, 1, 0), id="unknown flag"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 0, 0), id="SYN on stream 0"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 2, 0), id="SYN of our parity"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 1, 0), id="second SYN"),
        pytest.param(frame(WINDOW_UPDATE, SYN | ACK, 3, 0), id="SYN with ACK"),
        pytest.param(frame(WINDOW_UPDATE, SYN | RST, 3, 0), id="SYN with RST"),
        pytest.param(frame(PING, ACK, 0, 77), id="pong nobody asked for"),
        pytest.param(frame(PING, ACK, 0, 0) * 2, id="pong twice"),
        pytest.param(frame(PING, 0, 0, 0), id="ping without flags"),
        pytest.param(frame(PING, SYN | ACK, 0, 0), id="ping and pong"),
        pytest.param(frame(PING, SYN, 1, 0), id="ping of a stream"),
        pytest.param(frame(GO_AWAY, 0, 1, 0), id="GoAway of a stream"),
        pytest.param(frame(DATA, SYN, 3, WINDOW + 1), id="SYN over credit"),
        pytest.param(frame(DATA, SYN | FIN, 3, WINDOW + 1), id="SYN and FIN over credit"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 3, 2**32 - 1), id="SYN with too much credit"),
        pytest.param(frame(DATA, 0, 1, WINDOW), id="window + 1"),
        pytest.param(frame(DATA, 0, 1, 0x7FFFFFFF), id="length 0x7fffffff"),
        pytest.param(frame(DATA, 0, 1, 0xFFFFFFFF), id="length 0xffffffff"),
        pytest.param(frame(DATA, FIN, 1, 0xFFFFFFFF), id="length 0xffffffff with FIN"),
        pytest.param(frame(DATA, RST, 1, 0xFFFFFFFF), id="length 0xffffffff with RST"),
        pytest.param(frame(DATA, 0, 9, 0xFFFFFFFF), id="length 0xffffffff, unknown stream"),
        pytest.param(frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF), id="credit beyond 2**32 - 1"),
    ],
)
def test_refused_at_the_header(attack: bytes) -> None:
    """Rows 21 to 24 and 29; the body never comes."""
    core, stream = victim()
    closed_by(core, attack)
    assert core.accept() is None
    assert core.stream_count == 1


def test_window_overrun_over_many_frames() -> None:
    """Row 18."""
    core, stream = victim()
    for _ in range(3):
        core.feed(data(1, bytes(64 * 1024)))
    core.feed(data(1, bytes(64 * 1024 - 1)))
    assert stream.received == WINDOW
    closed_by(core, data(1, b"1"))


def test_credit_adds_up_to_the_limit_and_no_further() -> None:
    """Row 23."""
    core, stream = victim()
    core.feed(frame(WINDOW_UPDATE, 0, 1, 2**32 - 1 - WINDOW))
    closed_by(core, frame(WINDOW_UPDATE, 0, 1, 1))


def test_overrun_of_a_stream_that_we_reset() -> None:
    core, stream = victim()
    stream.reset()
    output(core)
    core.feed(data(1, bytes(WINDOW - 1)))  # was under way
    assert not core.has_output()
    closed_by(core, data(1, b"1"))


def test_frames_for_streams_never_opened() -> None:
    """Row 17."""
    core, _ = victim()
    attack = b"".join(data(2 * i + 3, bytes(256)) for i in range(100_000))
    closed_by(core, attack)
    assert core.stream_count == 1


def test_frames_for_streams_never_opened_are_answered() -> None:
    core, _ = victim()
    core.feed(data(99, bytes(256)) + frame(WINDOW_UPDATE, 0, 101, 5) + frame(DATA, RST, 103, 0))
    assert output(core) == frame(WINDOW_UPDATE, RST, 99, 0) + frame(WINDOW_UPDATE, RST, 101, 0)


def test_races_after_a_reset_are_quiet() -> None:
    core, stream = victim()
    for stream_id in range(3, 2003, 2):
        core.feed(data(stream_id, b"x", SYN))
        inbound = core.accept()
        assert inbound is not None
        inbound.reset()
        output(core)
        core.feed(data(stream_id, bytes(100)) + frame(WINDOW_UPDATE, 0, stream_id, 100))
        core.feed(frame(DATA, FIN, stream_id, 0) + frame(WINDOW_UPDATE, RST, stream_id, 0))
    assert not core.has_output()


def test_races_after_a_close_are_quiet() -> None:
    core = yamux(Role.SERVER)
    for stream_id in range(1, 4001, 2):
        core.feed(data(stream_id, b"x", SYN | FIN))
        inbound = core.accept()
        assert inbound is not None
        inbound.take(1)
        inbound.close_write()
        output(core)
        core.feed(frame(WINDOW_UPDATE, 0, stream_id, 100))  # credit for what we have sent
    assert core.stream_count == 0
    assert not core.has_output()


def test_syn_flood() -> None:
    """Row 19: the application accepts as fast as it can."""
    core = yamux(Role.SERVER)
    served = 0
    with pytest.raises(MuxerError, match="beyond the limit"):
        for i in range(100_000):
            core.feed(frame(WINDOW_UPDATE, SYN, 2 * i + 1, 0))
            while core.accept():
                served += 1
            assert core.stream_count <= 512
    assert served == 512
    assert output(core) == PROTOCOL_ERROR


def test_syn_flood_without_accept() -> None:
    core = quiet(Role.SERVER)
    core.feed(b"".join(frame(WINDOW_UPDATE, SYN, 2 * i + 1, 0) for i in range(300)))
    assert core.stream_count == 256
    refused = b"".join(frame(WINDOW_UPDATE, RST, 2 * i + 1, 0x1002) for i in range(256, 300))
    assert output(core) == refused


def test_refused_stream_with_its_data() -> None:
    core = yamux(Role.SERVER)
    core.close()
    output(core)
    core.feed(data(1, bytes(1000), SYN) + data(1, bytes(WINDOW - 1000)))
    assert output(core) == frame(WINDOW_UPDATE, RST, 1, 0x1002)
    assert core.stream_count == 0
    closed_by(core, data(1, b"1"))


@pytest.mark.parametrize("code", [0, 1, 2, 0xFFFFFFFF])
def test_streams_after_goaway(code: int) -> None:
    """Row 25."""
    core = yamux(Role.SERVER)
    core.feed(frame(GO_AWAY, 0, 0, code) + data(1, b"late", SYN))
    assert core.accept() is None
    assert core.stream_count == 0


def test_ping_flood() -> None:
    """Row 26: every answer is read."""
    core, _ = victim()
    answered = 0
    with pytest.raises(MuxerError, match="without payload"):
        for i in range(400_000):
            core.feed(frame(PING, SYN, 0, i))
            answered += len(output(core)) // 12
    assert answered <= 20_000


def test_pings_of_a_long_connection_are_fine() -> None:
    core = quiet(Role.SERVER)
    core.feed(frame(PING, ACK, 0, 0))
    for second in range(5000):
        core.tick(float(second))
        for value in range(50):
            core.feed(frame(PING, SYN, 0, value))
            output(core)


def test_ping_noread() -> None:
    """Row 27: no answer is read."""
    core, _ = victim()
    core.feed(b"".join(frame(PING, SYN, 0, i) for i in range(5000)))
    assert core.overloaded
    assert output(core, 10_000) == b"".join(frame(PING, ACK, 0, i) for i in range(32))
    assert not core.overloaded
    core.feed(b"".join(frame(PING, SYN, 0, i) for i in range(100)))
    with pytest.raises(MuxerError):
        core.on_stall()


def test_resets_noread() -> None:
    """Rows 28 and 30: what waits to be sent is bounded."""
    core = yamux(Role.SERVER)
    i = 0
    while not core.overloaded:
        core.feed(frame(WINDOW_UPDATE, SYN, 2 * i + 1, 0))
        stream = core.accept()
        assert stream is not None
        stream.reset()
        i += 1
    assert i == 1024
    with pytest.raises(MuxerError):
        core.on_stall()


def test_rapid_reset() -> None:
    """Row 30."""
    core = yamux(Role.SERVER)
    opened = 0
    with pytest.raises(MuxerError, match="opened and reset"):
        for i in range(60_000):
            core.feed(data(2 * i + 1, b"hello", SYN))
            opened += core.accept() is not None
            core.feed(frame(WINDOW_UPDATE, RST, 2 * i + 1, 0))
    assert opened == 1001
    assert core.stream_count == 0


def test_resets_over_a_long_time_are_fine() -> None:
    core = quiet(Role.SERVER)
    core.feed(frame(PING, ACK, 0, 0))
    for i in range(20_000):
        core.tick(i * 0.2)
        output(core)
        core.feed(data(2 * i + 1, b"hello", SYN) + frame(WINDOW_UPDATE, RST, 2 * i + 1, 0))
        assert core.accept() is None


def test_empty_data() -> None:
    """Row 31."""
    core, stream = victim()
    closed_by(core, frame(DATA, 0, 1, 0) * 300_000)
    assert stream.received == 1


def test_window_updates_of_a_chatty_peer_are_fine() -> None:
    """py-libp2p credits every read: as many updates as messages."""
    core = yamux()
    stream = core.open()
    for _ in range(60_000):
        stream.write(memoryview(bytes(64)))
        core.take(RECORD)
        core.feed(frame(WINDOW_UPDATE, 0, 1, 32) * 2)


def test_data_behind_fin() -> None:
    core, stream = victim()
    core.feed(frame(DATA, FIN, 1, 0) + data(1, b"more"))
    assert stream.reset_code is not None
    assert output(core) == frame(WINDOW_UPDATE, RST, 1, 0)


def test_bytes_of_small_frames_are_held_at_their_size() -> None:
    core, stream = victim()
    records = [data(1, b"y") for _ in range(50_000)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for record in records:
        core.feed(record)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert stream.received == 50_001
    assert held < 4 * 50_000


def test_a_small_piece_does_not_keep_its_record() -> None:
    core, read = victim()
    core.feed(b"".join(frame(WINDOW_UPDATE, SYN, 2 * i + 3, 0) for i in range(100)))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for i in range(100):  # 6,000 bytes for a stream that nobody reads, the rest is read at once
        core.feed(data(2 * i + 3, bytes(6000)) + data(1, bytes(50_000)))
        read.take(100_000)
        output(core)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 100 * 6000 * 2


def test_growth_of_a_hostile_stream_stays_in_the_budget() -> None:
    memory = Memory(limit=0)
    core = Yamux(Role.SERVER, budget=memory, now=0.0)
    core.tick(1.0)
    output(core)
    core.feed(frame(PING, ACK, 0, 0))
    core.feed(data(1, bytes(WINDOW), SYN))
    stream = core.accept()
    assert stream is not None
    stream.take(WINDOW)
    assert output(core) == frame(WINDOW_UPDATE, ACK, 1, WINDOW)
    assert memory.used == 0
