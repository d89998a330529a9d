"""Yamux on the wire: frames, windows, pings, GoAway."""

from __future__ import annotations

import pytest

from carrick.errors import ConnectionClosed, MuxerError, ResourceLimitExceeded
from carrick.interfaces import MuxerStream, Role
from carrick.transports.muxers.yamux import Yamux, YamuxConfig
from tests.support.muxers import RECORD, Memory, Pair, pair, write_all, yamux

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
KIB = 1024
WINDOW = 256 * KIB


def frame(kind: int, flags: int, stream_id: int, length: int, body: bytes = b"") -> bytes:
    """Built by hand, so that the code under test is not its own oracle."""
    return (
        bytes((0, kind))
        + flags.to_bytes(2, "big")
        + stream_id.to_bytes(4, "big")
        + length.to_bytes(4, "big")
        + body
    )


def data(stream_id: int, body: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream_id, len(body), body)


def output(core: Yamux, room: int = RECORD) -> bytes:
    taken = b""
    while core.has_output() and (pieces := core.take(room)):
        taken += b"".join(pieces)
    return taken


def quiet(role: Role = Role.CLIENT, **options: object) -> Yamux:
    """A core whose first ping is out of the way."""
    core = yamux(role, **options)  # type: ignore[arg-type]
    assert core.take(RECORD) == []
    core._keepalive.overdue = True
    assert output(core) == frame(PING, SYN, 0, 0)
    return core


# --- frames -------------------------------------------------------------------------------------


def test_first_stream_of_a_client() -> None:
    core = quiet()
    stream = core.open()
    stream.write(memoryview(b"hello"))
    assert output(core) == bytes.fromhex("000000010000000100000005") + b"hello"
    stream.write(memoryview(b"again"))
    stream.close_write()
    assert output(core) == data(1, b"again") + frame(DATA, FIN, 1, 0)


def test_ids() -> None:
    client, server = yamux(Role.CLIENT), yamux(Role.SERVER)
    assert [client.open().id for _ in range(3)] == [1, 3, 5]
    assert [server.open().id for _ in range(3)] == [2, 4, 6]


def test_opening_without_a_write_is_a_window_update() -> None:
    core = quiet()
    core.open()
    assert output(core) == frame(WINDOW_UPDATE, SYN, 1, 0)


def test_fin_at_once() -> None:
    core = quiet()
    core.open().close_write()
    assert output(core) == frame(DATA, SYN | FIN, 1, 0)


def test_accepting_is_acknowledged_with_the_next_output() -> None:
    core = quiet(Role.SERVER)
    core.feed(data(1, b"hi", SYN))
    stream = core.accept()
    assert stream is not None
    assert not core.has_output()  # no record for an ACK alone
    stream.write(memoryview(b"ho"))
    assert output(core) == data(1, b"ho", ACK)


def test_acknowledgements_leave_beside_other_output() -> None:
    core = quiet(Role.SERVER)
    core.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
    assert core.accept() is not None
    core.feed(frame(PING, SYN, 0, 99))
    assert output(core) == frame(PING, ACK, 0, 99) + frame(WINDOW_UPDATE, ACK, 1, 0)


def test_acknowledgement_is_not_beside_fin() -> None:
    core = quiet(Role.SERVER)
    core.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
    stream = core.accept()
    assert stream is not None
    stream.close_write()
    assert output(core) == frame(WINDOW_UPDATE, ACK, 1, 0) + frame(DATA, FIN, 1, 0)


def test_many_acknowledgements_are_output() -> None:
    core = quiet(Role.SERVER)
    for i in range(64):
        core.feed(frame(WINDOW_UPDATE, SYN, 2 * i + 1, 0))
        assert core.accept() is not None
    assert output(core) == b"".join(frame(WINDOW_UPDATE, ACK, 2 * i + 1, 0) for i in range(64))


def test_reset_carries_its_code() -> None:
    core = quiet()
    stream = core.open()
    output(core)
    stream.reset(0x1004)
    assert output(core) == frame(WINDOW_UPDATE, RST, 1, 0x1004)


@pytest.mark.parametrize("code", [0, 1, 0x1001, 2**32 - 1])
def test_any_reset_code_is_taken(code: int) -> None:
    core = yamux()
    stream = core.open()
    output(core)
    core.feed(frame(WINDOW_UPDATE, RST, 1, code))
    assert (stream.reset_code, stream.reset_by_remote) == (code, True)


def test_reset_on_a_data_frame() -> None:
    core = yamux()
    stream = core.open()
    output(core)
    core.feed(data(1, b"dropped", RST) + frame(PING, SYN, 0, 1))
    assert (stream.reset_code, stream.reset_by_remote, stream.received) == (0, True, 0)
    assert output(core) == frame(PING, ACK, 0, 1)


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_fin_on_either_frame(kind: int) -> None:
    core = yamux()
    stream = core.open()
    output(core)
    core.feed(frame(kind, FIN, 1, 0))
    assert stream.remote_closed


def test_fin_beside_data_comes_behind_it() -> None:
    core = yamux(Role.SERVER)
    core.feed(frame(DATA, SYN | FIN, 1, 5, b"hel"))
    stream = core.accept()
    assert stream is not None
    assert not stream.remote_closed
    core.feed(b"lo")
    assert stream.remote_closed
    assert stream.take(9) == b"hello"


def test_unused_opening_is_not_reset_on_the_wire() -> None:
    core = quiet()
    core.open().reset(1)
    assert output(core) == b""


# --- flow control -------------------------------------------------------------------------------


def test_sender_keeps_to_the_window() -> None:
    core = quiet()
    stream = core.open()
    stream.write(memoryview(bytes(300 * KIB)))
    sent = output(core)
    assert stream.pending == 300 * KIB - WINDOW
    assert not stream.may_send
    assert not core.has_output()
    assert len(sent) == WINDOW + 12 * 5
    core.feed(frame(WINDOW_UPDATE, ACK, 1, 1000))
    assert stream in core.touched()
    assert output(core) == data(1, bytes(1000))
    core.feed(frame(WINDOW_UPDATE, 0, 1, WINDOW))
    output(core)
    assert stream.pending == 0
    assert stream.may_send


def test_larger_window_in_syn_and_ack() -> None:
    server, client = quiet(Role.SERVER), quiet()
    server.feed(frame(WINDOW_UPDATE, SYN, 1, WINDOW))
    accepted = server.accept()
    opened = client.open()
    output(client)
    client.feed(frame(WINDOW_UPDATE, ACK, 1, WINDOW))
    assert accepted is not None
    for stream, core in ((accepted, server), (opened, client)):
        stream.write(memoryview(bytes(3 * WINDOW)))
        output(core)
        assert stream.pending == WINDOW


def test_update_at_half_of_the_window_when_the_application_takes() -> None:
    core = quiet(Role.SERVER)
    core.feed(data(1, bytes(WINDOW), SYN))
    stream = core.accept()
    assert stream is not None
    output(core)
    stream.take(WINDOW // 2 - 1)
    assert not core.has_output()
    stream.take(1)
    assert output(core) == frame(WINDOW_UPDATE, ACK, 1, WINDOW // 2)
    stream.take_views()
    assert output(core) == frame(WINDOW_UPDATE, 0, 1, WINDOW // 2)


def test_updates_of_one_stream_are_combined() -> None:
    core = quiet(Role.SERVER)
    core.feed(data(1, bytes(WINDOW), SYN))
    stream = core.accept()
    assert stream is not None
    for _ in range(4):
        stream.take(WINDOW // 4)
    assert output(core) == frame(WINDOW_UPDATE, ACK, 1, WINDOW)


def test_no_update_after_fin() -> None:
    core = quiet(Role.SERVER)
    core.feed(data(1, bytes(WINDOW), SYN | FIN))
    stream = core.accept()
    assert stream is not None
    stream.take(WINDOW)
    assert not core.has_output()


def test_only_data_counts() -> None:
    core = yamux(Role.SERVER)
    core.feed(data(1, bytes(WINDOW - 1), SYN))
    for _ in range(10):
        core.feed(frame(DATA, 0, 1, 0) + frame(WINDOW_UPDATE, 0, 1, 1) + frame(PING, SYN, 0, 0))
    core.feed(data(1, b"1"))


RTT = 0.02


def transfer(
    memory: Memory, size: int, *, pause: float = 0.0, config: YamuxConfig | None = None
) -> tuple[Pair, MuxerStream, MuxerStream]:
    """A client uploads `size` bytes over a link of 10 ms that carries any amount of bytes."""
    joined = Pair(yamux(), yamux(Role.SERVER, budget=memory, config=config))
    ours = joined.client.open()
    joined.exchange(RTT / 2)
    joined.exchange(RTT / 2)
    theirs = joined.server.accept()
    assert theirs is not None
    assert joined.server.rtt == pytest.approx(RTT)
    got = sent = 0
    while got < size:
        if not ours.pending and sent < size:
            ours.write(memoryview(bytes(size // 4)))
            sent += size // 4
        joined.exchange(RTT / 2)
        joined.now += pause
        joined.server.tick(joined.now)
        got += len(theirs.take(1 << 30))
    joined.exchange(RTT / 2)
    return joined, ours, theirs


def test_window_grows_while_it_limits_the_rate() -> None:
    memory = Memory()
    transfer(memory, 64 << 20)
    assert memory.used == 16 * 1024 * KIB - WINDOW  # the maximum, beyond the basic share


def test_window_does_not_grow_for_a_slow_reader() -> None:
    memory = Memory()
    transfer(memory, 4 << 20, pause=0.2)
    assert memory.used == 0


def test_growth_stops_at_the_budget() -> None:
    memory = Memory(limit=1024 * KIB)
    transfer(memory, 16 << 20)
    assert memory.used == 768 * KIB  # 256 KiB, then 512 KiB; the next doubling does not fit


def test_maximum_window() -> None:
    memory = Memory()
    transfer(memory, 4 << 20, config=YamuxConfig(max_window=WINDOW + 5))
    assert memory.used == 5


@pytest.mark.parametrize("how", ["reset", "remote reset", "close", "abandon"])
def test_growth_goes_back_with_the_stream(how: str) -> None:
    memory = Memory()
    joined, ours, theirs = transfer(memory, 4 << 20)
    write_all(joined, ours, b"unread")
    assert memory.used > 0
    if how == "reset":
        theirs.reset()
    elif how == "remote reset":
        ours.reset()
        joined.run()
    elif how == "close":
        for stream in (ours, theirs):
            stream.close_write()
            joined.run()
        assert memory.used > 0
        assert theirs.take(100) == b"unread"
    else:
        joined.server.abandon(0, remote=False)
    assert memory.used == 0


# --- pings --------------------------------------------------------------------------------------


def test_ping_measures_the_round_trip() -> None:
    core = yamux()
    assert core.rtt is None
    assert not core.has_output()  # it rides with other output, or goes alone after a second
    assert core.next_deadline() == 1.0
    core.tick(1.0)
    assert output(core) == frame(PING, SYN, 0, 0)
    core.tick(1.2)
    core.feed(frame(PING, ACK, 0, 0))
    assert core.rtt == pytest.approx(0.2)
    assert core.next_deadline() == pytest.approx(31.0)
    core.tick(30.9)
    assert not core.has_output()
    core.tick(31.0)
    assert output(core) == frame(PING, SYN, 0, 1)
    core.tick(31.1)
    core.feed(frame(PING, ACK, 0, 1))
    assert core.rtt == pytest.approx(0.15)


def test_ping_is_echoed() -> None:
    core = quiet()
    core.feed(frame(PING, SYN, 0, 0xDEADBEEF))
    assert output(core) == frame(PING, ACK, 0, 0xDEADBEEF)


def test_keepalive_fails_on_silence() -> None:
    core = quiet()
    deadline = core.next_deadline()
    assert deadline == 20.0
    core.tick(19.9)
    with pytest.raises(MuxerError, match="keepalive"):
        core.tick(20.0)


def test_keepalive_takes_any_bytes_for_life() -> None:
    core = quiet()
    core.tick(15.0)
    core.feed(frame(PING, SYN, 0, 5))
    core.tick(20.0)
    assert core.next_deadline() == 35.0
    with pytest.raises(MuxerError, match="keepalive"):
        core.tick(35.0)


def test_of_an_idle_connection_only_one_side_asks() -> None:
    """The dialer, in each interval; the listener as soon as the dialer does not, or more comes."""
    core = quiet(Role.SERVER)
    core.tick(0.1)
    core.feed(frame(PING, ACK, 0, 0))
    for now in (30.0, 60.0, 90.0):
        core.tick(now)
        core.feed(frame(PING, SYN, 0, 1))
        assert output(core) == frame(PING, ACK, 0, 1)
    core.tick(122.9)
    assert not core.has_output()
    core.tick(123.0)
    assert output(core) == frame(PING, SYN, 0, 1)
    core.feed(frame(PING, ACK, 0, 1))

    core.tick(150.0)
    core.feed(frame(PING, SYN, 0, 5))
    core.tick(155.0)
    core.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
    output(core)
    core.tick(156.0)  # 33 s after its own
    assert output(core) == frame(PING, SYN, 0, 2)


def test_keepalive_does_not_blame_the_peer_for_our_overload() -> None:
    core = quiet(Role.SERVER, config=YamuxConfig(max_unread=10))
    core.feed(data(1, bytes(10), SYN))
    assert core.overloaded
    core.tick(1000.0)
    assert core.next_deadline() == 1020.0


# --- GoAway -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 2, 0x1006, 2**32 - 1])
def test_goaway_from_the_peer(code: int) -> None:
    joined = pair("yamux")
    ours, theirs = joined.streams()
    assert joined.server.remote_close_code is None
    joined.client.close(code)
    joined.run()
    assert joined.server.going_away
    assert joined.server.remote_close_code == code
    with pytest.raises(ConnectionClosed) as caught:
        joined.server.open()
    assert (caught.value.code, caught.value.remote) == (code, True)
    write_all(joined, theirs, b"existing streams live on")
    assert ours.received


def test_goaway_comes_behind_the_rest() -> None:
    core = quiet()
    stream = core.open()
    stream.write(memoryview(bytes(100_000)))
    core.close(2)
    sent = output(core)
    assert sent.endswith(frame(GO_AWAY, 0, 0, 2))
    assert len(sent) == 100_000 + 3 * 12


def test_goaway_does_not_wait_for_window() -> None:
    core = quiet()
    core.open().write(memoryview(bytes(WINDOW + 1)))
    core.close()
    assert output(core).endswith(frame(GO_AWAY, 0, 0, 0))


def test_violation_sends_nothing_but_goaway() -> None:
    core = yamux()
    core.open().write(memoryview(b"never sent"))
    with pytest.raises(MuxerError) as caught:
        core.feed(b"\x01" * 12)
    assert caught.value.code == 1
    assert output(core) == frame(GO_AWAY, 0, 0, 1)


# --- limits -------------------------------------------------------------------------------------


def test_ack_backlog_of_ours() -> None:
    core = yamux()
    streams = [core.open() for _ in range(256)]
    with pytest.raises(ResourceLimitExceeded, match="streams_pending"):
        core.open()
    output(core)
    core.feed(frame(WINDOW_UPDATE, ACK, streams[0].id, 0))
    core.feed(frame(WINDOW_UPDATE, RST, streams[1].id, 0))
    core.open()
    core.open()
    with pytest.raises(ResourceLimitExceeded):
        core.open()


def test_ids_run_out() -> None:
    core = yamux()
    core._next_id = 2**32 - 1
    assert core.open().id == 2**32 - 1
    with pytest.raises(ConnectionClosed):
        core.open()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_window": WINDOW - 1},
        {"max_window": 2**32},
        {"max_streams": 0},
        {"ping_interval": 0.0},
        {"ping_timeout": -1.0},
    ],
)
def test_config_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        YamuxConfig(**wrong)  # type: ignore[arg-type]
