"""Protobuf messages from strangers."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer

M = TypeVar("M", bound=Message)


def parse_message(type: type[M], data: Buffer) -> M:
    """Parse `data` as a message of the generated class `type`.

    The caller has bounded `data`, as `FrameReader` does.

    Raises:
        ProtocolError: malformed, nested too deeply, text that is not UTF-8, or a required field
            is missing.
    """
    message = type()
    try:
        message.ParseFromString(bytes(data))
    # Beside DecodeError: what the pure-Python decoder raises on bad UTF-8 and deep nesting.
    except (DecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"malformed {message.DESCRIPTOR.name} message: {error}") from error
    if not message.IsInitialized():  # the parser itself does not look
        raise ProtocolError(f"{message.DESCRIPTOR.name} message lacks a required field")
    return message
