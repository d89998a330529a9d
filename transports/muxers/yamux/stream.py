"""One yamux stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.transports.muxers.core import EMPTY, StreamCore
from carrick.transports.muxers.yamux.frame import INITIAL_WINDOW

if TYPE_CHECKING:
    from carrick.transports.muxers.yamux.state import Yamux


class YamuxStream(StreamCore):
    """See `carrick.interfaces.MuxerStream`.

    `_credit` is what the peer may still send, `_window` what it may have sent and we not taken,
    `_consumed` what was taken and not granted again yet.
    """

    __slots__ = (
        "_ack_due",
        "_consumed",
        "_credit",
        "_granted_at",
        "_in_control",
        "_muxer",
        "_send_window",
        "_syn_due",
        "_unacked",
        "_window",
    )

    def __init__(
        self, muxer: Yamux, id: int, inbound: bool, now: float, send_window: int = INITIAL_WINDOW
    ) -> None:
        super().__init__(id, inbound)
        self._muxer = muxer
        self._window = INITIAL_WINDOW
        self._credit = INITIAL_WINDOW
        self._consumed = 0
        self._granted_at = now
        self._send_window = send_window
        self._syn_due = not inbound
        self._ack_due = False  # set when the stream is accepted
        self._unacked = not inbound
        self._in_control = False

    @property
    def window(self) -> int:
        """Bytes that may be sent and do not wait already."""
        return self._send_window - len(self._out)

    @property
    def may_send(self) -> bool:
        """The send window is open: a write would make progress."""
        return self._send_window > 0 and not self._out and self.reset_code is None

    def _written(self) -> None:
        if self._send_window:
            self._muxer._sender.ready(self)

    def cancel_write(self) -> int:
        """Forget the bytes still pending; returns how many were dropped."""
        dropped = len(self._out)
        if dropped:
            self._out = EMPTY
            if self._fin_due:
                self._muxer._sender.ready(self)
            else:
                self._muxer._sender.not_ready(self)
        return dropped

    def close_write(self) -> None:
        """Queue FIN, behind what is pending."""
        if self.reset_code is None and not self._fin_due:
            self._fin_due = True
            if not self._out:
                self._muxer._sender.ready(self)

    def close_read(self) -> None:
        """Drop what is queued; data that still comes is answered by one reset."""
        if not self._read_closed:
            self._read_closed = True
            self._accepts = False
            self._muxer._forget(self._drop_received(), self)

    def reset(self, code: int = 0) -> None:
        """End both directions now. No effect on an ended stream."""
        self._muxer._reset(self, code)

    def _taken(self, size: int) -> None:
        self._consumed += size
        self._muxer._taken(self, size)

    def _fin_left(self) -> None:
        self._fin_sent = True
        self._muxer._retire_if_done(self)
