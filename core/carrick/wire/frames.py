"""Length-prefixed frames: `varint length || payload`, the framing of most libp2p protocols."""

from __future__ import annotations

from carrick.errors import MessageTooLarge, ProtocolError
from carrick.interfaces import Buffer
from carrick.wire.varint import decode_varint, encode_varint


def encode_frame(payload: Buffer) -> bytes:
    """`payload` behind its length in bytes as a varint."""
    return encode_varint(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into the payloads of its frames.

    Take all frames with `next` after each `feed`: then no more is held than `limit`, the prefix,
    and what was fed last. The cost is linear, however the bytes are cut.

    Args:
        limit: the longest payload that is accepted, in bytes.
    """

    __slots__ = ("_buffer", "_end", "_error", "_start", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._start = 0  # of the first frame's payload in the buffer; 0: prefix not decoded yet
        self._end = 0
        self._error: tuple[type[ProtocolError], str] | None = None

    def feed(self, data: Buffer) -> None:
        """Take bytes in.

        Raises:
            MessageTooLarge: the next frame's prefix announces more than `limit`. Nothing is kept.
            ProtocolError: the prefix is no valid varint. Nothing is kept.
        """
        self._raise_again()
        self._buffer += data
        self._decode_prefix()

    def next(self) -> bytes | None:
        """The next complete payload, or None until more bytes are fed.

        Raises:
            MessageTooLarge, ProtocolError: as `feed`, for a frame that was fed behind another.
        """
        self._raise_again()
        if not self._decode_prefix() or len(self._buffer) < self._end:
            return None
        with memoryview(self._buffer) as view:
            payload = bytes(view[self._start : self._end])
        del self._buffer[: self._end]
        self._start = self._end = 0
        return payload

    @property
    def buffered(self) -> int:
        """How many bytes are held, prefixes included."""
        return len(self._buffer)

    def rest(self) -> bytes:
        """Take out all bytes behind the last frame that `next` returned, as they came."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._start = self._end = 0
        return rest

    def _decode_prefix(self) -> bool:
        if self._start:
            return True
        try:
            prefix = decode_varint(self._buffer)
            if prefix is None:
                return False
            length, start = prefix
            if length > self.limit:
                raise MessageTooLarge(
                    f"message of {length} bytes announced; the limit is {self.limit}"
                )
        except ProtocolError as error:
            self._buffer.clear()
            self._error = type(error), error.message
            raise
        self._start, self._end = start, start + length
        return True

    def _raise_again(self) -> None:
        if self._error is not None:
            kind, message = self._error
            raise kind(message)
