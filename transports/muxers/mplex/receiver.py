"""What comes in on an mplex connection: from bytes to messages to streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.errors import ProtocolError
from carrick.transports.muxers.core import Allowance
from carrick.transports.muxers.mplex.frame import (
    CLOSE,
    MAX_BODY,
    MESSAGE,
    NEW_STREAM,
    RESET,
)
from carrick.transports.muxers.mplex.stream import MplexStream
from carrick.wire import decode_varint

if TYPE_CHECKING:
    from carrick.transports.muxers.mplex.state import Mplex

IDLE_FRAMES = 20_000  # messages that bring nothing, at once
IDLE_FRAMES_PER_SECOND = 1000.0
BYTES_PER_IDLE_FRAME = 32


class Receiver:
    """Cuts the input into messages and applies them. A message is never waited for or assembled."""

    __slots__ = ("_cut", "_highest", "_idle", "_left", "_muxer", "_target", "_useful")

    def __init__(self, muxer: Mplex, now: float) -> None:
        self._muxer = muxer
        self._cut = b""
        self._left = 0  # bytes of the body that are still to come
        self._target: MplexStream | None = None  # whose body it is; None: it is dropped
        self._highest = -1  # the highest stream id that the peer has used
        self._idle = Allowance(IDLE_FRAMES, IDLE_FRAMES_PER_SECOND, now)
        self._useful = 0  # bytes that came for streams

    def feed(self, plain: bytes) -> None:
        muxer = self._muxer
        at = 0
        if self._cut:
            plain = self._cut + plain
            self._cut = b""
        size = len(plain)
        while at < size:
            if left := self._left:
                part = min(left, size - at)
                stream = self._target
                if stream is not None:
                    if stream._accepts:
                        stream._store(plain, at, part)
                        self._useful += part
                        muxer._received(stream, part)
                    else:
                        self._target = None
                        muxer._unwanted(stream)
                at += part
                self._left = left - part
                continue
            header = self._header(plain, at)
            if header is None:
                self._cut = plain[at:]
                return
            number, length, at = header
            self._message(number >> 3, number & 7, length)

    def _header(self, plain: bytes, at: int) -> tuple[int, int, int] | None:
        """Header number, length and where the data begins; None if the header is cut."""
        try:
            header = decode_varint(plain, at)
            if header is None:
                return None
            length = decode_varint(plain, header[1])
        except ProtocolError as error:
            self._muxer._fail(f"malformed header: {error}")
        return None if length is None else (header[0], *length)

    def _message(self, stream_id: int, flag: int, length: int) -> None:
        muxer = self._muxer
        if length > MAX_BODY:
            muxer._fail(f"a message of {length} bytes")
        self._left = length
        self._target = None
        is_data = flag in (MESSAGE, MESSAGE + 1)
        if not (is_data and length) and not self._idle.spend(
            muxer._now, self._useful // BYTES_PER_IDLE_FRAME
        ):
            muxer._fail("too many messages without payload")
        if flag == NEW_STREAM:
            self._new_stream(stream_id, length)
            return
        if flag > RESET + 1:
            muxer._fail(f"unknown flag {flag}")
        ours = flag & 1  # the receiver of a stream sends the odd flags: we are the initiator
        stream = muxer._streams.get(stream_id << 1 | ours)
        if stream is None:
            self._unknown(stream_id, flag, length)
        elif is_data:
            if not length:
                return
            if stream._accepts:
                self._target = stream
            else:
                muxer._unwanted(stream)
        elif flag - (not ours) == CLOSE:
            muxer._remote_fin(stream)
        else:
            muxer._remote_reset(stream)

    def _new_stream(self, stream_id: int, name_length: int) -> None:
        muxer = self._muxer
        key = stream_id << 1
        if key in muxer._streams or key in muxer._late:
            muxer._fail(f"stream {stream_id} cannot be opened")
        if name_length > muxer._config.max_name:
            muxer._fail(f"a stream's name of {name_length} bytes")
        self._highest = max(self._highest, stream_id)
        stream = MplexStream(muxer, stream_id, True, key)
        if muxer.going_away or muxer._is_full():
            muxer._spend_violation("streams opened beyond the limit")
            muxer._queue_reset(stream)
        else:
            muxer._add(key, stream)

    def _unknown(self, stream_id: int, flag: int, length: int) -> None:
        """A message for a stream that is no more, or never was: data may still be under way."""
        muxer = self._muxer
        ours = flag & 1
        key = stream_id << 1 | ours
        if key in muxer._late:
            del muxer._late[key]
            if length and flag < CLOSE:
                muxer._queue_reset(MplexStream(muxer, stream_id, not ours, key))
        elif stream_id >= (muxer._next_id if ours else self._highest + 1):
            muxer._spend_violation(f"messages for stream {stream_id}, which is not open")
