"""The trio driver, over trio's own memory streams."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from carrick.errors import NegotiationError, ProtocolNotSupported
from carrick.transports.multistream import HEADER, dial, encode_message, listen


def supports(*protocols: str) -> Callable[[str], bool]:
    return set(protocols).__contains__


async def test_dial_and_listen() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    results: dict[str, tuple[str, bytes]] = {}

    async def dialer() -> None:
        results["dial"] = await dial(ours, ["/c", "/b", "/a"])
        await ours.send_all(b"ping")

    async def listener() -> None:
        results["listen"] = await listen(theirs, supports("/a", "/b"))
        assert results["listen"][1] + await theirs.receive_some() == b"ping"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer)
        nursery.start_soon(listener)
    assert results["dial"] == ("/b", b"")
    assert results["listen"][0] == "/b"


async def test_bytes_behind_the_negotiation_are_handed_back() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(HEADER + encode_message("/a") + b"behind")
    assert await dial(ours, ["/a"]) == ("/a", b"behind")
    assert await listen(theirs, supports("/a")) == ("/a", b"")


async def test_refused() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def listener() -> None:
        with pytest.raises(NegotiationError, match="closed"):
            await listen(theirs, supports("/a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener)
        with pytest.raises(ProtocolNotSupported):
            await dial(ours, ["/x", "/y"])
        await ours.send_eof()


async def test_peer_closes_halfway() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(HEADER[:7])
    await theirs.send_eof()
    with pytest.raises(NegotiationError, match="closed"):
        await dial(ours, ["/a"])


async def test_listener_serves_a_dialer_that_no_longer_reads() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(HEADER + encode_message("/a") + b"one-way message")
    await ours.receive_stream.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"nobody reads this")
    assert await listen(theirs, supports("/a")) == ("/a", b"one-way message")


async def test_listener_limits_proposals() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await ours.send_all(HEADER + encode_message("/x") * 5)
    with pytest.raises(NegotiationError, match="without end"):
        await listen(theirs, supports("/a"), max_proposals=4)


async def test_two_dialers_do_not_wait() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def other() -> None:
        with pytest.raises(NegotiationError):
            await dial(theirs, ["/b"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with pytest.raises(NegotiationError):
            await dial(ours, ["/a"])


async def test_silence_ends_with_the_callers_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(trio.TooSlowError), trio.fail_after(10):
        await listen(theirs, supports("/a"))
    await ours.aclose()
