"""What yamux and mplex share: a stream's queue of received bytes, and the table of streams.

The received bytes of a stream are a list of pieces. A large piece is a view of the record that it
came in, so that it is not copied; a small one is copied, and joined with its neighbours, so that
neither a record nor a Python object is held for a few bytes.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from carrick.errors import ConnectionClosed, ResourceLimitExceeded
from carrick.interfaces import Buffer

__all__ = ["EMPTY", "SMALL", "Allowance", "MuxerCore", "StreamCore"]

SMALL = (
    4096  # bytes; a shorter piece is copied: about what a view costs in time, and far less memory
)
EMPTY = memoryview(b"")

RESOURCE_LIMIT_EXCEEDED = 0x1002  # stream error code, go-libp2p core/network/mux.go


class Allowance:
    """A budget for what costs us work and a sane peer does seldom.

    Args:
        burst: how much may happen at once, and at most between two refills.
        rate: what time gives back, per second.
    """

    __slots__ = ("_burst", "_left", "_rate", "_since", "_work")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = burst
        self._since = now
        self._work = 0

    def spend(self, now: float, work: int = 0) -> bool:
        """Take one; False if nothing is left. `work` counts upwards: useful work gives back too."""
        if not self._left:
            earned = int((now - self._since) * self._rate) + work - self._work
            self._left = max(0, min(self._burst, earned))
            self._since = now
            self._work = work
            if not self._left:
                return False
        self._left -= 1
        return True


class StreamCore:
    """One stream; see `carrick.interfaces.MuxerStream`. Subclasses add what their wire needs."""

    __slots__ = (
        "_accepts",
        "_fin_due",
        "_fin_sent",
        "_in_ready",
        "_out",
        "_peer_done",
        "_pieces",
        "_read_closed",
        "_touched",
        "id",
        "inbound",
        "owner",
        "received",
        "remote_closed",
        "reset_by_remote",
        "reset_code",
    )

    def __init__(self, id: int, inbound: bool) -> None:
        self.id = id
        self.inbound = inbound
        self.owner: Any = None
        self.received = 0
        self.remote_closed = False
        """The peer sent FIN, and no reset of ours has dropped unread bytes before it."""
        self.reset_code: int | None = None
        self.reset_by_remote = False
        self._pieces: list[Buffer] = []
        self._out: bytes | bytearray | memoryview = EMPTY
        self._accepts = True  # data is welcome: no FIN yet, somebody reads, not reset
        self._read_closed = False
        self._peer_done = False  # FIN came
        self._fin_due = False
        self._fin_sent = False
        self._in_ready = False
        self._touched = False

    @property
    def pending(self) -> int:
        return len(self._out)

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes to send; behind others that wait, they are copied. No effect on an ended
        stream.

        Raises:
            RuntimeError: `close_write` was called.
        """
        if self.reset_code is not None or not data:
            return
        if self._fin_due:
            raise RuntimeError("write after close_write")
        out = self._out
        if not out:
            self._out = data
            self._written()
        elif isinstance(out, bytearray):
            out += data
        else:
            self._out = bytearray(out) + data

    def _written(self) -> None:
        """There are bytes to send, and there were none before."""
        raise NotImplementedError

    # --- received bytes -------------------------------------------------------------------------

    def _store(self, plain: bytes, at: int, size: int) -> None:
        """Queue `plain[at:at + size]`: as a view only if that keeps little else alive."""
        pieces = self._pieces
        self.received += size
        if size >= SMALL and size * 4 >= len(plain):
            pieces.append(memoryview(plain)[at : at + size])
            return
        piece = plain[at : at + size]
        if pieces and size < SMALL:
            last = pieces[-1]
            if len(last) < SMALL and not isinstance(last, memoryview):
                if isinstance(last, bytearray):
                    last += piece
                else:
                    pieces[-1] = bytearray(last) + piece
                return
        pieces.append(piece)

    def take(self, max_bytes: int) -> bytes:
        """Remove and return up to `max_bytes` received bytes, and grant the peer new window."""
        pieces = self._pieces
        if self.received <= max_bytes:
            data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
        else:
            whole = 0
            left = max_bytes
            while len(pieces[whole]) <= left:
                left -= len(pieces[whole])
                whole += 1
            cut = memoryview(pieces[whole])
            data = b"".join((*pieces[:whole], cut[:left]))
            pieces[whole] = cut[left:]
            del pieces[:whole]
        if data:
            self.received -= len(data)
            self._taken(len(data))
        return data

    def take_views(self) -> list[memoryview]:
        """Remove and return all received bytes without copying, and grant the peer new window."""
        views = [p if isinstance(p, memoryview) else memoryview(p) for p in self._pieces]
        self._pieces.clear()
        if size := self.received:
            self.received = 0
            self._taken(size)
        return views

    def _taken(self, size: int) -> None:
        """`size` bytes left the queue for the application."""
        raise NotImplementedError

    def _drop_received(self) -> int:
        """Empty the queue; returns how many bytes were in it."""
        size = self.received
        if size:
            self.received = 0
            self._pieces.clear()
            self.remote_closed = False
        return size

    # --- the end --------------------------------------------------------------------------------

    def _end(self, code: int, *, remote: bool, keep: bool) -> int:
        """The stream is over. Returns how many unread bytes were dropped.

        Args:
            keep: bytes whose FIN came too may still be read.
        """
        self.reset_code = code
        self.reset_by_remote = remote
        self._accepts = False
        self._out = EMPTY
        return 0 if keep and self.remote_closed else self._drop_received()


S = TypeVar("S", bound=StreamCore)


class MuxerCore(Generic[S]):
    """The table of streams, and who must be told about them.

    Args:
        max_streams: streams of both directions at a time.
        max_inbound: of these, opened by the peer.
        max_backlog: of these, not accepted by us yet.
    """

    __slots__ = (
        "_backlog",
        "_changed",
        "_failed",
        "_inbound",
        "_max_backlog",
        "_max_inbound",
        "_max_streams",
        "_now",
        "_streams",
        "_unread",
        "_violations",
        "going_away",
        "remote_close_code",
    )

    def __init__(self, max_streams: int, max_inbound: int, max_backlog: int, now: float) -> None:
        self._max_streams = max_streams
        self._max_inbound = max_inbound
        self._max_backlog = max_backlog
        self._now = now
        self._streams: dict[int, S] = {}
        self._changed: list[S] = []
        self._backlog: list[S] = []
        self._inbound = 0
        self._unread = 0
        self._failed = ""
        # ATTACKS promise 8: 1,000 violations or caused resets; a long connection earns them back
        self._violations = Allowance(1000, 10.0, now)
        self.going_away = False
        self.remote_close_code: int | None = None

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    def touched(self) -> list[Any]:
        """Streams that changed since the last call, once each."""
        if not self._changed:
            return []
        changed = self._changed
        self._changed = []
        for stream in changed:
            stream._touched = False
        return changed

    def accept(self) -> S | None:
        """The next stream that the peer opened and did not reset, None if there is none."""
        backlog = self._backlog
        while backlog:
            stream = backlog.pop(0)
            if stream.reset_code is None or stream.received:
                self._accepted(stream)
                return stream
        return None

    def _accepted(self, stream: S) -> None:
        """`stream` was handed to the driver."""

    def _touch(self, stream: S) -> None:
        if not stream._touched:
            stream._touched = True
            self._changed.append(stream)

    def _add(self, key: int, stream: S) -> None:
        self._streams[key] = stream
        if stream.inbound:
            self._inbound += 1
            self._backlog.append(stream)
            self._touch(stream)

    def _remove(self, key: int) -> S | None:
        stream = self._streams.pop(key, None)
        if stream is not None and stream.inbound:
            self._inbound -= 1
        return stream

    def _is_full(self) -> bool:
        """No further inbound stream is taken."""
        return (
            self._inbound >= self._max_inbound
            or len(self._streams) >= self._max_streams
            or len(self._backlog) >= self._max_backlog
        )

    def _check_may_open(self) -> None:
        if self.going_away or self._failed:
            raise ConnectionClosed(
                "no new streams: the connection is closing",
                code=self.remote_close_code or 0,
                remote=self.remote_close_code is not None,
            )
        if len(self._streams) >= self._max_streams:
            raise ResourceLimitExceeded(
                scope="connection",
                limit="streams_per_connection",
                maximum=self._max_streams,
                present=len(self._streams),
            )

    def _slowest(self) -> S | None:
        """The stream that holds the most unread bytes."""
        slowest = max(self._streams.values(), key=lambda stream: stream.received, default=None)
        return slowest if slowest is not None and slowest.received else None
