"""Where TLS records begin and end (RFC 8446 section 5.1).

::

    u8 content type | u16 legacy version | u16 length | length bytes

During the handshake OpenSSL is given one complete record at a time, so that no bytes hide inside
it: what is behind the last handshake record stays ours.
"""

from __future__ import annotations

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer

__all__ = ["ALERT", "APPLICATION_DATA", "HANDSHAKE", "HEADER", "MAX_FRAGMENT", "record_size"]

ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

HEADER = 5
MAX_FRAGMENT = 1 << 14
"""The longest plaintext of one record, in bytes."""

_MAX_LENGTH = MAX_FRAGMENT + 256  # RFC 8446 5.2
_CONTENT_TYPES = range(20, 24)  # change_cipher_spec, alert, handshake, application_data


def record_size(buffer: Buffer, at: int) -> int:
    """The size of the record whose header is at `at`, header included.

    Raises:
        ProtocolError: that is no TLS record, or it is longer than allowed.
    """
    if buffer[at] not in _CONTENT_TYPES or buffer[at + 1] != 3:
        raise ProtocolError("the peer does not speak TLS")
    length = buffer[at + 3] << 8 | buffer[at + 4]
    if length > _MAX_LENGTH:
        raise ProtocolError(f"a TLS record of {length} bytes, {_MAX_LENGTH} allowed")
    return HEADER + length
