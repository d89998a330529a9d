"""The alerts of TLS 1.3 (RFC 8446 section 6)."""

from __future__ import annotations

__all__ = [
    "BAD_RECORD_MAC",
    "CLOSE_NOTIFY",
    "DECODE_ERROR",
    "ILLEGAL_PARAMETER",
    "RECORD_OVERFLOW",
    "UNEXPECTED_MESSAGE",
    "USER_CANCELED",
    "alert",
    "alert_name",
]

CLOSE_NOTIFY = 0
UNEXPECTED_MESSAGE = 10
BAD_RECORD_MAC = 20
RECORD_OVERFLOW = 22
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
USER_CANCELED = 90

_NAMES = {
    CLOSE_NOTIFY: "close notify",
    UNEXPECTED_MESSAGE: "unexpected message",
    BAD_RECORD_MAC: "bad record mac",
    RECORD_OVERFLOW: "record overflow",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    ILLEGAL_PARAMETER: "illegal parameter",
    48: "unknown ca",
    49: "access denied",
    DECODE_ERROR: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    86: "inappropriate fallback",
    USER_CANCELED: "user canceled",
    109: "missing extension",
    110: "unsupported extension",
    112: "unrecognized name",
    113: "bad certificate status response",
    115: "unknown psk identity",
    116: "certificate required",
    120: "no application protocol",
}

_WARNING, _FATAL = 1, 2


def alert(description: int) -> bytes:
    """The two bytes of an alert: level, description."""
    level = _WARNING if description in (CLOSE_NOTIFY, USER_CANCELED) else _FATAL
    return bytes((level, description))


def alert_name(description: int) -> str:
    """An alert's name, for messages."""
    return _NAMES.get(description, str(description))
