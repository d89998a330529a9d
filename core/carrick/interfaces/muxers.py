"""Stream multiplexers, without I/O."""

from __future__ import annotations

from typing import Any, Protocol

from carrick.interfaces.basic import Buffer

__all__ = ["Budget", "Muxer", "MuxerStream"]


class Budget(Protocol):
    """Memory that a connection may take beyond its basic share."""

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes; False if that is more than is left."""

    def release(self, size: int) -> None: ...


class MuxerStream(Protocol):
    """One stream of a `Muxer`, without I/O: methods change state, bytes leave by the muxer."""

    id: int
    inbound: bool
    owner: Any
    """For the driver: the object that serves this stream. The muxer does not look at it."""

    @property
    def received(self) -> int:
        """Bytes that came and were not taken yet."""

    @property
    def remote_closed(self) -> bool:
        """The peer sent FIN (bytes may still be queued), and no reset dropped anything."""

    @property
    def reset_code(self) -> int | None:
        """Not None once the stream was reset, by either side, or its connection ended."""

    @property
    def reset_by_remote(self) -> bool: ...

    @property
    def pending(self) -> int:
        """Bytes given to `write` that are not in a record yet."""

    @property
    def window(self) -> int:
        """Bytes that the peer would take beyond those that are pending."""

    @property
    def may_send(self) -> bool:
        """The send window is open: a write would make progress."""

    def take(self, max_bytes: int) -> bytes:
        """Remove and return up to `max_bytes` received bytes, and grant the peer new window."""

    def take_views(self) -> list[memoryview]:
        """Remove and return all received bytes without copying, and grant the peer new window."""

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes to send. They stay valid until `pending` is 0; behind pending ones they are
        copied."""

    def cancel_write(self) -> int:
        """Forget the bytes still pending; returns how many were dropped."""

    def close_write(self) -> None:
        """Queue FIN, behind what is pending."""

    def close_read(self) -> None:
        """Nobody reads any more: drop what is queued, answer data that still comes by a reset."""

    def reset(self, code: int = 0) -> None:
        """End both directions now and drop what is queued; `remote_closed` is then False, so that
        a reader cannot take a cut stream for a whole one. No effect on an ended stream.
        """


class Muxer(Protocol):
    """Many streams over one record layer, without I/O.

    The driver calls `tick(now)`, feeds plaintext, wakes the owners of `touched()` streams, serves
    `accept()`ed ones, and seals what `take()` gives.
    """

    id: str
    """The protocol id, such as `/yamux/1.0.0`."""

    @property
    def rtt(self) -> float | None:
        """The measured round-trip time in seconds, None before the first measurement."""

    @property
    def overloaded(self) -> bool:
        """Unread input or unsent output is at its bound: the driver stops reading from the peer."""

    @property
    def stream_count(self) -> int: ...

    @property
    def going_away(self) -> bool:
        """The peer sent GoAway, or we did: no new streams."""

    @property
    def remote_close_code(self) -> int | None:
        """The code of the peer's GoAway, once it came."""

    def tick(self, now: float) -> None:
        """Tell the time, in seconds of a monotonic clock. Runs due timers.

        Raises:
            MuxerError: a keepalive went unanswered.
        """

    def next_deadline(self) -> float | None:
        """When `tick` must be called at the latest, None for never."""

    def feed(self, plain: bytes) -> None:
        """Take received plaintext, cut anywhere.

        Raises:
            MuxerError: the peer broke the protocol. The muxer has queued GoAway: send what `take`
                still gives, then close.
        """

    def touched(self) -> list[MuxerStream]:
        """Streams that changed since the last call (bytes, FIN, reset, write done), once each."""

    def accept(self) -> MuxerStream | None:
        """The next stream that the peer opened, None if there is none.

        A stream that can be accepted is in `touched()`, with `owner` None.
        """

    def open(self) -> MuxerStream:
        """Open a stream.

        Raises:
            ResourceLimitExceeded: too many streams.
            ConnectionClosed: either side is going away.
        """

    def has_output(self) -> bool: ...

    def has_data(self) -> bool:
        """Of that, bytes or ends of streams, for which somebody waits."""

    def take(self, room: int) -> list[Buffer]:
        """Pieces for the next record, together at most `room` bytes; empty if nothing can be sent.

        Control frames and small writes first, then a data frame of the next stream in turn.
        """

    def on_stall(self) -> None:
        """`overloaded` has lasted for the stall deadline: reset what holds the most unread bytes.

        Raises:
            MuxerError: it is the peer that does not read; close the connection.
        """

    def close(self, code: int = 0) -> None:
        """Queue GoAway with `code`; no stream opens any more."""

    def abandon(self, code: int, *, remote: bool) -> None:
        """The connection is gone: end every stream with `code`, so that the owners wake up.

        Unlike a reset, this leaves received bytes and `remote_closed` readable.
        """
