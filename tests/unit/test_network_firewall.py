from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from carrick.network.firewall import LimitedLog, guarded
from carrick.network.handlers import Handler, Handlers


async def test_an_exception_stops_at_the_firewall() -> None:
    caught: list[Exception] = []

    async def fails(number: int) -> None:
        raise ValueError(number)

    async def fails_in_a_nursery() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, 2)

    async def works() -> None:
        pass

    assert await guarded(works, failed=caught.append)
    assert not await guarded(fails, 1, failed=caught.append)
    assert not await guarded(fails_in_a_nursery, failed=caught.append)
    assert [type(error) for error in caught] == [ValueError, ExceptionGroup]


async def test_cancellation_and_interrupts_pass() -> None:
    caught: list[Exception] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await guarded(trio.sleep_forever, failed=caught.append)
    assert scope.cancelled_caught

    async def interrupted() -> None:
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])

    with pytest.raises(BaseExceptionGroup) as group:
        await guarded(interrupted, failed=caught.append)
    assert [type(error) for error in group.value.exceptions] == [KeyboardInterrupt]
    assert isinstance(caught[0], ExceptionGroup)


async def test_the_log_cannot_be_flooded(
    caplog: pytest.LogCaptureFixture, mock_clock: MockClock
) -> None:
    log = LimitedLog(logging.getLogger("carrick.test"))
    for _ in range(100):
        log.log(logging.WARNING, "kind", "peer", "it happened")
    assert len(caplog.records) == 10
    assert caplog.messages[-1] == "it happened (no more of this kind within the minute)"
    assert log.suppressed == 90
    log.log(logging.WARNING, "kind", "other peer", "it happened")
    assert len(caplog.records) == 11
    for number in range(1000):
        log.log(logging.WARNING, "kind", number, "it happened")
    assert len(caplog.records) == 300
    mock_clock.jump(61)
    log.log(logging.WARNING, "kind", "peer", "it happened")
    assert len(caplog.records) == 301


def handler(protocol: str, **options: Any) -> Handler:
    async def serve(stream: object) -> None:
        pass

    defaults: dict[str, Any] = {
        "allow_limited": False,
        "match": None,
        "service": None,
        "streams_per_peer": None,
    }
    return Handler(protocol, serve, **{**defaults, **options})


def test_handlers_are_found_exactly_then_by_match() -> None:
    handlers = Handlers()
    exact = handler("/echo/1.2.0")
    matching = handler("/echo/1", match=lambda protocol: protocol.startswith("/echo/1."))
    handlers.add(exact)
    handlers.add(matching)
    assert handlers.find("/echo/1.2.0", limited=False) is exact
    assert handlers.find("/echo/1.3.0", limited=False) is matching
    assert handlers.find("/echo/2.0.0", limited=False) is None
    assert handlers.protocols == ("/echo/1.2.0", "/echo/1")
    assert handlers.remove("/echo/1")
    assert not handlers.remove("/echo/1")
    assert handlers.find("/echo/1.3.0", limited=False) is None


def test_limited_connections_are_opt_in() -> None:
    handlers = Handlers()
    handlers.add(handler("/echo/1"))
    handlers.add(handler("/ping/1", allow_limited=True))
    assert handlers.find("/echo/1", limited=True) is None
    assert handlers.find("/ping/1", limited=True) is not None


def test_a_protocol_has_one_handler_and_a_sensible_id() -> None:
    handlers = Handlers()
    handlers.add(handler("/echo/1"))
    with pytest.raises(ValueError, match="already"):
        handlers.add(handler("/echo/1"))
    with pytest.raises(ValueError):
        handlers.add(handler("na"))
