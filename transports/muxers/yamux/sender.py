"""What waits to be sent on a yamux connection, and in which order it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.interfaces import Buffer
from carrick.transports.muxers.core import EMPTY
from carrick.transports.muxers.yamux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    pack,
)
from carrick.transports.muxers.yamux.keepalive import Keepalive
from carrick.transports.muxers.yamux.window import Windows

if TYPE_CHECKING:
    from carrick.transports.muxers.yamux.stream import YamuxStream

MAX_PONGS = 32  # go-yamux: ping backlog
MAX_RESETS = 1024  # queued; about 12 KiB
MAX_WAITING_ACKS = 64  # a quarter of the peer's ACK backlog
MIN_CUT = 1024  # bytes; a shorter rest of a record is left empty: a header and a turn cost more


class Sender:
    """Control frames, the turn of the streams that can send, and GoAway behind them all.

    A stream is in the turn (`ready`) while it has bytes and window, or FIN to send. Its ACK rides
    on whatever the connection sends next: it is worth no record of its own.
    """

    __slots__ = (
        "_acks",
        "_control",
        "_goaway",
        "_keepalive",
        "_pongs",
        "_ready",
        "_resets",
        "_windows",
        "sent",
    )

    def __init__(self, keepalive: Keepalive, windows: Windows) -> None:
        self._keepalive = keepalive
        self._windows = windows
        self._goaway: bytes | None = None
        self._pongs: list[int] = []
        self._resets: list[bytes] = []
        self._control: list[YamuxStream] = []  # SYN or window update to send
        self._acks: list[YamuxStream] = []
        self._ready: list[YamuxStream] = []
        self.sent = 0
        """Bytes of streams that left."""

    # --- what to send -----------------------------------------------------------------------------

    def ready(self, stream: YamuxStream) -> None:
        """`stream` has bytes and window, or FIN to send."""
        if not stream._in_ready:
            stream._in_ready = True
            self._ready.append(stream)

    def not_ready(self, stream: YamuxStream) -> None:
        if stream._in_ready:
            stream._in_ready = False
            self._ready.remove(stream)

    def control(self, stream: YamuxStream) -> None:
        """`stream` has SYN or a window update to send."""
        if not stream._in_control:
            stream._in_control = True
            self._control.append(stream)

    def ack(self, stream: YamuxStream) -> None:
        stream._ack_due = True
        self._acks.append(stream)

    def pong(self, value: int) -> None:
        """Answer a ping; beyond the bound it stays unanswered."""
        if len(self._pongs) < MAX_PONGS:
            self._pongs.append(value)

    def reset(self, stream_id: int, code: int) -> None:
        self._resets.append(pack(WINDOW_UPDATE, RST, stream_id, code))

    def goaway(self, code: int) -> None:
        self._goaway = pack(GO_AWAY, 0, 0, code)

    def fail(self, code: int) -> None:
        """GoAway, instead of all that waits."""
        self.clear()
        self.goaway(code)

    def drop(self, stream: YamuxStream) -> None:
        """`stream` has ended: it sends nothing more."""
        self.not_ready(stream)
        if stream._in_control:
            stream._in_control = False
            self._control.remove(stream)
        if stream._ack_due:
            stream._ack_due = False
            self._acks.remove(stream)

    def clear(self) -> None:
        self._keepalive.drop()
        self._goaway = None
        for stream in self._ready:
            stream._in_ready = False
        for stream in self._control:
            stream._in_control = False
        for stream in self._acks:
            stream._ack_due = False
        for queue in (self._pongs, self._resets, self._control, self._acks, self._ready):
            queue.clear()

    # --- sending ----------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Control frames are at their bound: the peer does not read."""
        return len(self._pongs) >= MAX_PONGS or len(self._resets) >= MAX_RESETS

    def has_output(self) -> bool:
        return bool(
            self._ready
            or self._control
            or self._resets
            or self._pongs
            or self._goaway
            or self._keepalive.overdue
            or len(self._acks) >= MAX_WAITING_ACKS
        )

    def has_data(self) -> bool:
        return bool(self._ready)

    def take(self, room: int, now: float) -> list[Buffer]:
        """Pieces for the next record, together at most `room` bytes."""
        out: list[Buffer] = []
        ready = self._ready
        if not ready and not self.has_output():  # ACKs alone may wait
            return out
        if self._acks or self._control or self._resets or self._pongs or self._keepalive.due:
            room = self._take_control(out, room, now)
        while ready and room > HEADER_SIZE:
            stream = ready[0]
            view = stream._out
            if not view:  # FIN, in a frame of its own
                if stream._ack_due:  # py-libp2p overlooks a FIN beside an ACK
                    out.append(self._opening(stream, WINDOW_UPDATE, 0))
                    room -= HEADER_SIZE
                    continue
                del ready[0]
                stream._in_ready = False
                out.append(self._opening(stream, DATA, 0, FIN))
                room -= HEADER_SIZE
                stream._fin_left()
                continue
            window = stream._send_window
            size = len(view)
            if size > window or size > room - HEADER_SIZE:
                size = min(window, room - HEADER_SIZE)
                if size < MIN_CUT and out and size == room - HEADER_SIZE:
                    break
            if stream._syn_due or stream._ack_due:
                out.append(self._opening(stream, DATA, size))
            else:
                out.append(HEADER.pack(DATA, 0, stream.id, size))
            room -= HEADER_SIZE + size
            self.sent += size
            window -= size
            stream._send_window = window
            del ready[0]
            if size == len(view):
                out.append(view)
                stream._out = EMPTY
                stream._muxer._touch(stream)
                if stream._fin_due:
                    ready.append(stream)
                else:
                    stream._in_ready = False
            else:
                view = memoryview(view)
                out.append(view[:size])
                stream._out = view[size:]
                if window:
                    ready.append(stream)
                else:
                    stream._in_ready = False
        if self._goaway is not None and not ready and room >= HEADER_SIZE:
            out.append(self._goaway)
            self._goaway = None
        return out

    def _opening(self, stream: YamuxStream, kind: int, length: int, flags: int = 0) -> bytes:
        """A header that carries SYN or ACK if either is due."""
        if stream._syn_due:
            stream._syn_due = False
            flags |= SYN
        elif stream._ack_due:
            stream._ack_due = False
            self._acks.remove(stream)
            flags |= ACK
        return pack(kind, flags, stream.id, length)

    def _take_control(self, out: list[Buffer], room: int, now: float) -> int:
        keepalive = self._keepalive
        if keepalive.due and room >= HEADER_SIZE:
            out.append(keepalive.send(now))
            room -= HEADER_SIZE
        if self._pongs:
            count = min(len(self._pongs), room // HEADER_SIZE)
            out.extend(pack(PING, ACK, 0, value) for value in self._pongs[:count])
            del self._pongs[:count]
            room -= count * HEADER_SIZE
        if self._resets:
            count = min(len(self._resets), room // HEADER_SIZE)
            out.extend(self._resets[:count])
            del self._resets[:count]
            room -= count * HEADER_SIZE
        count = min(len(self._control), room // HEADER_SIZE)
        for stream in self._control[:count]:
            stream._in_control = False
            credit = self._windows.grant(stream, now, keepalive.rtt)
            if credit or (stream._syn_due and not stream._in_ready):
                out.append(self._opening(stream, WINDOW_UPDATE, credit))
                room -= HEADER_SIZE
        del self._control[:count]
        if self._acks:
            alone = [stream for stream in self._acks if not stream._in_ready]
            for stream in alone[: room // HEADER_SIZE]:
                out.append(self._opening(stream, WINDOW_UPDATE, 0))
                room -= HEADER_SIZE
        return room
