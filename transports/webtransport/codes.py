"""Error codes of HTTP/3 (RFC 9114 section 8.1), QPACK (RFC 9204 section 6) and WebTransport
(draft-ietf-webtrans-http3, sections 4.4 and 9.5).
"""

from __future__ import annotations

from carrick.errors import ProtocolError

__all__ = [
    "BUFFERED_STREAM_REJECTED",
    "CLOSED_CRITICAL_STREAM",
    "EXCESSIVE_LOAD",
    "FRAME_ERROR",
    "FRAME_UNEXPECTED",
    "ID_ERROR",
    "MESSAGE_ERROR",
    "MISSING_SETTINGS",
    "NO_ERROR",
    "QPACK_FAILED",
    "REQUEST_REJECTED",
    "SETTINGS_ERROR",
    "STREAM_CREATION_ERROR",
    "Http3Error",
    "from_http3",
    "to_http3",
]

NO_ERROR = 0x100
STREAM_CREATION_ERROR = 0x103
CLOSED_CRITICAL_STREAM = 0x104
FRAME_UNEXPECTED = 0x105
FRAME_ERROR = 0x106
EXCESSIVE_LOAD = 0x107
ID_ERROR = 0x108
SETTINGS_ERROR = 0x109
MISSING_SETTINGS = 0x10A
REQUEST_REJECTED = 0x10B
MESSAGE_ERROR = 0x10E
QPACK_FAILED = 0x200
BUFFERED_STREAM_REJECTED = 0x3994BD84

_FIRST = 0x52E4A40FA8DB
_LAST = 0x52E5AC983162


class Http3Error(ProtocolError):
    """The peer broke HTTP/3: its connection ends with `code`."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, protocol="h3")
        self.code = code


def to_http3(code: int) -> int:
    """The HTTP/3 code that carries an application's reset code (32 bits; higher ones are cut)."""
    code &= 0xFFFFFFFF
    return _FIRST + code + code // 0x1E


def from_http3(code: int) -> int:
    """The application's code in an HTTP/3 code; 0 for one that carries none."""
    if not _FIRST <= code <= _LAST or (code - 0x21) % 0x1F == 0:
        return 0
    shifted = code - _FIRST
    return shifted - shifted // 0x1F
