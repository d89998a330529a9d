"""Error codes: QUIC's own, as RFC 9000 section 20.1 and RFC 9001 section 4.8 number them, and those
of libp2p that this transport uses by itself.
"""

from __future__ import annotations

from carrick.errors import ConnectionClosed
from carrick.transports.quic.backend import Closed

__all__ = [
    "BAD_CERTIFICATE",
    "CERTIFICATE_REQUIRED",
    "CONNECTION_REFUSED",
    "CRYPTO_ERROR",
    "DECODE_ERROR",
    "FLOW_CONTROL_ERROR",
    "INTERNAL_ERROR",
    "PROTOCOL_BROKEN",
    "RESOURCE_LIMIT_EXCEEDED",
    "SILENT",
    "ending",
    "name_of",
]

INTERNAL_ERROR = 0x01
CONNECTION_REFUSED = 0x02
FLOW_CONTROL_ERROR = 0x03
CRYPTO_ERROR = 0x100  # plus the TLS alert

# The application's (libp2p): as in `carrick.network.codes`, which is above this floor.
PROTOCOL_BROKEN = 1
RESOURCE_LIMIT_EXCEEDED = 0x1001

# TLS alerts (RFC 8446 section 6)
BAD_CERTIFICATE = 42
DECODE_ERROR = 50
CERTIFICATE_REQUIRED = 116

SILENT = "the peer fell silent"
_IDLE = "Idle timeout"  # qh3's words

_NAMES = {
    0x00: "no error",
    0x01: "internal error",
    0x02: "connection refused",
    0x03: "flow control error",
    0x04: "stream limit error",
    0x05: "stream state error",
    0x06: "final size error",
    0x07: "frame encoding error",
    0x08: "transport parameter error",
    0x09: "connection id limit error",
    0x0A: "protocol violation",
    0x0B: "invalid token",
    0x0C: "application error",
    0x0D: "crypto buffer exceeded",
    0x0E: "key update error",
    0x0F: "aead limit reached",
    0x10: "no viable path",
    CRYPTO_ERROR + 40: "handshake failure",
    CRYPTO_ERROR + BAD_CERTIFICATE: "bad certificate",
    CRYPTO_ERROR + DECODE_ERROR: "decode error",
    CRYPTO_ERROR + 51: "decrypt error",
    CRYPTO_ERROR + CERTIFICATE_REQUIRED: "certificate required",
    CRYPTO_ERROR + 120: "no application protocol",
}


def name_of(code: int) -> str:
    """What a transport error code means, in words."""
    return _NAMES.get(code, f"transport error {code:#x}")


def ending(event: Closed) -> ConnectionClosed:
    """How a connection ended, for those who used it."""
    reason, code = "the peer closed the connection", event.code
    if not event.application and event.reason == _IDLE:
        reason, code = SILENT, 0
    elif not event.application:
        who = "the peer reports" if event.remote else "closed:"
        reason = f"{who} {event.reason or name_of(code)}"
        code = PROTOCOL_BROKEN if code else 0
    return ConnectionClosed(reason, code=code, remote=event.remote)
