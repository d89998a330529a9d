"""Reads muxer frames from the outside, for the frame trace: headers only, no payload, no I/O.

A parser looks at one direction of a connection that some muxer already serves. It judges nothing
and raises nothing: at bytes that are no frame it stops reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.transports.muxers.mplex import frame as mplex
from carrick.transports.muxers.yamux import frame as yamux
from carrick.wire import decode_varint

__all__ = ["Frame", "HeaderParser", "MplexHeaders", "NoHeaders", "YamuxHeaders", "parser_for"]

_YAMUX_TYPES = {
    yamux.DATA: "data",
    yamux.WINDOW_UPDATE: "window_update",
    yamux.PING: "ping",
    yamux.GO_AWAY: "go_away",
}
_YAMUX_FLAGS = {yamux.SYN: "syn", yamux.ACK: "ack", yamux.FIN: "fin", yamux.RST: "rst"}
_MPLEX_TYPES = ("new_stream", "message", "close", "reset")


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of one frame.

    Attributes:
        type: yamux: data, window_update, ping, go_away; mplex: new_stream, message, close, reset;
            `unknown` for a number that the specification does not have, after which reading ends.
        flags: yamux: syn, ack, fin, rst; mplex: which side of the stream sends it.
        stream: the stream's number.
        length: as the frame has it: bytes of payload; with yamux the credit of a window_update, the
            value of a ping, the code of a go_away.
    """

    type: str
    flags: tuple[str, ...]
    stream: int
    length: int


class HeaderParser(Protocol):
    """One direction of a muxer's byte stream."""

    def feed(self, data: Buffer) -> Iterator[Frame]:
        """The frames whose header ends in `data`, which may be cut anywhere."""


class YamuxHeaders:
    """Twelve bytes each, then the payload of data frames (yamux/README.md, "Framing")."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._skip = 0  # bytes of payload still to come
        self._lost = False

    def feed(self, data: Buffer) -> Iterator[Frame]:
        at, end = 0, len(data)
        while at < end and not self._lost:
            if self._skip:
                skipped = min(self._skip, end - at)
                self._skip -= skipped
                at += skipped
                continue
            taken = data[at : at + yamux.HEADER_SIZE - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == yamux.HEADER_SIZE:
                yield self._frame()
                self._header.clear()

    def _frame(self) -> Frame:
        kind, flags, stream, length = yamux.HEADER.unpack(self._header)
        name = _YAMUX_TYPES.get(kind)
        self._lost = name is None
        if kind == yamux.DATA:
            self._skip = length
        known = tuple(text for bit, text in _YAMUX_FLAGS.items() if flags & bit)
        unknown = flags & ~yamux.KNOWN_FLAGS
        if unknown:
            known = (*known, f"{unknown:#x}")
        return Frame(name or "unknown", known, stream, length)


class MplexHeaders:
    """Two varints each, then the payload (mplex/README.md, "Message format")."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._skip = 0
        self._lost = False

    def feed(self, data: Buffer) -> Iterator[Frame]:
        at, end = 0, len(data)
        while at < end and not self._lost:
            if self._skip:
                skipped = min(self._skip, end - at)
                self._skip -= skipped
                at += skipped
                continue
            self._header.append(data[at])
            at += 1
            if (frame := self._frame()) is not None:
                self._header.clear()
                yield frame

    def _frame(self) -> Frame | None:
        try:
            first = decode_varint(self._header)
            second = None if first is None else decode_varint(self._header, first[1])
        except ProtocolError:
            self._lost = True
            return Frame("unknown", (), 0, 0)
        if first is None or second is None:
            return None
        tag, length = first[0] & 7, second[0]
        self._skip = length
        if tag > mplex.RESET + 1:
            self._lost = True
            return Frame("unknown", (), first[0] >> 3, length)
        # Odd tags are the receiver's, their even successors the initiator's; only an initiator
        # opens a stream.
        side = "receiver" if tag % 2 else "initiator"
        return Frame(_MPLEX_TYPES[(tag + 1) // 2], (side,), first[0] >> 3, length)


class NoHeaders:
    """Of a muxer that is not known here nothing is traced but its negotiation."""

    def feed(self, data: Buffer) -> Iterator[Frame]:
        return iter(())


def parser_for(muxer: str) -> HeaderParser:
    """A parser for the muxer of this protocol id."""
    kinds: dict[str, type[YamuxHeaders | MplexHeaders]] = {
        "/yamux/1.0.0": YamuxHeaders,
        "/mplex/6.7.0": MplexHeaders,
    }
    return kinds.get(muxer, NoHeaders)()
