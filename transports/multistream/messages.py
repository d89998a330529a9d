"""Messages of multistream-select: `varint length || UTF-8 text || newline`.

Source: `libp2p/specs` connections/README.md; `ls` from the multistream-select repository.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import lru_cache

from carrick.errors import NegotiationError
from carrick.wire import encode_frame, encode_varint

MAX_MESSAGE = 1024  # bytes, newline included: go-multistream multistream.go:291, js the same
PROTOCOL_ID = "/multistream/1.0.0"


def encode_message(text: str) -> bytes:
    """`text` as it is on the wire.

    Raises:
        ValueError: it is longer than 1,023 bytes, or cannot be encoded as UTF-8.
    """
    message = text.encode() + b"\n"
    if len(message) > MAX_MESSAGE:
        raise ValueError(
            f"{text[:40]!r}… has {len(message) - 1} bytes; a protocol has at most {MAX_MESSAGE - 1}"
        )
    return encode_frame(message)


def decode_message(message: bytes) -> str:
    """The text of a message whose length prefix has been taken off.

    Raises:
        NegotiationError: no newline at the end, or not UTF-8.
    """
    if message[-1:] != b"\n":
        raise NegotiationError("multistream message does not end with a newline")
    try:
        return message[:-1].decode()
    except UnicodeDecodeError as error:
        raise NegotiationError("multistream message is not UTF-8") from error


HEADER = encode_message(PROTOCOL_ID)
NA = encode_message("na")
RESERVED = frozenset({"", "ls", "na", PROTOCOL_ID})


@lru_cache(maxsize=1024)  # keyed by our own protocols, never by what a peer sent
def encode_proposal(protocol: str) -> bytes:
    """`encode_message`, and `check_protocol` on the way."""
    if protocol in RESERVED or "\n" in protocol:
        raise ValueError(f"{protocol!r} cannot name a protocol: multistream-select reserves it")
    return encode_message(protocol)


def check_protocol(protocol: str) -> None:
    """See whether `protocol` can be negotiated.

    Raises:
        ValueError: empty, longer than 1,023 bytes, not UTF-8, with a newline, or a word of
            multistream-select itself (`na`, `ls`, `/multistream/1.0.0`).
    """
    encode_proposal(protocol)


def encode_list(protocols: Iterable[str]) -> bytes:
    """The answer to `ls`: one message that holds a message for each protocol, and a newline.

    It stays within `MAX_MESSAGE` bytes, which is what others read: protocols that do not fit are
    left out, and so are those that cannot be negotiated.
    """
    listed = bytearray()
    for protocol in protocols:
        with contextlib.suppress(ValueError):
            message = encode_proposal(protocol)
            if len(listed) + len(message) < MAX_MESSAGE:
                listed += message
    return encode_varint(len(listed) + 1) + listed + b"\n"
