"""A `ByteSocket` whose bytes travel in WebSocket frames."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

import trio

from carrick.interfaces import ByteSocket, Endpoint
from carrick.transports.websocket.frames import (
    MAX_HEAD,
    MAX_MESSAGE,
    CloseCode,
    FrameDecoder,
    FrameError,
    Mask,
    Opcode,
    encode_control,
    encode_head,
)

__all__ = ["WebSocket"]

CHUNK = 128 * 1024  # bytes that are masked or copied for one call of `send`
_KEYS = 1024  # masking keys that are drawn at once


class _Shared:
    """What all WebSockets of one trio run share: between filling and sending nothing is awaited."""

    def __init__(self) -> None:
        self.scratch = memoryview(bytearray(MAX_HEAD + CHUNK))
        self._random = b""

    def key(self) -> bytes:
        """A fresh masking key, from a strong source (RFC 6455, section 5.3)."""
        if not self._random:
            self._random = os.urandom(4 * _KEYS)
        key, self._random = self._random[:4], self._random[4:]
        return key


_shared: trio.lowlevel.RunVar[_Shared] = trio.lowlevel.RunVar("carrick_websocket")


def _current() -> _Shared:
    try:
        return _shared.get()
    except LookupError:
        shared = _Shared()
        _shared.set(shared)
        return shared


class WebSocket:
    """A `carrick.interfaces.ByteSocket` over another, after the upgrade.

    What is offered to one `send` becomes one frame. Frames are made in a shared buffer as they are
    sent, so a connection holds no copy of what waits.

    Args:
        client: we mask, the peer does not; else the other way round.
        received: bytes that came behind the upgrade.
    """

    def __init__(self, socket: ByteSocket, *, client: bool, received: bytes = b"") -> None:
        self._socket = socket
        self._client = client
        self._shared = _current()
        self._decoder = FrameDecoder(masked=not client)
        self._early = received
        self._head = b""  # of the present frame, what is not sent
        self._mask: Mask | None = None
        self._size = 0  # payload of the present frame
        self._left = 0  # payload of the present frame that is not sent
        self._control = b""  # a control frame, what is not sent
        self._said_goodbye = False

    @property
    def local(self) -> Endpoint:
        return self._socket.local

    @property
    def remote(self) -> Endpoint:
        return self._socket.remote

    # --- receiving --------------------------------------------------------------------------------

    def recv_into(self, buffer: memoryview) -> int | None:
        decoder = self._decoder
        if decoder.close_code is not None:
            return 0
        size: int | None
        if self._early:
            size = min(len(self._early), len(buffer))
            buffer[:size] = self._early[:size]
            self._early = self._early[size:]
        else:
            size = self._socket.recv_into(buffer)
            if not size:
                return size
        try:
            count = decoder.decode(buffer, size)
        except FrameError as error:
            self._say_goodbye(error.code)
            raise
        if decoder.close_code is not None:
            self._say_goodbye(CloseCode.NORMAL)
            return count
        if decoder.ping is not None and not self._left:
            with suppress(OSError):  # the next send will find out too
                self._send_control()
        return count or None

    async def wait_readable(self) -> None:
        if self._early:
            await trio.lowlevel.checkpoint()
        else:
            await self._socket.wait_readable()

    # --- sending ----------------------------------------------------------------------------------

    def send(self, data: memoryview) -> int | None:
        if self._said_goodbye:
            raise BrokenPipeError(errno.EPIPE, "the WebSocket was closed")
        if not data:
            return 0
        if not self._left:
            if not self._send_control():
                return None
            self._size = self._left = min(len(data), MAX_MESSAGE)
            key = self._key()
            self._mask = Mask(key) if key else None
            self._head = encode_head(self._size, key=key)
        while True:
            head, offered = len(self._head), self._offer(data)
            sent = self._socket.send(offered)
            if sent is None:
                return None
            if sent <= head:
                self._head = self._head[sent:]
                if sent < head or not offered[head:]:
                    continue
            break
        self._head = b""
        count = sent - head
        self._left -= count
        if not self._left:
            self._mask = None
            if self._decoder.ping is not None:
                self._send_control()
        return count

    def _offer(self, data: memoryview) -> memoryview:
        """The bytes of the present frame to send next; the same again until they are sent."""
        data = data[: self._left]
        if not self._head and self._mask is None:
            return data  # the rest of a large frame, where it lies
        data = data[:CHUNK]
        at = len(self._head)
        scratch = self._shared.scratch[: at + len(data)]
        scratch[:at] = self._head
        if self._mask is None:
            scratch[at:] = data
        else:
            self._mask.apply(data, scratch[at:], self._size - self._left)
        return scratch

    def _send_control(self) -> bool:
        """Between two frames: answer the newest ping. False if the socket is full."""
        if not self._control and self._decoder.ping is not None:
            self._control = encode_control(Opcode.PONG, self._decoder.ping, self._key())
            self._decoder.ping = None
        while self._control:
            sent = self._socket.send(memoryview(self._control))
            if sent is None:
                return False
            self._control = self._control[sent:]
        return True

    def _key(self) -> bytes:
        return self._shared.key() if self._client else b""

    async def wait_writable(self) -> None:
        await self._socket.wait_writable()

    # --- ending -----------------------------------------------------------------------------------

    def _say_goodbye(self, code: CloseCode) -> None:
        """Send a close frame, if one can be sent now: not within another frame."""
        if self._said_goodbye:
            return
        self._said_goodbye = True
        if self._left or self._control:
            return
        with suppress(OSError):
            frame = encode_control(Opcode.CLOSE, code.to_bytes(2, "big"), self._key())
            self._socket.send(memoryview(frame))

    def close(self) -> None:
        self._say_goodbye(CloseCode.NORMAL)
        self._socket.close()

    def abort(self) -> None:
        self._said_goodbye = True
        self._socket.abort()
