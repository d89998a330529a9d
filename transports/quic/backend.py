"""The seam between Carrick and a QUIC library: one connection, without I/O.

The driver hands in trains of datagrams and the time, sends what `poll` gives, sleeps until
`next_timer`, and acts on `next_event`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from carrick.errors import HandshakeError
from carrick.identity import PublicKey
from carrick.interfaces import Buffer, Endpoint

__all__ = [
    "Backend",
    "Closed",
    "ConnectionIdIssued",
    "ConnectionIdRetired",
    "DatagramReceived",
    "Established",
    "Event",
    "Negotiated",
    "PathChanged",
    "StopSending",
    "StreamData",
    "StreamFinished",
    "StreamReset",
    "StreamsAvailable",
    "WindowOpened",
]


@dataclass(frozen=True, slots=True)
class Negotiated:
    """ALPN has chosen; nothing about the peer is proven yet."""

    alpn: str


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is complete, and the peer's certificate was accepted."""

    alpn: str


@dataclass(frozen=True, slots=True)
class StreamData:
    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer ends its sending side with a code."""

    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class StopSending:
    """The peer does not read any more. The library has reset our sending side."""

    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """Both directions have ended, and the peer knows it."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamsAvailable:
    """More streams may be opened than before."""


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """More may be sent on a stream, or (None) on the whole connection."""

    stream: int | None


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    data: bytes


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The peer is at another address now, and has proven it."""

    remote: Endpoint


@dataclass(frozen=True, slots=True)
class ConnectionIdIssued:
    id: bytes


@dataclass(frozen=True, slots=True)
class ConnectionIdRetired:
    id: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection has ended. If we ended it, `poll` still gives what tells the peer.

    Args:
        code: the application's, or the transport's (RFC 9000 section 20).
        application: which of the two.
        remote: the peer closed, or vanished.
    """

    code: int
    reason: str
    application: bool
    remote: bool


Event: TypeAlias = (
    Negotiated
    | Established
    | StreamData
    | StreamReset
    | StopSending
    | StreamFinished
    | StreamsAvailable
    | WindowOpened
    | DatagramReceived
    | PathChanged
    | ConnectionIdIssued
    | ConnectionIdRetired
    | Closed
)


class Backend(Protocol):
    """One QUIC connection. Times are seconds of a monotonic clock, not negative."""

    @property
    def local_id(self) -> bytes:
        """Our first connection id."""

    @property
    def peer_chain(self) -> Sequence[bytes]:
        """The certificates (DER) that the peer showed; their key is proven once `Established`."""

    @property
    def peer_key(self) -> PublicKey | None:
        """What the judge of the peer's certificate returned."""

    @property
    def failure(self) -> HandshakeError | None:
        """Why we refused the peer's certificate, if that ended the handshake."""

    @property
    def rtt(self) -> float | None: ...
    @property
    def all_acknowledged(self) -> bool:
        """Nothing that was sent waits for the peer's acknowledgement."""

    def receive(self, train: bytes, segment: int, source: Endpoint, now: float) -> None:
        """Take datagrams of `segment` bytes, the last perhaps shorter. Never raises."""

    def poll(self, now: float, most: int) -> list[tuple[bytes, tuple[Any, ...]]]:
        """The next datagrams to send, up to `most`, and where to: address, port, and perhaps more.

        Never raises.
        """

    def next_timer(self) -> float | None:
        """When `on_timer` must be called at the latest."""

    def on_timer(self, now: float) -> None: ...
    def next_event(self) -> Event | None: ...

    def open_stream(self, *, unidirectional: bool = False) -> int | None:
        """The new stream's id; None while the peer allows no more."""

    def credit(self, stream: int) -> int:
        """How many bytes more may be written before the peer grants more window."""

    def write(self, stream: int, data: Buffer, *, fin: bool = False) -> None:
        """Queue bytes, which are copied: no more than `credit` says."""

    def unsent(self, stream: int | None = None) -> int:
        """Bytes written that were not sent for the first time yet; of all streams if None."""

    def reset(self, stream: int, code: int) -> None:
        """End our sending side."""

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to end its sending side."""

    def grant(self, stream: int, maximum: int) -> None:
        """Let the peer send the stream's bytes up to offset `maximum`."""

    def send_datagram(self, data: bytes) -> bool:
        """False if the peer takes none, or none so long."""

    def ping(self) -> None: ...
    def close(self, code: int, reason: str = "", *, application: bool = True) -> None: ...
