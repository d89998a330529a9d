"""A muxer that has failed: its owner still ends it in order, with all that was queued."""

from __future__ import annotations

import pytest

from carrick.errors import MuxerError
from carrick.interfaces import Muxer
from tests.support.muxers import MUXERS, pair

BROKEN = {"yamux": b"\xff" * 12, "mplex": b"\xff" * 12}


def busy(name: str) -> Muxer:
    """A listener with a stream in each queue: to be accepted, to grant window, to send, to end."""
    both = pair(name)
    opened = [both.client.open() for _ in range(4)]
    for stream in opened:
        stream.write(memoryview(bytes(200_000 if name == "yamux" else 10)))
    both.run()
    server = both.server
    accepted = [server.accept() for _ in opened]
    for stream in accepted[:3]:
        assert stream is not None
        stream.take(200_000)
        stream.write(memoryview(b"answer"))
    assert accepted[3] is not None
    accepted[3].close_write()
    return server


@pytest.mark.parametrize("name", MUXERS)
def test_ends_in_order_behind_a_failure(name: str) -> None:
    server = busy(name)
    with pytest.raises(MuxerError):
        server.feed(BROKEN[name])
    server.close(1)
    while server.take(65519):
        pass
    server.abandon(1, remote=False)
    assert server.stream_count == 0


@pytest.mark.parametrize("name", MUXERS)
def test_streams_are_reset_behind_a_failure(name: str) -> None:
    server = busy(name)
    streams = [stream for stream in server.touched() if stream.reset_code is None]
    with pytest.raises(MuxerError):
        server.feed(BROKEN[name])
    for stream in streams:
        stream.reset(7)
    server.abandon(1, remote=False)
    assert server.stream_count == 0
