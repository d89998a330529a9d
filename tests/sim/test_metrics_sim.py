"""The metrics page's deadlines, in virtual time."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry

from carrick.host.metrics.server import answer

REQUEST = b"GET /metrics HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("pause", [None, 1.0])
async def test_a_slow_request_is_given_5_seconds(
    pause: float | None, autojump_clock: trio.testing.MockClock
) -> None:
    """Silence, or one byte a second: the deadline is for the whole head."""
    client, server = trio.testing.memory_stream_pair()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, CollectorRegistry())
        for byte in REQUEST if pause is not None else b"":
            try:
                await client.send_all(bytes((byte,)))
            except trio.BrokenResourceError:
                break
            await trio.sleep(pause or 0)
        assert await client.receive_some() == b""
    assert 5 <= trio.current_time() - started <= 7


async def test_a_reader_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, CollectorRegistry())
        await client.send_all(REQUEST)
    assert trio.current_time() - started == pytest.approx(10)


async def test_a_reader_that_leaves() -> None:
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, server, CollectorRegistry())
        await client.send_all(REQUEST[:10])
        await client.aclose()
