"""Handshake messages that come after the handshake (RFC 8446 section 4.6).

::

    message    = u8 type | u24 length | length bytes
    key update = u8 24 | u24 1 | u8: 1 if the peer asks for one in return, else 0

New session tickets are skipped: nothing is ever resumed. Whatever else comes is not allowed.
"""

from __future__ import annotations

from carrick.interfaces import Role
from carrick.transports.security.tls.alerts import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    UNEXPECTED_MESSAGE,
)

__all__ = ["KEY_UPDATE", "Messages", "TlsViolation"]

KEY_UPDATE = b"\x18\x00\x00\x01\x00"
"""A key update that asks for none in return."""

_NEW_SESSION_TICKET = 4
_KEY_UPDATE = 24
_HEAD = 4  # bytes


class TlsViolation(Exception):
    """The peer broke the rules of TLS; never leaves this package.

    Args:
        alert: what to tell it.
    """

    def __init__(self, alert: int, message: str) -> None:
        super().__init__(message)
        self.alert = alert


class Messages:
    """Takes the peer's messages, cut anywhere. Holds at most five bytes.

    Args:
        role: ours. Only a server sends tickets.
    """

    __slots__ = ("_held", "_role", "_skip", "update_due")

    def __init__(self, role: Role) -> None:
        self._role = role
        self._held = b""
        self._skip = 0  # bytes of a ticket that are still to come
        self.update_due = False
        """The peer waits for a key update of ours."""

    @property
    def partial(self) -> bool:
        """Inside a message, where nothing else may come (section 5.1)."""
        return bool(self._held) or self._skip > 0

    def receive(self, content: bytes) -> bool:
        """Take the content of a record; True if it ended with a key update.

        Raises:
            TlsViolation: it is malformed, or not allowed.
        """
        if not content:
            raise TlsViolation(UNEXPECTED_MESSAGE, "an empty handshake record")
        at = min(self._skip, len(content))
        self._skip -= at
        data, self._held = self._held + content[at:], b""
        at = 0
        while len(data) - at >= _HEAD:
            kind, length = data[at], int.from_bytes(data[at + 1 : at + _HEAD], "big")
            body = at + _HEAD
            if kind == _NEW_SESSION_TICKET and self._role is Role.CLIENT:
                at = min(body + length, len(data))
                self._skip = body + length - at
            elif kind == _KEY_UPDATE:
                if length != 1:
                    raise TlsViolation(DECODE_ERROR, f"a key update of {length} bytes")
                if body == len(data):
                    break
                if body + 1 != len(data):  # section 5.1: no record spans two keys
                    raise TlsViolation(UNEXPECTED_MESSAGE, "a record goes on behind a key update")
                if data[body] > 1:
                    raise TlsViolation(ILLEGAL_PARAMETER, f"a key update with {data[body]}")
                self.update_due = self.update_due or data[body] == 1
                return True
            else:
                raise TlsViolation(UNEXPECTED_MESSAGE, f"handshake message {kind}")
        self._held = data[at:]
        return False
