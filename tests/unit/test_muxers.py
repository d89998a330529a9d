"""What every muxer core must do: two cores joined back to back, the bytes between them cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrick.errors import ConnectionClosed, MuxerError, ResourceLimitExceeded
from carrick.interfaces import Role
from tests.support.muxers import MUXERS, Pair, pair, single_bytes, whole, write_all


@pytest.fixture(params=sorted(MUXERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[whole, single_bytes])
def cut(request: pytest.FixtureRequest) -> Callable[[bytes], list[bytes]]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def joined(name: str, cut: Callable[[bytes], list[bytes]]) -> Pair:
    return pair(name, cut=cut)


def test_both_directions(joined: Pair) -> None:
    ours, theirs = joined.streams()
    assert (ours.inbound, theirs.inbound, ours.id) == (False, True, theirs.id)
    write_all(joined, ours, b"question")
    assert theirs.received == 8
    assert theirs.take(3) == b"que"
    assert theirs.take(100) == b"stion"
    assert theirs.take(100) == b""
    write_all(joined, theirs, b"answer")
    assert b"".join(ours.take_views()) == b"answer"
    assert ours.take_views() == []


def test_either_side_opens(joined: Pair) -> None:
    a = joined.client.open()
    b = joined.server.open()
    a.write(memoryview(b"from client"))
    b.write(memoryview(b"from server"))
    joined.run()
    at_server, at_client = joined.server.accept(), joined.client.accept()
    assert at_server is not None and at_client is not None
    assert at_server.take(99) == b"from client"
    assert at_client.take(99) == b"from server"
    assert joined.client.accept() is None


def test_opening_is_seen_without_a_write(joined: Pair) -> None:
    joined.client.open()
    assert joined.client.has_output()
    joined.run()
    assert joined.server.accept() is not None
    assert joined.server.stream_count == 1


def test_new_streams_are_touched(joined: Pair) -> None:
    joined.client.open()
    joined.run()
    changed = joined.server.touched()
    assert len(changed) == 1
    assert changed[0].owner is None
    assert changed[0] is joined.server.accept()


def test_touched_once(joined: Pair) -> None:
    ours, theirs = joined.streams()
    for _ in range(3):
        write_all(joined, ours, b"x")
    assert joined.server.touched() == [theirs]
    assert joined.server.touched() == []
    assert joined.client.touched() == [ours]  # its writes are done


def test_half_close(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"last words"))
    ours.close_write()
    joined.run()
    assert theirs.remote_closed
    assert theirs in joined.server.touched()
    assert theirs.take(100) == b"last words"
    write_all(joined, theirs, b"still heard")
    assert ours.take(100) == b"still heard"
    assert not ours.remote_closed
    theirs.close_write()
    joined.run()
    assert ours.remote_closed
    assert joined.client.stream_count == joined.server.stream_count == 0
    assert ours.reset_code is theirs.reset_code is None


def test_close_without_a_word(joined: Pair) -> None:
    ours = joined.client.open()
    ours.close_write()
    joined.run()
    theirs = joined.server.accept()
    assert theirs is not None
    assert theirs.remote_closed
    assert theirs.received == 0


def test_data_of_an_ended_stream_stays_readable(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"read me"))
    ours.close_write()
    theirs.close_write()
    joined.run()
    assert joined.client.stream_count == 0
    assert joined.server.stream_count == 1  # it still holds bytes
    assert theirs.take(100) == b"read me"
    assert theirs.remote_closed
    assert joined.server.stream_count == 0


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_reset(joined: Pair, who: str) -> None:
    streams = joined.streams()
    write_all(joined, streams[0], b"lost")
    resetter, other = streams if who == "ours" else streams[::-1]
    resetter.reset(7)
    assert (resetter.reset_code, resetter.reset_by_remote, resetter.received) == (7, False, 0)
    joined.run()
    assert other.reset_by_remote
    assert other.reset_code is not None
    assert other.received == 0
    assert other.take(10) == b""
    other.write(memoryview(b"into the void"))
    assert other.pending == 0
    other.reset(9)
    assert other.reset_code != 9
    assert joined.client.stream_count == joined.server.stream_count == 0
    assert not joined.client.has_output()
    assert not joined.server.has_output()


def test_reset_after_fin_keeps_what_came_before(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"response"))
    ours.close_write()
    ours.close_read()
    joined.run()
    write_all(joined, theirs, b"nobody reads this")
    assert theirs.reset_code is not None
    assert theirs.reset_by_remote
    assert theirs.take(100) == b"response"
    assert theirs.remote_closed
    assert joined.server.stream_count == 0


def test_local_reset_of_a_closed_stream_is_no_end_of_file(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"unread"))
    ours.close_write()
    joined.run()
    theirs.reset(1)
    assert not theirs.remote_closed
    assert theirs.reset_code == 1


def test_reset_of_a_stream_that_was_never_announced(joined: Pair) -> None:
    joined.run()
    ours = joined.client.open()
    ours.write(memoryview(b"never sent"))
    ours.reset()
    assert not joined.client.has_output()
    joined.run()
    assert joined.server.stream_count == 0


def test_close_read_drops_and_resets_once(joined: Pair) -> None:
    ours, theirs = joined.streams()
    write_all(joined, ours, b"unread")
    theirs.close_read()
    assert theirs.received == 0
    assert theirs.reset_code is None
    ours.write(memoryview(b"more"))
    joined.run()
    assert ours.reset_by_remote
    assert theirs.reset_code is not None
    assert joined.client.stream_count == joined.server.stream_count == 0


def test_closed_stream_leaves_the_table_and_answers_late_data(joined: Pair) -> None:
    ours, theirs = joined.streams()
    theirs.close_write()
    theirs.close_read()
    joined.run()
    assert joined.server.stream_count == 0
    assert ours.remote_closed
    assert ours.reset_code is None
    write_all(joined, ours, b"late")
    assert ours.reset_code is not None
    assert joined.client.stream_count == 0


def test_late_data_is_answered_once(name: str) -> None:
    joined = pair(name)
    ours, theirs = joined.streams()
    theirs.close_write()
    theirs.close_read()
    for _ in range(2):
        ours.write(memoryview(b"late"))
        record = b"".join(joined.client.take(65519))
        joined.server.feed(record)
    answers = b"".join(joined.server.take(65519))
    for _ in range(2):
        ours.write(memoryview(b"late"))
        joined.server.feed(b"".join(joined.client.take(65519)))
    assert not joined.server.has_output()
    joined.client.feed(answers)
    assert ours.reset_by_remote


def test_closed_in_the_middle_of_a_body(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(bytes(30_000)))
    record = b"".join(joined.client.take(65519))
    joined.server.feed(record[:10_000])
    theirs.close_write()
    theirs.close_read()
    joined.step(joined.server, joined.client)
    assert joined.server.stream_count == 0
    joined.server.feed(record[10_000:20_000])
    joined.server.feed(record[20_000:])
    joined.run()
    assert ours.reset_by_remote


def test_peer_that_never_waits_for_answers_is_no_attacker(name: str) -> None:
    """It sends, closes, and resets what still comes: that is no rapid reset."""
    joined = pair(name)
    for _ in range(1500):
        ours = joined.client.open()
        ours.write(memoryview(b"news"))
        ours.close_write()
        ours.close_read()
        joined.run()
        theirs = joined.server.accept()
        assert theirs is not None
        write_all(joined, theirs, b"thanks")
        assert theirs.reset_by_remote
        assert theirs.take(10) == b"news"
    assert joined.server.stream_count == 0


def test_reset_stream_with_unread_bytes_sends_nothing(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"unread"))
    ours.close_write()
    joined.run()
    theirs.write(memoryview(b"pending"))
    ours.reset()
    while record := b"".join(joined.client.take(65519)):
        joined.server.feed(record)
    assert theirs.reset_by_remote
    assert theirs.received == 6
    assert theirs.pending == 0
    assert not joined.server.has_output()


def test_closed_stream_and_peer_that_closes_too(joined: Pair) -> None:
    ours, theirs = joined.streams()
    theirs.close_write()
    theirs.close_read()
    joined.run()
    ours.close_write()
    joined.run()
    assert ours.reset_code is None
    assert joined.client.stream_count == joined.server.stream_count == 0


def test_cancel_write(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"never mind"))
    assert ours.pending == 10
    assert ours.cancel_write() == 10
    assert ours.cancel_write() == 0
    assert not joined.client.has_output()
    write_all(joined, ours, b"but this")
    assert theirs.take(100) == b"but this"
    ours.write(memoryview(b"and not this"))
    ours.close_write()
    ours.cancel_write()
    joined.run()
    assert theirs.remote_closed
    assert theirs.received == 0


def test_writes_behind_one_that_waits_join_it(joined: Pair) -> None:
    ours, theirs = joined.streams()
    mine = bytearray(b"one ")
    ours.write(memoryview(mine))
    for piece in (b"two ", memoryview(b"three "), b"four"):
        ours.write(piece)
    assert ours.pending == 18
    assert mine == b"one "  # it is not ours to change
    joined.run()
    assert theirs.take(100) == b"one two three four"
    assert not ours.pending


def test_wrong_use(joined: Pair) -> None:
    ours, _ = joined.streams()
    ours.close_write()
    with pytest.raises(RuntimeError):
        ours.write(memoryview(b"three"))
    ours.close_write()  # again: no effect


def test_large_write_in_turn_with_small_ones(name: str) -> None:
    joined = pair(name)
    big, big_there = joined.streams()
    small, small_there = joined.streams()
    data = bytes(range(256)) * 800
    big.write(memoryview(data))
    small.write(memoryview(b"small"))
    joined.step(joined.client, joined.server)
    joined.step(joined.client, joined.server)
    assert small_there.take(10) == b"small"  # it did not wait for the big one
    assert big.pending
    joined.run()
    assert big_there.take(len(data)) == data


def test_small_writes_share_a_record(name: str) -> None:
    joined = pair(name)
    streams = [joined.streams()[0] for _ in range(50)]
    for stream in streams:
        stream.write(memoryview(b"tiny"))
    assert joined.step(joined.client, joined.server) < 50 * 20
    assert not joined.client.has_output()
    assert len(joined.server.touched()) == 50


def test_two_large_writes_are_interleaved(name: str) -> None:
    joined = pair(name)
    ours = [joined.streams() for _ in range(2)]
    for stream, _ in ours:
        stream.write(memoryview(bytes(200_000)))
    for _ in range(2):
        joined.step(joined.client, joined.server)
    assert all(there.received > 60_000 for _, there in ours)


@pytest.mark.parametrize("room", [40, 64, 1000, 65519])
def test_room_is_kept(name: str, room: int) -> None:
    joined = pair(name)
    ours, theirs = joined.streams()
    data = bytes(5000)
    ours.write(memoryview(data))
    other = joined.client.open()
    other.write(memoryview(data))
    joined.run(room)  # `step` checks the size
    assert theirs.take(9999) == data


def test_piece_bounds_of_take(name: str) -> None:
    joined = pair(name)
    ours, theirs = joined.streams()
    data = bytes(i % 251 for i in range(150_000))
    for at in range(0, len(data), 30_000):
        write_all(joined, ours, data[at : at + 30_000])
    got = theirs.take(29_999) + theirs.take(1) + theirs.take(2) + theirs.take(69_998)
    assert got == data[:100_000]
    assert b"".join(theirs.take_views()) == data[100_000:]
    assert theirs.received == 0


def test_tiny_pieces_are_joined(name: str) -> None:
    joined = pair(name)
    ours, theirs = joined.streams()
    for _ in range(2000):
        write_all(joined, ours, b"abc")
    assert len(theirs.take_views()) < 5


def test_abandon(joined: Pair) -> None:
    ours, theirs = joined.streams()
    write_all(joined, ours, b"unread")
    ours.write(memoryview(b"unsent"))
    joined.client.abandon(5, remote=True)
    joined.server.abandon(6, remote=False)
    assert (ours.reset_code, ours.reset_by_remote, ours.pending) == (5, True, 0)
    assert (theirs.reset_code, theirs.reset_by_remote, theirs.received) == (6, False, 0)
    assert ours in joined.client.touched()
    assert theirs in joined.server.touched()
    assert not joined.client.has_output()
    assert joined.client.stream_count == joined.server.stream_count == 0
    with pytest.raises(ConnectionClosed):
        joined.client.open()


def test_abandon_keeps_what_was_closed_in_order(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(b"complete"))
    ours.close_write()
    joined.run()
    joined.server.abandon(0, remote=True)
    assert theirs.take(100) == b"complete"
    assert theirs.remote_closed
    assert theirs.reset_code == 0


def test_close_stops_new_streams_only(joined: Pair) -> None:
    ours, theirs = joined.streams()
    joined.client.close(3)
    assert joined.client.going_away
    with pytest.raises(ConnectionClosed):
        joined.client.open()
    joined.run()
    write_all(joined, ours, b"goes on")
    assert theirs.take(100) == b"goes on"
    refused = None if joined.server.going_away else joined.server.open()
    joined.run()
    assert joined.client.accept() is None
    assert refused is None or refused.reset_by_remote


def test_limit_of_outbound_streams(name: str) -> None:
    joined = pair(name)
    with pytest.raises(ResourceLimitExceeded):
        for _ in range(1001):
            joined.client.open()
    assert joined.client.stream_count <= 1000


def test_limits_of_inbound_streams(name: str) -> None:
    joined = pair(name)
    opened = [joined.client.open() for _ in range(256)]
    joined.run()
    assert joined.server.stream_count == 256
    accepted = [joined.server.accept() for _ in range(256)]
    assert None not in accepted and joined.server.accept() is None
    joined.run()
    opened += [joined.client.open() for _ in range(256)]
    joined.run()
    assert joined.server.stream_count == 512
    while joined.server.accept():
        pass
    joined.run()
    over = joined.client.open()
    joined.run()
    assert over.reset_by_remote
    assert joined.server.stream_count == 512
    opened[0].reset()
    joined.run()
    last = joined.client.open()
    joined.run()
    assert last.reset_code is None


def test_backlog_is_bounded(name: str) -> None:
    make = MUXERS[name]
    joined = Pair(make(Role.CLIENT), make(Role.SERVER))
    streams = []
    for _ in range(300):
        try:
            streams.append(joined.client.open())
        except ResourceLimitExceeded:
            break
        joined.run()
    assert joined.server.stream_count == 256


def test_reset_stream_in_the_backlog_is_not_accepted(joined: Pair) -> None:
    ours = joined.client.open()
    joined.run()
    ours.reset()
    joined.run()
    assert joined.server.accept() is None


def test_failed_core_stays_failed(name: str) -> None:
    core = MUXERS[name](Role.CLIENT)
    with pytest.raises(MuxerError):
        core.feed(b"\xff" * 32)
    with pytest.raises(MuxerError):
        core.feed(b"")
    core.take(100)
    assert not core.has_output()
    with pytest.raises(ConnectionClosed):
        core.open()


def test_unread_bytes_overload_and_the_stall_frees_them(name: str) -> None:
    joined = pair(name)
    streams = [joined.streams() for _ in range(20)]
    moved = 1
    while moved and not joined.server.overloaded:
        for ours, _ in streams:
            if not ours.pending:
                ours.write(memoryview(bytes(65536)))
        moved = joined.step(joined.client, joined.server)
    assert joined.server.overloaded
    held = sum(theirs.received for _, theirs in streams)
    assert held <= 4 * 1024 * 1024 + 65536
    joined.server.on_stall()
    assert not joined.server.overloaded
    reset = [theirs for _, theirs in streams if theirs.reset_code is not None]
    assert len(reset) == 1
    assert reset[0].received == 0
    for _, theirs in streams:
        theirs.take(2**30)
    joined.server.on_stall()  # nothing is overloaded: no effect
    assert joined.server.stream_count == 19


def test_the_stall_frees_what_an_ended_stream_still_holds(name: str) -> None:
    joined = pair(name)
    streams = [joined.streams() for _ in range(20)]
    for ours, _ in streams:
        ours.write(memoryview(bytes(212_000)))
        ours.close_write()
    joined.run()
    for ours, _ in streams:
        ours.reset()
    joined.run()
    assert all(theirs.reset_by_remote and theirs.received for _, theirs in streams)
    assert joined.server.overloaded
    joined.server.on_stall()
    assert not joined.server.overloaded
    dropped = [theirs for _, theirs in streams if not theirs.received]
    assert len(dropped) == 1
    assert not dropped[0].remote_closed
    assert joined.server.stream_count == 19


def test_reset_in_the_middle_of_a_body(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(bytes(30_000)))
    record = b"".join(joined.client.take(65519))
    joined.server.feed(record[:10_000])
    theirs.reset(4)
    joined.server.feed(record[10_000:])
    joined.run()
    assert theirs.received == 0
    assert ours.reset_by_remote
    assert joined.streams()[1].reset_code is None  # the connection is well


def test_close_read_in_the_middle_of_a_body(joined: Pair) -> None:
    ours, theirs = joined.streams()
    ours.write(memoryview(bytes(30_000)))
    record = b"".join(joined.client.take(65519))
    joined.server.feed(record[:10_000])
    theirs.close_read()
    joined.server.feed(record[10_000:])
    joined.run()
    assert ours.reset_by_remote
    assert joined.server.stream_count == 0
