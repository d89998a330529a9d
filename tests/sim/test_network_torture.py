"""Whatever step of a scenario is cancelled or fails, nothing is left behind."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from carrick.errors import CarrickError
from carrick.identity import PrivateKey
from carrick.network import Stream, Swarm
from tests.support.swarms import echo, exchange, make_swarm, running

DIALER, LISTENER = PrivateKey.generate(), PrivateKey.generate()


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before the n-th step of any task."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.left = step
        self.scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


def held(swarm: Swarm) -> int:
    return sum(sum(counts.values()) for counts in swarm.resources.stat().values())


async def scenario(dialer: Swarm, listener: Swarm) -> None:
    """Connect, talk on two streams, close."""
    await dialer.connect(listener.peer_id, listener.listen_addresses, force=True)
    async with await dialer.open_stream(listener.peer_id, "/echo/1") as stream:
        assert await exchange(stream, b"x") == b"x"
    async with await dialer.open_stream(listener.peer_id, "/echo/1", lazy=True) as stream:
        await stream.writer().write(b"y" * 1000)
        assert await stream.read_exactly(1000) == b"y" * 1000
    await dialer.disconnect(listener.peer_id)


async def all_is_gone(dialer: Swarm, listener: Swarm) -> None:
    await trio.sleep(20)  # a dial that nobody waits for any more may have succeeded
    await dialer.disconnect(listener.peer_id)
    await trio.sleep(20)  # all deadlines are past
    assert held(dialer) == held(listener) == 0
    assert not dialer.connections() and not listener.connections()
    assert not dialer.dialer._dials
    assert not listener._acceptor._pending


async def test_cancelled_at_every_step(autojump_clock: trio.testing.MockClock) -> None:
    dialer, listener = make_swarm(key=DIALER), make_swarm(key=LISTENER)
    listener.handle("/echo/1", echo)
    async with running(listener), running(dialer, listen=False):
        tasks = len(trio.lowlevel.current_root_task().child_nurseries)
        step, finished = 0, False
        while not finished:
            step += 1
            with trio.CancelScope() as scope:
                instrument = CancelAt(step, scope)
                trio.lowlevel.add_instrument(instrument)
                try:
                    await scenario(dialer, listener)
                    finished = True
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            await all_is_gone(dialer, listener)
        assert step > 50
        assert len(trio.lowlevel.current_root_task().child_nurseries) == tasks
        await scenario(dialer, listener)


class Failing:
    """Delegates to `inner`; the n-th call of any async method of it, or of what it makes, fails."""

    def __init__(self, inner: Any, fuse: list[int]) -> None:
        self._inner = inner
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in (
            "dial",
            "accept",
            "upgrade",
            "open_stream",
            "accept_stream",
            "send_all",
            "receive_some",
            "send_eof",
        ):
            return attribute

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._fuse[0] -= 1
            if self._fuse[0] == 0:
                raise RuntimeError("torture")
            made = await attribute(*args, **kwargs)
            return (
                Failing(made, self._fuse)
                if hasattr(made, "reset")
                or hasattr(made, "open_stream")
                or hasattr(made, "upgrade")
                else made
            )

        return call


@pytest.mark.parametrize("side", ["dialer", "listener"])
async def test_every_call_of_the_transport_fails_once(
    side: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """ATTACKS row 81: an exception that nobody foresaw, at each place in turn."""
    for number in range(1, 200):
        dialer, listener = make_swarm(key=DIALER), make_swarm(key=LISTENER)
        fuse = [number]
        tortured = dialer if side == "dialer" else listener
        tortured.dialer.transports = [Failing(tortured.transports[0], fuse)]
        real_listen = tortured.transports[0].listen

        async def listen(address: Any, real: Any = real_listen, fuse: list[int] = fuse) -> Any:
            return Failing(await real(address), fuse)

        tortured.transports[0].listen = listen  # type: ignore[method-assign]
        listener.handle("/echo/1", echo)
        async with running(listener), running(dialer, listen=False):
            with suppress(
                CarrickError, RuntimeError, trio.BrokenResourceError, trio.ClosedResourceError
            ):
                await scenario(dialer, listener)
            blown = fuse[0] <= 0
            await all_is_gone(dialer, listener)
        if not blown:
            assert number > 5
            return
    raise AssertionError("the scenario never got through")


async def test_a_handler_cancelled_by_the_end_of_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dialer, listener = make_swarm(), make_swarm()
    ended: list[str] = []

    async def stubborn(stream: Stream) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
        finally:
            ended.append("cancelled")
            raise RuntimeError("while it is cancelled")

    listener.handle("/stubborn/1", stubborn)
    async with running(listener), running(dialer, listen=False):
        connection = await dialer.connect(listener.peer_id, listener.listen_addresses)
        await connection.open_stream("/stubborn/1")
        connection.abort()
        await all_is_gone(dialer, listener)
    assert ended == ["cancelled"]
