"""multistream-select 1.0: two peers agree on the protocol of a connection or stream.

`Dialer` and `Listener` are the two sides without I/O; `dial` and `listen` drive them over a stream.
"""

from __future__ import annotations

from carrick.transports.multistream.messages import (
    HEADER,
    MAX_MESSAGE,
    PROTOCOL_ID,
    check_protocol,
    encode_message,
)
from carrick.transports.multistream.negotiate import ByteStream, dial, listen
from carrick.transports.multistream.state import MAX_LISTS, MAX_PROPOSALS, Dialer, Listener

__all__ = [
    "HEADER",
    "MAX_LISTS",
    "MAX_MESSAGE",
    "MAX_PROPOSALS",
    "PROTOCOL_ID",
    "ByteStream",
    "Dialer",
    "Listener",
    "check_protocol",
    "dial",
    "encode_message",
    "listen",
]
