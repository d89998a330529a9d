"""One mplex stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrick.transports.muxers.core import EMPTY, StreamCore

if TYPE_CHECKING:
    from carrick.transports.muxers.mplex.state import Mplex


class MplexStream(StreamCore):
    """See `carrick.interfaces.MuxerStream`. There is no window: a write always makes progress."""

    __slots__ = ("_announced", "_key", "_muxer")

    def __init__(self, muxer: Mplex, id: int, inbound: bool, key: int) -> None:
        super().__init__(id, inbound)
        self._muxer = muxer
        self._key = key  # in the table of streams: both sides may use the same id
        self._announced = inbound  # the peer knows of the stream

    @property
    def window(self) -> int:
        """mplex has none."""
        return 1 << 30

    @property
    def may_send(self) -> bool:
        """A write would make progress."""
        return not self._out and self.reset_code is None

    def _written(self) -> None:
        self._muxer._make_ready(self)

    def cancel_write(self) -> int:
        """Forget the bytes still pending; returns how many were dropped."""
        dropped = len(self._out)
        if dropped:
            self._out = EMPTY
            if self._announced and not self._fin_due:
                self._muxer._not_ready(self)
        return dropped

    def close_write(self) -> None:
        """Queue the close message, behind what is pending."""
        if self.reset_code is None and not self._fin_due:
            self._fin_due = True
            self._muxer._make_ready(self)

    def close_read(self) -> None:
        """Drop what is queued; data that still comes is answered by one reset."""
        if not self._read_closed:
            self._read_closed = True
            self._accepts = False
            self._muxer._forget(self, self._drop_received())

    def reset(self, code: int = 0) -> None:
        """End both directions now; the code stays here, mplex cannot carry it."""
        self._muxer._reset(self, code)

    def _taken(self, size: int) -> None:
        self._muxer._taken(self, size)
