"""Streams that we ended while the peer could still be sending on them."""

from __future__ import annotations

MAX_LATE = 1024  # streams remembered; a stream costs about 100 bytes
_ANSWER = 1 << 32


class LateStreams:
    """What each of them may still receive, so that a race is told from an overrun."""

    __slots__ = ("_credit",)

    def __init__(self) -> None:
        self._credit: dict[int, int] = {}

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._credit

    def add(self, stream_id: int, credit: int, *, answer: bool) -> None:
        """Remember a stream, and forget the oldest if there are too many.

        Args:
            credit: bytes that the peer may still send.
            answer: the first of them is answered by a reset.
        """
        if len(self._credit) >= MAX_LATE:
            del self._credit[next(iter(self._credit))]
        self._credit[stream_id] = credit | _ANSWER if answer else credit

    def charge(self, stream_id: int, length: int) -> bool:
        """Count a frame of `length` bytes; False if it is beyond the credit."""
        entry = self._credit[stream_id]
        if length > entry & (_ANSWER - 1):
            return False
        self._credit[stream_id] = entry - length
        return True

    def answer(self, stream_id: int) -> bool:
        """True, once, for a stream that still owes the peer a reset."""
        entry = self._credit.get(stream_id, 0)
        if entry & _ANSWER:
            self._credit[stream_id] = entry - _ANSWER
            return True
        return False

    def discard(self, stream_id: int) -> None:
        """The peer has ended the stream too."""
        self._credit.pop(stream_id, None)

    def clear(self) -> None:
        self._credit.clear()
