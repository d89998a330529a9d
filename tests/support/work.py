"""Counts work instead of timing it: calls on sockets, records, task steps; and round trips."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import trio

from carrick.identity import PeerId, PrivateKey
from carrick.interfaces import Buffer, ByteSocket, Endpoint, Handshake, Records, Role, Session
from carrick.transports.security.noise import Noise

__all__ = ["CountingNoise", "CountingWrapper", "SlowWrapper", "Steps", "Work", "count_task_steps"]


@dataclass
class Work:
    """What one side of some connections did."""

    sends: int = 0
    receives: int = 0
    sealed: int = 0
    opened: int = 0

    def clear(self) -> None:
        self.sends = self.receives = self.sealed = self.opened = 0


class CountingWrapper:
    """Stands between a socket and its upgrade, as a private network does."""

    def __init__(self) -> None:
        self.work = Work()

    def wrap(self, socket: ByteSocket) -> ByteSocket:
        return _CountingSocket(socket, self.work)


class SlowWrapper:
    """Delays what is received by `latency` seconds, to count round trips in virtual time."""

    def __init__(self, latency: float) -> None:
        self._latency = latency

    def wrap(self, socket: ByteSocket) -> ByteSocket:
        return _SlowSocket(socket, self._latency)


class _Socket:
    """Passes everything on to another socket."""

    def __init__(self, socket: ByteSocket) -> None:
        self._socket = socket
        self.send = socket.send
        self.recv_into = socket.recv_into
        self.wait_readable = socket.wait_readable
        self.wait_writable = socket.wait_writable
        self.close = socket.close
        self.abort = socket.abort

    @property
    def local(self) -> Endpoint:
        return self._socket.local

    @property
    def remote(self) -> Endpoint:
        return self._socket.remote


class _CountingSocket(_Socket):
    def __init__(self, socket: ByteSocket, work: Work) -> None:
        super().__init__(socket)

        def recv_into(buffer: memoryview) -> int | None:
            work.receives += 1
            return socket.recv_into(buffer)

        def send(data: memoryview) -> int | None:
            work.sends += 1
            return socket.send(data)

        self.recv_into = recv_into
        self.send = send


class _SlowSocket(_Socket):
    def __init__(self, socket: ByteSocket, latency: float) -> None:
        super().__init__(socket)
        arriving: deque[tuple[float, bytes]] = deque()
        scratch = memoryview(bytearray(1 << 18))

        def recv_into(buffer: memoryview) -> int | None:
            if not arriving or arriving[0][0] > trio.current_time():
                return None
            data = arriving[0][1][: len(buffer)]
            buffer[: len(data)] = data
            when, rest = arriving.popleft()
            if rest[len(data) :]:
                arriving.appendleft((when, rest[len(data) :]))
            return len(data)

        def pull() -> None:
            while not (arriving and not arriving[-1][1]):  # up to the end of file
                received = socket.recv_into(scratch)
                if received is None:
                    return
                arriving.append((trio.current_time() + latency, bytes(scratch[:received])))

        async def wait_readable() -> None:
            pull()
            while not arriving or arriving[0][0] > trio.current_time():
                with trio.move_on_at(arriving[0][0] if arriving else math.inf):
                    if arriving and not arriving[-1][1]:
                        await trio.sleep_forever()
                    await socket.wait_readable()
                pull()

        self.recv_into = recv_into
        self.wait_readable = wait_readable


class CountingNoise:
    """Noise whose records are counted."""

    id = Noise.id

    def __init__(self, key: PrivateKey, work: Work) -> None:
        self._noise = Noise(key)
        self._work = work

    def handshake(
        self, role: Role, *, expected_peer: PeerId | None, muxers: Sequence[str]
    ) -> Handshake:
        inner = self._noise.handshake(role, expected_peer=expected_peer, muxers=muxers)
        return _CountingHandshake(inner, self._work)


class _CountingHandshake:
    def __init__(self, inner: Handshake, work: Work) -> None:
        self._inner = inner
        self._work = work
        self.receive = inner.receive
        self.take_output = inner.take_output

    @property
    def session(self) -> Session | None:
        session = self._inner.session
        if session is None:
            return None
        return replace(session, records=_CountingRecords(session.records, self._work))


class _CountingRecords:
    def __init__(self, inner: Records, work: Work) -> None:
        self._inner = inner
        self._work = work
        self.max_plain = inner.max_plain
        self.overhead = inner.overhead
        self.closing = inner.closing

    def open_all(self, buffer: memoryview, lo: int, hi: int, sink: Callable[[bytes], None]) -> int:
        def count(plain: bytes) -> None:
            self._work.opened += 1
            sink(plain)

        return self._inner.open_all(buffer, lo, hi, count)

    def seal(self, out: bytearray, at: int, pieces: Sequence[Buffer]) -> int:
        self._work.sealed += 1
        return self._inner.seal(out, at, pieces)


class Steps(trio.abc.Instrument):
    """How often tasks were resumed."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@contextmanager
def count_task_steps() -> Iterator[Steps]:
    """Counts how often any task of the run is resumed."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
