"""What comes in on a yamux connection: from bytes to frames to streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.errors import MuxerError
from carrick.transports.muxers.core import RESOURCE_LIMIT_EXCEEDED, Allowance
from carrick.transports.muxers.yamux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    KNOWN_FLAGS,
    MAX_UINT32,
    NORMAL,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from carrick.transports.muxers.yamux.late import LateStreams
from carrick.transports.muxers.yamux.stream import YamuxStream

if TYPE_CHECKING:
    from carrick.transports.muxers.yamux.state import Yamux

# Frames without payload that a peer may send. It earns more by time, and by the bytes that go
# either way: py-libp2p sends a window update for every read.
IDLE_FRAMES = 20_000
IDLE_FRAMES_PER_SECOND = 1000.0
BYTES_PER_IDLE_FRAME = 32


class Receiver:
    """Cuts the input into frames and applies them. A frame is never waited for or assembled.

    It is in one of three states: inside a body (`_left`), behind a part of a header (`_cut`), or
    between two frames.
    """

    __slots__ = (
        "_cut",
        "_fin",
        "_highest",
        "_idle",
        "_left",
        "_muxer",
        "_target",
        "_useful",
        "late",
    )

    def __init__(self, muxer: Yamux, now: float) -> None:
        self._muxer = muxer
        self._cut = b""
        self._left = 0  # bytes of the body that are still to come
        self._target: YamuxStream | None = None  # whose body it is; None: it is dropped
        self._fin = False  # the body's frame carries FIN
        self._highest = 0  # the highest stream id that the peer has used
        self._useful = 0  # bytes that came for streams
        self._idle = Allowance(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, now)
        self.late = LateStreams()

    def feed(self, plain: bytes) -> None:
        muxer = self._muxer
        if muxer._failed:
            raise MuxerError(muxer._failed)
        muxer._keepalive.heard = muxer._now
        streams = muxer._streams
        at = 0
        size = len(plain)
        if self._cut:
            at = HEADER_SIZE - len(self._cut)
            self._cut += plain[:at]
            if len(self._cut) < HEADER_SIZE:
                return
            header, self._cut = self._cut, b""
            self._frame(*HEADER.unpack(header))
        while at < size:
            if left := self._left:
                part = min(left, size - at)
                stream = self._target
                if stream is not None:
                    if stream._accepts:
                        self._deliver(stream, plain, at, part)
                    else:
                        self._unwanted(stream)
                at += part
                self._left = left - part
                if self._fin and part == left:
                    self._end_of_body()
            elif size - at < HEADER_SIZE:
                self._cut = plain[at:]
                return
            else:
                kind, flags, stream_id, length = HEADER.unpack_from(plain, at)
                at += HEADER_SIZE
                stream = streams.get(stream_id)
                if (
                    stream is not None
                    and not kind  # DATA
                    and not flags
                    and stream._accepts
                    and 0 < length <= stream._credit
                ):
                    stream._credit -= length
                    if length <= size - at:
                        self._deliver(stream, plain, at, length)
                        at += length
                    else:
                        self._left = length
                        self._target = stream
                else:
                    self._frame(kind, flags, stream_id, length)

    def _deliver(self, stream: YamuxStream, plain: bytes, at: int, size: int) -> None:
        stream._store(plain, at, size)
        self._useful += size
        muxer = self._muxer
        muxer._unread += size
        if not stream._touched:
            stream._touched = True
            muxer._changed.append(stream)

    def _unwanted(self, stream: YamuxStream) -> None:
        """Bytes for somebody who does not read any more."""
        self._target = None
        if stream.id in self._muxer._streams:
            self._muxer._reset(stream, NORMAL)
        elif self.late.answer(stream.id):
            self._muxer._sender.reset(stream.id, NORMAL)

    def _end_of_body(self) -> None:
        self._fin = False
        if self._target is not None:
            self._muxer._remote_fin(self._target)

    def _body(self, length: int, stream: YamuxStream | None, fin: bool = False) -> None:
        """A body of `length` bytes follows."""
        self._left = length
        self._target = stream
        self._fin = fin

    def _spend_idle(self) -> None:
        useful = (self._useful + self._muxer._sender.sent) // BYTES_PER_IDLE_FRAME
        if not self._idle.spend(self._muxer._now, useful):
            self._muxer._fail("too many frames without payload")

    # --- frames -----------------------------------------------------------------------------------

    def _frame(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """A header that is not that of plain, welcome data."""
        muxer = self._muxer
        if kind > GO_AWAY:
            muxer._fail(f"unknown version or frame type 0x{kind:04x}")
        if flags & ~KNOWN_FLAGS:
            muxer._fail(f"unknown flags 0x{flags:04x}")
        if kind != DATA or not length:
            self._spend_idle()
        if kind == PING:
            if stream_id or flags not in (SYN, ACK):
                muxer._fail("malformed ping")
            if flags == SYN:
                muxer._keepalive.asked(muxer._now)
                muxer._sender.pong(length)
            elif not muxer._keepalive.pong(length, muxer._now):
                muxer._fail("a pong that nobody asked for")
        elif kind == GO_AWAY:
            if stream_id:
                muxer._fail("GoAway for a stream")
            muxer._remote_goaway(length)
        elif flags & SYN:
            self._syn(kind, flags, stream_id, length)
        elif (stream := muxer._streams.get(stream_id)) is not None:
            self._stream_frame(stream, kind, flags, length)
        else:
            self._unknown(kind, flags, stream_id, length)

    def _syn(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """The peer opens a stream. Everything is checked before anything is made."""
        muxer = self._muxer
        if not stream_id or stream_id & 1 == muxer._parity:
            muxer._fail(f"SYN for stream {stream_id}, which is not the peer's to open")
        if flags & (ACK | RST):
            muxer._fail("SYN with ACK or RST")
        if stream_id in muxer._streams or stream_id in self.late:
            muxer._fail(f"second SYN for stream {stream_id}")
        if kind == DATA and length > INITIAL_WINDOW:
            muxer._fail(f"{length} bytes with SYN exceed the initial window")
        if kind == WINDOW_UPDATE and length > MAX_UINT32 - INITIAL_WINDOW:
            muxer._fail("the send window exceeds 2**32 - 1")
        self._highest = max(self._highest, stream_id)
        body = length if kind == DATA else 0
        if muxer.going_away or muxer._is_full():
            muxer._spend_violation("streams opened beyond the limit")
            muxer._sender.reset(stream_id, RESOURCE_LIMIT_EXCEEDED)
            if not flags & FIN:
                self.late.add(stream_id, INITIAL_WINDOW - body, answer=False)
            self._body(body, None)
            return
        window = INITIAL_WINDOW + length - body
        stream = YamuxStream(muxer, stream_id, True, muxer._now, window)
        muxer._add(stream_id, stream)
        if body:
            stream._credit -= body
            self._body(body, stream, bool(flags & FIN))
        elif flags & FIN:
            muxer._remote_fin(stream)

    def _stream_frame(self, stream: YamuxStream, kind: int, flags: int, length: int) -> None:
        muxer = self._muxer
        if kind == DATA and length > stream._credit:
            muxer._fail(f"{length} bytes exceed the window of stream {stream.id}")
        if flags & ACK:
            muxer._acknowledged(stream)
        if flags & RST:
            if kind == DATA:
                self._body(length, None)
            muxer._remote_reset(stream, length if kind == WINDOW_UPDATE else NORMAL)
        elif kind == WINDOW_UPDATE:
            window = stream._send_window + length
            if window > MAX_UINT32:
                muxer._fail(f"the send window of stream {stream.id} exceeds 2**32 - 1")
            if length:
                if not stream._send_window:
                    if stream._out:
                        muxer._sender.ready(stream)
                    muxer._touch(stream)
                stream._send_window = window
            if flags & FIN:
                muxer._remote_fin(stream)
        elif not length:
            if flags & FIN:
                muxer._remote_fin(stream)
        elif stream._accepts:
            stream._credit -= length
            self._body(length, stream, bool(flags & FIN))
        else:
            if stream._peer_done:
                muxer._spend_violation("data behind FIN")
            stream._credit -= length
            muxer._reset(stream, NORMAL)
            self._body(length, None)

    def _unknown(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """A frame for a stream that is no more, or never was."""
        muxer = self._muxer
        body = length if kind == DATA else 0
        self._body(body, None)
        if stream_id in self.late:
            if not self.late.charge(stream_id, body):
                muxer._fail(f"{body} bytes exceed the window of stream {stream_id}")
            if body and not flags & RST and self.late.answer(stream_id):
                muxer._sender.reset(stream_id, NORMAL)
            if flags & (FIN | RST):
                self.late.discard(stream_id)
            return
        if body > muxer._config.max_window:
            muxer._fail(f"{body} bytes exceed the window of stream {stream_id}")
        used = muxer._next_id if stream_id & 1 == muxer._parity else self._highest + 1
        if not 0 < stream_id < used or body:
            muxer._spend_violation(f"frames for stream {stream_id}, which is not open")
            if not flags & RST:
                muxer._sender.reset(stream_id, NORMAL)
