"""WebSocket frames (RFC 6455, section 5), without I/O.

::

    | FIN RSV1-3 opcode | MASK length | length 16 or 64 bits | key 4 bytes | payload |
    |  1    3      4    |  1     7    |  for 126 or 127      |  if MASK    |

Only binary messages exist here, and they are one stream of bytes: where a frame or a message ends
means nothing, so payload is handed on as it comes, and no message is ever collected.
"""

from __future__ import annotations

import enum

from Crypto.Util.strxor import strxor

from carrick.errors import ProtocolError

__all__ = [
    "MAX_HEAD",
    "MAX_MESSAGE",
    "CloseCode",
    "FrameDecoder",
    "FrameError",
    "Mask",
    "Opcode",
    "encode_control",
    "encode_head",
]

MAX_HEAD = 14  # bytes: 2, a length of 8, a key of 4
MAX_MESSAGE = 1 << 20  # bytes of one message, its fragments together
MAX_CONTROL = 125  # bytes of a control frame's payload, section 5.5
# Control frames in one received piece, or empty data frames in a row: nobody honest sends so many.
MAX_IDLE_FRAMES = 1000
_FIN, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_KEY = 4  # bytes of a masking key


class Opcode(enum.IntEnum):
    """Section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """Section 7.4.1."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    TOO_BIG = 1009
    POLICY = 1008


class FrameError(ProtocolError):
    """The peer broke the framing. `code` is what a close frame tells it."""

    def __init__(self, message: str, code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(f"WebSocket: {message}")
        self.code = code


def encode_head(size: int, opcode: Opcode = Opcode.BINARY, key: bytes = b"") -> bytes:
    """The head of an unfragmented frame with `size` bytes of payload, masked if there is a key."""
    first, masked = _FIN | opcode, _MASKED if key else 0
    if size < 126:
        return bytes((first, masked | size)) + key
    if size < 1 << 16:
        return bytes((first, masked | 126)) + size.to_bytes(2, "big") + key
    return bytes((first, masked | 127)) + size.to_bytes(8, "big") + key


def encode_control(opcode: Opcode, payload: bytes, key: bytes = b"") -> bytes:
    """A whole control frame; `payload` has at most 125 bytes."""
    head = encode_head(len(payload), opcode, key)
    if not (key and payload):
        return head + payload
    masked = bytearray(payload)
    Mask(key).apply(memoryview(masked), memoryview(masked))
    return head + masked


class Mask:
    """One frame's masking: XOR with its 4-byte key, over and over."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._stream = memoryview(b"")

    def apply(self, data: memoryview, out: memoryview, at: int = 0) -> None:
        """Mask `data` into `out`, which may be the same memory.

        Args:
            at: where in the frame's payload `data` begins.
        """
        at, size = at % _KEY, len(data)
        if len(self._stream) < at + size:
            self._stream = memoryview(self.key * (size // _KEY + 2))
        # strxor's loop is in C: 0.1 ns a byte, a twentieth of what Noise takes.
        strxor(data, self._stream[at : at + size], out)


class FrameDecoder:
    """The receiving side of a connection: frames in, payload out, in the same memory.

    Args:
        masked: the frames must be masked (a client's), or must not be (a server's).
        max_message: bytes of one message, its fragments together.
    """

    def __init__(self, *, masked: bool, max_message: int = MAX_MESSAGE) -> None:
        self.ping: bytes | None = None
        """The payload of the newest ping; who answers it sets None. Section 5.5.3 allows to answer
        only the newest one."""
        self.close_code: int | None = None
        """The code of the peer's close frame once that has come (1005 without a code). What comes
        behind it is dropped."""
        self._masked = masked
        self._max_message = max_message
        self._head = bytearray()  # of an incomplete frame; with the payload if it is control
        self._left = 0  # payload of the present data frame that is still to come
        self._size = 0  # payload of the present data frame
        self._mask: Mask | None = None
        self._in_message = False
        self._message = 0  # bytes of the present message, announced so far
        self._controls = 0  # control frames in this piece
        self._empty = 0  # empty data frames in a row

    def decode(self, buffer: memoryview, size: int) -> int:
        """Take the frames in `buffer[:size]`, which may be cut anywhere.

        Returns:
            how many bytes of payload are in `buffer` now, at its beginning.

        Raises:
            FrameError: the peer broke the protocol.
        """
        at = payload = 0
        self._controls = 0
        while at < size:
            if self._left:
                end = min(at + self._left, size)
                part, count = buffer[at:end], end - at
                if self._mask is not None:
                    self._mask.apply(part, part, self._size - self._left)
                if payload != at:
                    buffer[payload : payload + count] = part
                payload += count
                self._left -= count
                at = end
                if not self._left:
                    self._mask = None
            elif self.close_code is not None:
                break
            else:
                at = self._take_head(buffer, at, size)
        return payload

    def _take_head(self, buffer: memoryview, at: int, size: int) -> int:
        """Take bytes of a head, and begin its frame when it is complete; returns what follows."""
        head, needed = self._head, 2
        while True:
            end = min(at + needed - len(head), size)
            if end > at:
                head += buffer[at:end]
                at = end
            if len(head) < needed:
                return at
            needed = self._needed(head)
            if len(head) == needed:
                break
        self._start(head)
        head.clear()
        if max(self._controls, self._empty) > MAX_IDLE_FRAMES:
            raise FrameError("a flood of empty or control frames", CloseCode.POLICY)
        return at

    def _needed(self, head: bytearray) -> int:
        """The length of a head (with the payload of a control frame); its first 2 bytes are there.

        Raises:
            FrameError: they are wrong, whatever follows.
        """
        opcode, length = head[0] & _OPCODE, head[1] & _LENGTH
        if head[0] & _RESERVED:
            raise FrameError("a reserved bit is set, and no extension was agreed on")
        if bool(head[1] & _MASKED) is not self._masked:
            raise FrameError("a frame is not masked" if self._masked else "a frame is masked")
        needed = 2 + (_KEY if self._masked else 0)
        if opcode >= Opcode.CLOSE:
            if opcode > Opcode.PONG:
                raise FrameError(f"reserved opcode {opcode}")
            if not head[0] & _FIN or length > MAX_CONTROL:
                raise FrameError("a control frame is fragmented or too long")
            return needed + length
        if opcode == Opcode.TEXT:
            raise FrameError("a text frame; libp2p is binary", CloseCode.UNSUPPORTED_DATA)
        if opcode > Opcode.BINARY:
            raise FrameError(f"reserved opcode {opcode}")
        if (opcode == Opcode.CONTINUATION) is not self._in_message:
            raise FrameError("a fragment out of order")
        return needed + (0, 2, 8)[max(length - 125, 0)]

    def _start(self, head: bytearray) -> None:
        """A complete head: begin a data frame, or handle a control frame."""
        opcode, length, at = head[0] & _OPCODE, head[1] & _LENGTH, 2
        if length > 125:
            at = 4 if length == 126 else 10
            length = int.from_bytes(head[2:at], "big")
            if length < (126 if at == 4 else 1 << 16):
                raise FrameError("a length is not in its shortest form")
        key = b""
        if self._masked:
            key = bytes(head[at : at + _KEY])
            at += _KEY
        if opcode >= Opcode.CLOSE:
            payload = head[at:]
            if key and payload:
                Mask(key).apply(memoryview(payload), memoryview(payload))
            self._control(opcode, bytes(payload))
            return
        self._message = length + (self._message if self._in_message else 0)
        if self._message > self._max_message:
            raise FrameError(f"a message of more than {self._max_message} B", CloseCode.TOO_BIG)
        self._in_message = not head[0] & _FIN
        self._empty = 0 if length else self._empty + 1
        self._size = self._left = length
        self._mask = Mask(key) if key else None

    def _control(self, opcode: int, payload: bytes) -> None:
        self._controls += 1
        if opcode == Opcode.PING:
            self.ping = payload
        elif opcode == Opcode.CLOSE:
            if len(payload) == 1:
                raise FrameError("a close frame with half a code")
            try:
                payload[2:].decode()
            except UnicodeDecodeError:
                raise FrameError("a close reason is no text", CloseCode.INVALID_DATA) from None
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
