"""The two dialects of `/perf/1.0.0`, as a server meets them. No I/O.

- The specification's (libp2p/specs, perf/perf.md): 8 bytes, big-endian, how many bytes the client
  wants; then what it uploads, up to its end of file; then the server sends.
- That of libp2p/unified-testing's reference: 8 bytes of how many bytes the client uploads, 8 of
  how many it wants; exact counts, and perhaps no end of file.
"""

from __future__ import annotations

import enum

from carrick.errors import ProtocolError

__all__ = ["MAX_BYTES", "Dialect", "Server", "request"]

MAX_BYTES = 1 << 53
"""Counts from the wire are taken as this at most: nobody lives to see the end of it."""

GUESS_AFTER = 0.05  # s without a byte; the specification's clients send or end at once

_NUMBER = 8  # bytes
_DETECTABLE = 2 * _NUMBER


class Dialect(enum.Enum):
    """How a client speaks."""

    SPEC = "spec"
    UT16 = "ut16"


def request(dialect: Dialect, *, upload: int, download: int) -> bytes:
    """What a client sends before its upload.

    Raises:
        ValueError: a count is not from 0 to 2**53.
    """
    if not 0 <= upload <= MAX_BYTES or not 0 <= download <= MAX_BYTES:
        raise ValueError(f"perf counts are from 0 to {MAX_BYTES} bytes")
    numbers = (download,) if dialect is Dialect.SPEC else (upload, download)
    return b"".join(number.to_bytes(_NUMBER, "big") for number in numbers)


class Server:
    """What a server has received, and how much it has to send.

    Tell it what arrives; once `reply` is not None, send that many bytes and close.

    A client of the specification that uploads 8 bytes or more **and** downloads on one stream
    begins like the other dialect. It is told apart if its upload is shorter than its download.
    """

    __slots__ = ("_first", "_head", "_left", "_second", "dialect", "received", "reply")

    def __init__(self) -> None:
        self.dialect: Dialect | None = None
        """None until it is known."""
        self.reply: int | None = None
        """How many bytes to send; None while the client has not ended its upload."""
        self.received = 0
        """Bytes that came, counts included."""
        self._head = bytearray()
        self._first = self._second = 0
        self._left = 0

    @property
    def undecided(self) -> bool:
        """Whether it depends on what comes within `GUESS_AFTER`; see `silence`."""
        return self.dialect is None and len(self._head) == _DETECTABLE

    def receive(self, data: memoryview) -> None:
        """Take the next bytes."""
        self.received += len(data)
        if self.reply is not None:
            return
        if self.dialect is None:
            data = self._detect(data)
        if self.dialect is Dialect.UT16:
            self._left -= len(data)
            if self._left <= 0:
                self.reply = self._second

    def _detect(self, data: memoryview) -> memoryview:
        """Look at the first 16 bytes; returns what is behind them."""
        missing = _DETECTABLE - len(self._head)
        self._head += data[:missing]
        behind = data[missing:]
        if len(self._head) == _DETECTABLE:
            self._first, self._second = self._number(0), self._number(_NUMBER)
            self._left = self._first
            if self._first:
                self.dialect = Dialect.UT16
            elif behind or not self._second:
                self.dialect = Dialect.SPEC
        return behind

    def silence(self) -> None:
        """Nothing came for `GUESS_AFTER` seconds."""
        if self.undecided:
            self.dialect = Dialect.UT16
            self.reply = self._second

    def end(self) -> None:
        """The client has sent its end of file.

        Raises:
            ProtocolError: before its first number.
        """
        if self.reply is not None:
            return
        if self.undecided:
            self.silence()
            return
        if self.dialect is None:  # fewer than 16 bytes
            if len(self._head) < _NUMBER:
                raise ProtocolError("a perf stream ended before its first number")
            self._first = self._number(0)
        # Where UT16 was assumed, the upload is shorter than the number in front of it. So that is
        # how much the client wants.
        self.dialect = Dialect.SPEC
        self.reply = self._first

    def _number(self, at: int) -> int:
        return min(int.from_bytes(self._head[at : at + _NUMBER], "big"), MAX_BYTES)
