"""Two muxer cores joined back to back, without I/O."""

from __future__ import annotations

from collections.abc import Callable

from carrick.interfaces import Muxer, MuxerStream, Role
from carrick.transports.muxers.mplex import Mplex
from carrick.transports.muxers.yamux import Yamux, YamuxConfig

RECORD = 65519  # bytes of plaintext in a noise record


class Memory:
    """A budget that counts."""

    def __init__(self, limit: int = 2**40) -> None:
        self.limit = limit
        self.used = 0

    def try_reserve(self, size: int) -> bool:
        assert size > 0
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        self.used -= size
        assert self.used >= 0


def yamux(
    role: Role = Role.CLIENT, budget: Memory | None = None, config: YamuxConfig | None = None
) -> Yamux:
    return Yamux(role, budget=budget or Memory(), config=config or YamuxConfig(), now=0.0)


def mplex(role: Role = Role.CLIENT) -> Mplex:
    return Mplex(role, now=0.0)


MUXERS: dict[str, Callable[[Role], Muxer]] = {"yamux": yamux, "mplex": mplex}


def whole(record: bytes) -> list[bytes]:
    return [record]


def single_bytes(record: bytes) -> list[bytes]:
    return [record[i : i + 1] for i in range(len(record))]


class Pair:
    """A client and a server; `run` carries records between them until nothing moves."""

    def __init__(
        self,
        client: Muxer,
        server: Muxer,
        *,
        cut: Callable[[bytes], list[bytes]] = whole,
    ) -> None:
        self.client = client
        self.server = server
        self.now = 0.0
        self._cut = cut

    def step(self, source: Muxer, target: Muxer, room: int = RECORD) -> int:
        """Carry one record; returns its size."""
        record = b"".join(source.take(room))
        assert len(record) <= room
        target.tick(self.now)
        for piece in self._cut(record):
            target.feed(piece)
        return len(record)

    def run(self, room: int = RECORD) -> None:
        while self.step(self.client, self.server, room) + self.step(self.server, self.client, room):
            pass

    def exchange(self, latency: float) -> None:
        """Carry all that each side has, taking `latency` seconds each way."""
        for source, target in ((self.client, self.server), (self.server, self.client)):
            source.tick(self.now)
            self.now += latency
            while self.step(source, target):
                pass

    def streams(self) -> tuple[MuxerStream, MuxerStream]:
        """A stream, as the client opened it and as the server accepted it."""
        ours = self.client.open()
        ours.write(memoryview(b"!"))
        self.run()
        theirs = self.server.accept()
        assert theirs is not None
        assert theirs.take(1) == b"!"
        self.run()
        self.client.touched()
        self.server.touched()
        return ours, theirs


def pair(name: str, *, cut: Callable[[bytes], list[bytes]] = whole) -> Pair:
    make = MUXERS[name]
    return Pair(make(Role.CLIENT), make(Role.SERVER), cut=cut)


def write_all(pair: Pair, stream: MuxerStream, data: bytes) -> None:
    """Write `data` and carry it; the other side must have room for it."""
    stream.write(memoryview(data))
    pair.run()
    assert not stream.pending
