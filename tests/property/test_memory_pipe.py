"""The in-memory byte socket against a model: two queues of bytes that end as TCP does."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from carrick.transports.memory.pipe import CAPACITY, MemorySocket, memory_pair

SIDES = st.sampled_from([0, 1])
# Sizes around the capacity matter as much as small ones.
SIZES = st.one_of(st.integers(0, 64), st.integers(CAPACITY - 64, CAPACITY + 64))


class PipeModel(RuleBasedStateMachine):
    """`flying[side]`: what that side has sent and the other has not received."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets = memory_pair(("dialer", 1), ("listener", 2))
        self.flying = [b"", b""]
        self.open = [True, True]
        self.aborted = False
        self.sent = 0

    @rule(side=SIDES, size=SIZES)
    def send(self, side: int, size: int) -> None:
        data = (self.sent.to_bytes(4, "big") * (size // 4 + 1))[:size]
        self.sent += 1
        socket, other = self.sockets[side], 1 - side
        if not self.open[side]:
            with pytest.raises(OSError, match="closed"):
                socket.send(memoryview(data))
        elif not self.open[other]:
            with pytest.raises(BrokenPipeError):
                socket.send(memoryview(data))
        else:
            room = CAPACITY - len(self.flying[side])
            sent = socket.send(memoryview(data))
            assert sent == (min(room, size) if room or not size else None)
            self.flying[side] += data[: sent or 0]

    @rule(side=SIDES, size=st.integers(1, 2 * CAPACITY))
    def receive(self, side: int, size: int) -> None:
        buffer = memoryview(bytearray(size))
        socket, other = self.sockets[side], 1 - side
        if not self.open[side]:
            with pytest.raises(OSError, match="closed"):
                socket.recv_into(buffer)
        elif self.aborted:
            with pytest.raises(ConnectionResetError):
                socket.recv_into(buffer)
        else:
            expected = self.flying[other][:size]
            received = socket.recv_into(buffer)
            if expected:
                assert received == len(expected)
                assert buffer[:received] == expected
                self.flying[other] = self.flying[other][received:]
            else:
                assert received == (None if self.open[other] else 0)

    @rule(side=SIDES)
    def close(self, side: int) -> None:
        self.sockets[side].close()
        if self.open[side]:
            self.open[side] = False
            self.flying[1 - side] = b""  # nobody reads it any more

    @rule(side=SIDES)
    def abort(self, side: int) -> None:
        self.sockets[side].abort()
        if self.open[side]:
            self.open[side] = False
            self.aborted = True

    @invariant()
    def bounded(self) -> None:
        assert all(len(flying) <= CAPACITY for flying in self.flying)


TestPipeModel = PipeModel.TestCase


def pair() -> tuple[MemorySocket, MemorySocket]:
    return memory_pair(("dialer", 1), ("listener", 2))


def test_both_ends_know_their_addresses() -> None:
    here, there = pair()
    assert (
        (here.local, here.remote) == (there.remote, there.local) == (("dialer", 1), ("listener", 2))
    )


async def test_a_reader_is_woken_by_bytes_and_by_the_end() -> None:
    for what in (lambda s: s.send(memoryview(b"x")), MemorySocket.close, MemorySocket.abort):
        here, there = pair()
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.wait_readable)
                await trio.testing.wait_all_tasks_blocked()
                what(there)
                await here.wait_readable()  # and whoever comes later does not wait


async def test_a_writer_is_woken_by_room_and_by_the_end() -> None:
    buffer = memoryview(bytearray(1))
    for what in (lambda s: s.recv_into(buffer), MemorySocket.close, MemorySocket.abort):
        here, there = pair()
        assert here.send(memoryview(bytes(CAPACITY + 1))) == CAPACITY
        assert here.send(memoryview(b"x")) is None
        with trio.fail_after(1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.wait_writable)
                await trio.testing.wait_all_tasks_blocked()
                what(there)
                await here.wait_writable()


@pytest.mark.parametrize("end", [MemorySocket.close, MemorySocket.abort])
async def test_closing_wakes_our_own_tasks(end: object) -> None:
    assert callable(end)
    here, _ = pair()
    here.send(memoryview(bytes(CAPACITY)))
    outcomes: list[str] = []

    async def wait(name: str) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await getattr(here, name)()
        outcomes.append(name)

    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "wait_readable")
            nursery.start_soon(wait, "wait_writable")
            await trio.testing.wait_all_tasks_blocked()
            end(here)
    assert sorted(outcomes) == ["wait_readable", "wait_writable"]
