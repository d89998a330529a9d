"""The mplex state machine. No I/O: bytes go in by `feed` and come out by `take`."""

from __future__ import annotations

from typing import NoReturn

from carrick.errors import MuxerError
from carrick.interfaces import Buffer, Role
from carrick.transports.muxers.core import RESOURCE_LIMIT_EXCEEDED, MuxerCore
from carrick.transports.muxers.mplex.config import MplexConfig
from carrick.transports.muxers.mplex.frame import (
    CLOSE,
    MAX_BODY,
    MAX_HEADER,
    MESSAGE,
    NEW_STREAM,
    RESET,
    pack,
)
from carrick.transports.muxers.mplex.receiver import Receiver
from carrick.transports.muxers.mplex.stream import MplexStream

PROTOCOL_ID = "/mplex/6.7.0"
DEFAULT = MplexConfig()
MAX_RESETS = 1024  # queued; beyond, the peer does not read
MAX_LATE = 1024  # streams remembered that owe the peer a reset
SLACK = (
    256 * 1024
)  # bytes beyond a limit, a batch or two, before the slowest stream is reset at once
MIN_CUT = 1024  # bytes; a shorter rest of a record is left empty
MIN_ROOM = 2 * MAX_HEADER  # bytes: a new stream's name or close, and one header


class Mplex(MuxerCore[MplexStream]):
    """One side of an mplex connection; see `carrick.interfaces.Muxer`.

    Mplex has no flow control, no ping, no goodbye and no reset codes.

    Args:
        role: either; mplex has no roles.
        now: seconds of the same clock that `tick` gets.
    """

    __slots__ = ("_config", "_full", "_late", "_next_id", "_ready", "_receiver", "_resets")

    id = PROTOCOL_ID
    rtt = None

    def __init__(self, role: Role, *, config: MplexConfig = DEFAULT, now: float) -> None:
        super().__init__(config.max_streams, config.max_inbound, config.max_backlog, now)
        self._config = config
        self._next_id = 0
        self._ready: list[MplexStream] = []  # they have bytes, close or their name to send
        self._resets: list[bytes] = []
        self._late: dict[int, None] = {}  # keys of streams whose next data is answered by a reset
        self._full: set[int] = set()  # keys of streams at their limit of unread bytes
        self._receiver = Receiver(self, now)

    @property
    def overloaded(self) -> bool:
        return self._input_full or len(self._resets) >= MAX_RESETS

    @property
    def _input_full(self) -> bool:
        return bool(self._full) or self._unread >= self._config.max_unread

    def tick(self, now: float) -> None:
        self._now = now

    def next_deadline(self) -> float | None:
        return None

    # --- streams ----------------------------------------------------------------------------------

    def open(self) -> MplexStream:
        self._check_may_open()
        stream = MplexStream(self, self._next_id, False, self._next_id << 1 | 1)
        self._next_id += 1
        self._add(stream._key, stream)
        self._make_ready(stream)
        return stream

    def _make_ready(self, stream: MplexStream) -> None:
        if not stream._in_ready:
            stream._in_ready = True
            self._ready.append(stream)

    def _not_ready(self, stream: MplexStream) -> None:
        if stream._in_ready:
            stream._in_ready = False
            self._ready.remove(stream)

    def _received(self, stream: MplexStream, size: int) -> None:
        """`size` bytes were queued on `stream`."""
        self._touch(stream)
        self._unread += size
        config = self._config
        if stream.received >= config.max_stream_unread:
            self._full.add(stream._key)
            if stream.received >= config.max_stream_unread + SLACK:
                self._reset(stream, RESOURCE_LIMIT_EXCEEDED)
        if self._unread >= config.max_unread + SLACK:
            self._reset_slowest()

    def _taken(self, stream: MplexStream, size: int) -> None:
        self._unread -= size
        if stream.received < self._config.max_stream_unread:
            self._full.discard(stream._key)
        if not stream.received:
            self._retire_if_done(stream)

    def _forget(self, stream: MplexStream, dropped: int) -> None:
        """`dropped` unread bytes of `stream` are no more."""
        self._unread -= dropped
        if not stream.received:
            self._full.discard(stream._key)
        self._retire_if_done(stream)

    def _reset(self, stream: MplexStream, code: int) -> None:
        """We end `stream`, unless it has ended."""
        if stream.reset_code is None and stream._key in self._streams:
            if stream._announced and not (stream._fin_sent and stream._peer_done):
                self._queue_reset(stream)
            self._finish(stream, code, remote=False)

    def _queue_reset(self, stream: MplexStream) -> None:
        self._resets.append(pack(stream.id, RESET + (not stream.inbound), 0))

    def _finish(self, stream: MplexStream, code: int, *, remote: bool) -> None:
        """`stream` was reset: free what it holds and tell its owner."""
        self._touch(stream)
        self._not_ready(stream)
        self._forget(stream, stream._end(code, remote=remote, keep=remote))

    def _retire_if_done(self, stream: MplexStream) -> None:
        """Forget `stream` if neither side has anything to do with it any more."""
        if stream.received:
            return
        if stream.reset_code is not None or (stream._fin_sent and stream._peer_done):
            self._retire(stream)
        elif stream._fin_sent and stream._read_closed:
            if len(self._late) >= MAX_LATE:
                del self._late[next(iter(self._late))]
            self._late[stream._key] = None
            self._retire(stream)

    def _retire(self, stream: MplexStream) -> None:
        if self._remove(stream._key) is not None:
            self._not_ready(stream)

    def _remote_fin(self, stream: MplexStream) -> None:
        if not stream._peer_done:
            stream._peer_done = True
            stream._accepts = False
            stream.remote_closed = True
            self._touch(stream)
            self._retire_if_done(stream)

    def _remote_reset(self, stream: MplexStream) -> None:
        if stream.reset_code is None:
            self._finish(stream, 0, remote=True)
        if stream.inbound and not stream._peer_done:  # rapid reset: what that costs is bounded
            self._spend_violation("streams opened and reset")

    def _unwanted(self, stream: MplexStream) -> None:
        """Data for a stream that nobody reads any more, or behind its end."""
        if stream._key in self._streams:
            if stream._peer_done:
                self._spend_violation("data behind the end of a stream")
            self._reset(stream, 0)
        elif stream._key in self._late:
            del self._late[stream._key]
            self._queue_reset(stream)

    # --- input and output -------------------------------------------------------------------------

    def feed(self, plain: bytes) -> None:
        if self._failed:
            raise MuxerError(self._failed)
        self._receiver.feed(plain)

    def has_output(self) -> bool:
        return bool(self._ready or self._resets)

    def has_data(self) -> bool:
        return bool(self._ready)

    def take(self, room: int) -> list[Buffer]:
        out: list[Buffer] = []
        resets = self._resets
        while resets and room >= len(resets[0]):
            room -= len(resets[0])
            out.append(resets.pop(0))
        ready = self._ready
        while ready and room >= MIN_ROOM:
            stream = ready[0]
            if not stream._announced:
                stream._announced = True
                header = pack(stream.id, NEW_STREAM, 0)
                room -= len(header)
                out.append(header)
                continue
            view = stream._out
            if view:
                size = min(len(view), room - MAX_HEADER, MAX_BODY)
                if size < min(MIN_CUT, len(view)) and out:
                    break
                header = pack(stream.id, MESSAGE + (not stream.inbound), size)
                room -= len(header) + size
                view = memoryview(view)
                out.append(header)
                out.append(view[:size])
                stream._out = view[size:]
                if size == len(view):
                    self._touch(stream)
            elif stream._fin_due and not stream._fin_sent:
                header = pack(stream.id, CLOSE + (not stream.inbound), 0)
                room -= len(header)
                out.append(header)
                stream._fin_sent = True
            self._not_ready(stream)
            if stream._out or (stream._fin_due and not stream._fin_sent):
                self._make_ready(stream)
            elif stream._fin_sent:
                self._retire_if_done(stream)
        return out

    # --- the end ----------------------------------------------------------------------------------

    def _spend_violation(self, what: str) -> None:
        if not self._violations.spend(self._now):
            self._fail(f"too many violations, the last: {what}")

    def _fail(self, message: str) -> NoReturn:
        """The peer broke the protocol. There is nothing that mplex could tell it."""
        self._failed = message
        self.going_away = True
        self._resets.clear()
        for stream in self._ready:
            stream._in_ready = False
        self._ready.clear()
        raise MuxerError(message)

    def _reset_slowest(self) -> None:
        if (stream := self._slowest()) is not None:
            self._reset(stream, RESOURCE_LIMIT_EXCEEDED)
            if stream.received:  # it was reset before, and its rest is not read
                self._forget(stream, stream._drop_received())

    def on_stall(self) -> None:
        if len(self._resets) >= MAX_RESETS:
            raise MuxerError("the peer does not read what it asked for")
        if self._input_full:
            self._reset_slowest()

    def close(self, code: int = 0) -> None:
        """No stream opens any more; mplex has no word for it on the wire."""
        self.going_away = True

    def abandon(self, code: int, *, remote: bool) -> None:
        self.going_away = True
        self._resets.clear()
        self._late.clear()
        for stream in list(self._streams.values()):
            if stream.reset_code is None:
                self._unread -= stream._end(code, remote=remote, keep=True)
                self._touch(stream)
            self._retire(stream)
