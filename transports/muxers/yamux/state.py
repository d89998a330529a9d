"""The yamux state machine. No I/O: bytes go in by `feed` and come out by `take`."""

from __future__ import annotations

from typing import NoReturn

from carrick.errors import ConnectionClosed, MuxerError, ResourceLimitExceeded
from carrick.interfaces import Budget, Buffer, Role
from carrick.transports.muxers.core import RESOURCE_LIMIT_EXCEEDED, MuxerCore
from carrick.transports.muxers.yamux.config import YamuxConfig
from carrick.transports.muxers.yamux.frame import MAX_UINT32, NORMAL, PROTOCOL_ERROR
from carrick.transports.muxers.yamux.keepalive import Keepalive
from carrick.transports.muxers.yamux.receiver import Receiver
from carrick.transports.muxers.yamux.sender import Sender
from carrick.transports.muxers.yamux.stream import YamuxStream
from carrick.transports.muxers.yamux.window import Windows

PROTOCOL_ID = "/yamux/1.0.0"
DEFAULT = YamuxConfig()


class Yamux(MuxerCore[YamuxStream]):
    """One side of a yamux connection; see `carrick.interfaces.Muxer`.

    Args:
        role: CLIENT opens streams with odd ids, SERVER with even ones.
        budget: what windows grow out of.
        now: seconds of the same clock that `tick` gets.
    """

    __slots__ = (
        "_config",
        "_keepalive",
        "_next_id",
        "_parity",
        "_receiver",
        "_sender",
        "_unacked",
        "_windows",
        "feed",
        "has_data",
        "has_output",
    )

    id = PROTOCOL_ID

    def __init__(
        self, role: Role, *, budget: Budget, config: YamuxConfig = DEFAULT, now: float
    ) -> None:
        super().__init__(config.max_streams, config.max_inbound, config.max_backlog, now)
        self._config = config
        self._parity = 1 if role is Role.CLIENT else 0  # of the ids of our streams
        self._next_id = 1 if role is Role.CLIENT else 2
        self._unacked = 0  # streams of ours that the peer has not acknowledged
        self._windows = Windows(budget, config.max_window)
        self._keepalive = Keepalive(
            config.ping_interval, config.ping_timeout, now, dialer=role is Role.CLIENT
        )
        self._sender = Sender(self._keepalive, self._windows)
        self._receiver = Receiver(self, now)
        self.feed = self._receiver.feed
        self.has_data = self._sender.has_data
        self.has_output = self._sender.has_output

    @property
    def rtt(self) -> float | None:
        return self._keepalive.rtt

    @property
    def overloaded(self) -> bool:
        full = self._unread >= self._config.max_unread + self._windows.grown
        return full or self._sender.full

    # --- time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        self._now = now
        deadline = self._keepalive.deadline
        if deadline is not None and now >= deadline:
            if self.overloaded:  # it is we who do not listen
                self._keepalive.heard = now
            self._keepalive.run(now)

    def next_deadline(self) -> float | None:
        return self._keepalive.deadline

    # --- streams ----------------------------------------------------------------------------------

    def open(self) -> YamuxStream:
        self._check_may_open()
        if self._unacked >= self._config.max_backlog:
            raise ResourceLimitExceeded(
                scope="connection",
                limit="streams_pending_per_connection",
                maximum=self._config.max_backlog,
                present=self._unacked,
            )
        if self._next_id > MAX_UINT32:
            raise ConnectionClosed("this connection has used up its stream ids")
        stream = YamuxStream(self, self._next_id, False, self._now)
        self._next_id += 2
        self._unacked += 1
        self._add(stream.id, stream)
        self._sender.control(stream)
        return stream

    def _accepted(self, stream: YamuxStream) -> None:
        if stream.reset_code is None:
            self._sender.ack(stream)

    def _taken(self, stream: YamuxStream, size: int) -> None:
        self._unread -= size
        if stream._accepts:
            if stream._consumed * 2 >= stream._window:
                self._sender.control(stream)
        elif not stream.received:
            self._retire_if_done(stream)

    def _forget(self, dropped: int, stream: YamuxStream) -> None:
        """`close_read` dropped that many bytes."""
        self._unread -= dropped
        self._retire_if_done(stream)

    def _reset(self, stream: YamuxStream, code: int) -> None:
        """We end `stream`, unless it has ended."""
        if stream.reset_code is None and stream.id in self._streams:
            if not (stream._syn_due or (stream._fin_sent and stream._peer_done)):
                self._sender.reset(stream.id, code)
                if not stream._peer_done:
                    self._receiver.late.add(stream.id, stream._credit, answer=False)
            self._finish(stream, code, remote=False)

    def _finish(self, stream: YamuxStream, code: int, *, remote: bool) -> None:
        """`stream` was reset: free what it holds and tell its owner."""
        self._unread -= stream._end(code, remote=remote, keep=remote)
        self._touch(stream)
        self._sender.drop(stream)
        self._retire_if_done(stream)

    def _retire_if_done(self, stream: YamuxStream) -> None:
        """Forget `stream` if neither side has anything to do with it any more."""
        if stream.received:
            return
        if stream.reset_code is not None or (stream._fin_sent and stream._peer_done):
            self._retire(stream)
        elif stream._fin_sent and stream._read_closed:
            # A peer without window sends nothing that could be answered: it must hear it now.
            blocked = not stream._credit
            if blocked:
                self._sender.reset(stream.id, NORMAL)
            self._receiver.late.add(stream.id, stream._credit, answer=not blocked)
            self._retire(stream)

    def _retire(self, stream: YamuxStream) -> None:
        if self._remove(stream.id) is not None:
            self._acknowledged(stream)
            self._sender.drop(stream)
            self._windows.release(stream)

    def _acknowledged(self, stream: YamuxStream) -> None:
        if stream._unacked:
            stream._unacked = False
            self._unacked -= 1

    def _remote_fin(self, stream: YamuxStream) -> None:
        if not stream._peer_done:
            stream._peer_done = True
            stream._accepts = False
            stream.remote_closed = True
            self._touch(stream)
            self._retire_if_done(stream)

    def _remote_reset(self, stream: YamuxStream, code: int) -> None:
        if stream.reset_code is None:
            self._finish(stream, code, remote=True)
        if stream.inbound and not stream._peer_done:  # rapid reset: what that costs is bounded
            self._spend_violation("streams opened and reset")

    def _remote_goaway(self, code: int) -> None:
        self.going_away = True
        if self.remote_close_code is None:
            self.remote_close_code = code

    # --- input and output -------------------------------------------------------------------------

    def take(self, room: int) -> list[Buffer]:
        return self._sender.take(room, self._now)

    # --- the end ----------------------------------------------------------------------------------

    def _spend_violation(self, what: str) -> None:
        if not self._violations.spend(self._now):
            self._fail(f"too many violations, the last: {what}")

    def _fail(self, message: str) -> NoReturn:
        """The peer broke the protocol."""
        self._failed = message
        self.going_away = True
        self._sender.fail(PROTOCOL_ERROR)
        raise MuxerError(message, code=PROTOCOL_ERROR)

    def on_stall(self) -> None:
        if self._sender.full:
            raise MuxerError("the peer does not read what it asked for", code=PROTOCOL_ERROR)
        if self.overloaded and (stream := self._slowest()) is not None:
            stream.reset(RESOURCE_LIMIT_EXCEEDED)
            if stream.received:  # it was reset before, and its rest is not read
                self._unread -= stream._drop_received()
                self._retire_if_done(stream)

    def close(self, code: int = 0) -> None:
        if not self._failed:
            self._sender.goaway(code)
            self.going_away = True

    def abandon(self, code: int, *, remote: bool) -> None:
        self.going_away = True
        for stream in list(self._streams.values()):
            if stream.reset_code is None:
                self._unread -= stream._end(code, remote=remote, keep=True)
                self._touch(stream)
            self._retire(stream)
        self._sender.clear()
        self._receiver.late.clear()
