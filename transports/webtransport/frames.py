"""HTTP/3 frames, settings and capsules, without I/O.

A frame is `type (varint) || length (varint) || payload`, a capsule likewise. Sources: RFC 9114
section 7, RFC 9297 section 3.2, draft-ietf-webtrans-http3 section 6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from carrick.interfaces import Buffer
from carrick.transports.webtransport.codes import (
    EXCESSIVE_LOAD,
    FRAME_ERROR,
    FRAME_UNEXPECTED,
    MESSAGE_ERROR,
    MISSING_SETTINGS,
    SETTINGS_ERROR,
    Http3Error,
)
from carrick.transports.webtransport.varint import decode_varint, encode_varint

__all__ = [
    "DATA",
    "HEADERS",
    "MAX_HEADERS",
    "SETTINGS",
    "WEBTRANSPORT_STREAM",
    "CapsuleReader",
    "ControlReader",
    "FrameReader",
    "SessionClosed",
    "decode_settings",
    "encode_close",
    "encode_frame",
    "encode_settings",
]

DATA = 0x00
HEADERS = 0x01
SETTINGS = 0x04
WEBTRANSPORT_STREAM = 0x41

MAX_HEADERS = 16 * 1024  # bytes of an encoded field section; an honest one has about 200
MAX_SETTINGS = 4 * 1024  # bytes
MAX_REASON = 1024  # bytes of the words in a close capsule (draft, section 6)
_HELD = {HEADERS: MAX_HEADERS, SETTINGS: MAX_SETTINGS}
_HTTP2_FRAMES = frozenset((0x02, 0x06, 0x08, 0x09))  # RFC 9114 section 7.2.8
_HTTP2_SETTINGS = frozenset((0x00, 0x02, 0x03, 0x04, 0x05))  # RFC 9114 section 7.2.4.1
_CLOSE_CAPSULE = 0x2843


def encode_frame(kind: int, payload: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(payload)) + payload


class _Reader:
    """What type-length-payload streams have in common. Unknown types are skipped, not held."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kind = -1
        self._left = -1  # bytes of the present payload to come; -1: its header is to come

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def feed(self, data: Buffer) -> None:
        self._buffer += data

    def _begin(self) -> bool:
        """Whether there is a payload to work on."""
        if self._left >= 0:
            return True
        kind = decode_varint(self._buffer)
        length = decode_varint(self._buffer, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return False
        self._kind, self._left = kind[0], length[0]
        del self._buffer[: length[1]]
        return True

    def _take(self, most: int) -> bytes:
        piece = bytes(self._buffer[:most])
        del self._buffer[:most]
        return piece


class FrameReader(_Reader):
    """The frames of a control or request stream.

    HEADERS and SETTINGS come whole, DATA in pieces, all other frames are skipped. What is held
    beyond the last `feed` is one incomplete frame, its length checked before its bytes are awaited.
    """

    skipped = False
    """Whether a frame was skipped."""

    def next(self) -> tuple[int, bytes] | None:
        """The next frame, or piece of one: type and payload; None until more is fed.

        Raises:
            Http3Error: a frame of HTTP/2, or one that is too long.
        """
        while True:
            fresh = self._left < 0
            if not self._begin():
                return None
            if fresh:
                self._check()
            if self._kind in _HELD:
                if len(self._buffer) < self._left:
                    return None
                payload, self._left = self._take(self._left), -1
                return self._kind, payload
            if self._left and not self._buffer:
                return None
            piece = self._take(self._left)
            self._left -= len(piece)
            if not self._left:
                self._left = -1
            if self._kind != DATA:
                self.skipped = True
            elif piece:
                return DATA, piece

    @property
    def within_frame(self) -> bool:
        """An end of the stream now would cut a frame."""
        return self._left >= 0 or bool(self._buffer)

    def _check(self) -> None:
        if self._kind in _HTTP2_FRAMES:
            raise Http3Error(f"frame type {self._kind:#x} is HTTP/2's", FRAME_UNEXPECTED)
        limit = _HELD.get(self._kind)
        if limit is not None and self._left > limit:
            raise Http3Error(f"a frame of {self._left} bytes, {limit} allowed", EXCESSIVE_LOAD)


class ControlReader:
    """The peer's control stream: SETTINGS first, and once."""

    def __init__(self) -> None:
        self.settings: dict[int, int] | None = None
        self._frames = FrameReader()

    def feed(self, data: Buffer) -> None:
        """Raises: Http3Error."""
        self._frames.feed(data)
        while (frame := self._frames.next()) is not None:
            kind, payload = frame
            if kind != SETTINGS:
                raise Http3Error("a request's frame on the control stream", FRAME_UNEXPECTED)
            if self.settings is not None:
                raise Http3Error("settings for a second time", FRAME_UNEXPECTED)
            self.settings = decode_settings(payload)
        if self.settings is None and self._frames.skipped:
            raise Http3Error("the control stream does not begin with settings", MISSING_SETTINGS)


def encode_settings(settings: Mapping[int, int]) -> bytes:
    """The payload of a SETTINGS frame."""
    return b"".join(encode_varint(each) for pair in settings.items() for each in pair)


def decode_settings(payload: bytes) -> dict[int, int]:
    """Raises: Http3Error."""
    settings: dict[int, int] = {}
    at = 0
    while at < len(payload):
        name = decode_varint(payload, at)
        value = decode_varint(payload, name[1]) if name is not None else None
        if name is None or value is None:
            raise Http3Error("settings end in the middle of one", FRAME_ERROR)
        if name[0] in _HTTP2_SETTINGS or name[0] in settings:
            raise Http3Error(f"setting {name[0]:#x} is HTTP/2's, or twice", SETTINGS_ERROR)
        settings[name[0]], at = value
    return settings


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The peer ended the session.

    Args:
        code: the application's, 32 bits.
    """

    code: int
    reason: str = ""


class CapsuleReader(_Reader):
    """The capsules of a session: what DATA frames of its CONNECT stream carry."""

    def next(self) -> SessionClosed | None:
        """None until more is fed; capsules that mean nothing to us are skipped.

        Raises:
            Http3Error: a close capsule of a wrong length.
        """
        while self._begin():
            if self._kind == _CLOSE_CAPSULE:
                if not 4 <= self._left <= 4 + MAX_REASON:
                    raise Http3Error(f"a close capsule of {self._left} bytes", MESSAGE_ERROR)
                if len(self._buffer) < self._left:
                    return None
                payload, self._left = self._take(self._left), -1
                reason = payload[4:].decode("utf8", "replace")
                return SessionClosed(int.from_bytes(payload[:4], "big"), reason)
            self._left -= len(self._take(self._left))
            if self._left:
                return None
            self._left = -1
        return None


def encode_close(code: int, reason: str = "") -> bytes:
    """A close capsule."""
    payload = (code & 0xFFFFFFFF).to_bytes(4, "big") + reason.encode()[:MAX_REASON]
    return encode_frame(_CLOSE_CAPSULE, payload)
