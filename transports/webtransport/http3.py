"""HTTP/3 on a QUIC connection, as far as one WebTransport session needs it: settings, and the
peer's unidirectional streams.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from carrick.errors import CarrickError, ConnectionClosed, HandshakeError, StreamReset
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.stream import QuicStream
from carrick.transports.webtransport import codes
from carrick.transports.webtransport.codes import Http3Error
from carrick.transports.webtransport.frames import (
    MAX_HEADERS,
    SETTINGS,
    ControlReader,
    encode_frame,
    encode_settings,
)
from carrick.transports.webtransport.varint import decode_varint, encode_varint, varint_length

__all__ = ["CONNECT_PROTOCOL", "ENABLE_WEBTRANSPORT", "WT_ENABLED", "Http3", "read_varint"]

# Stream types (RFC 9114 section 6.2, RFC 9204 section 4.2)
_CONTROL, _PUSH, _ENCODER, _DECODER = 0x00, 0x01, 0x02, 0x03
_CRITICAL = frozenset((_CONTROL, _ENCODER, _DECODER))

# Settings
_MAX_FIELD_SECTION_SIZE = 0x06  # RFC 9114 section 7.2.4.1
CONNECT_PROTOCOL = 0x08  # RFC 9220 section 5
_DATAGRAM = 0x33  # RFC 9297 section 5.1
ENABLE_WEBTRANSPORT = 0x2B603742  # draft-02 to draft-06
WT_ENABLED = 0x2C7CF000  # draft-15 section 9.2, as webtransport-go 0.13 has it
_OURS = {
    _MAX_FIELD_SECTION_SIZE: MAX_HEADERS,
    CONNECT_PROTOCOL: 1,
    _DATAGRAM: 1,
    ENABLE_WEBTRANSPORT: 1,
    WT_ENABLED: 1,
}

T = TypeVar("T")


class Http3:
    """What surrounds a session of a connection that takes unidirectional streams.

    `serve` carries it; it may be cancelled and called again.
    """

    def __init__(self, quic: QuicConnection) -> None:
        self.quic = quic
        self.failure: Http3Error | None = None
        """How the peer broke the protocol, if that ended the connection."""
        self.ended = trio.Event()
        self._settings = trio.Event()
        self._control = ControlReader()
        self._uni: dict[QuicStream, int | None] = {}  # what they are, once it is known
        self._heads: dict[QuicStream, bytearray] = {}  # what was read to find out
        quic.on_end = self._on_end
        if quic.closed:
            self._on_end(quic.closed_error())

    def _on_end(self, by: ConnectionClosed) -> None:
        self.ended.set()
        self._settings.set()

    def fail(self, error: Http3Error) -> None:
        """The peer broke the protocol: end the connection."""
        if self.failure is None:
            self.failure = error
        self.quic.abort(error.code)

    async def send_settings(self) -> None:
        control = await self.quic.open_stream(unidirectional=True)
        settings = encode_frame(SETTINGS, encode_settings(_OURS))
        await control.send_all(encode_varint(_CONTROL) + settings)

    async def receive_settings(self) -> dict[int, int]:
        """The peer's. Raises: ConnectionClosed."""
        await self._settings.wait()
        if self._control.settings is None:
            raise self.quic.closed_error()
        return self._control.settings

    # --- carrying it ------------------------------------------------------------------------------

    async def during(self, act: Callable[[], Awaitable[T]]) -> T:
        """Carry the connection while `act` runs, and no longer.

        Raises:
            HandshakeError: the connection ended.
            CarrickError: what `act` raises.
        """
        result: list[T] = []
        failure: CarrickError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.quic.carry)
            nursery.start_soon(self.serve)
            try:
                result.append(await act())
            except Http3Error as error:
                self.fail(error)
            except CarrickError as error:
                failure = error
            nursery.cancel_scope.cancel()
        if self.failure is not None:
            raise HandshakeError(self.failure.message, protocol="h3")
        if isinstance(failure, ConnectionClosed | StreamReset):
            raise HandshakeError(failure.message, protocol="h3") from failure
        if failure is not None:
            raise failure
        return result[0]

    async def serve(self) -> None:
        """Serve the peer's unidirectional streams until the connection ends."""
        async with trio.open_nursery() as nursery:
            for stream in self._uni:
                nursery.start_soon(self._serve_uni, stream)
            while True:
                try:
                    stream = await self.quic.accept_stream(unidirectional=True)
                except ConnectionClosed:
                    return
                self._uni[stream] = None
                self._heads[stream] = bytearray()
                nursery.start_soon(self._serve_uni, stream)

    async def _serve_uni(self, stream: QuicStream) -> None:
        try:
            await self._read_uni(stream)
        except Http3Error as error:
            self.fail(error)
        except StreamReset:
            if self._uni[stream] in _CRITICAL:
                self.fail(_closed_critical())
        except ConnectionClosed:
            return
        del self._uni[stream], self._heads[stream]

    async def _read_uni(self, stream: QuicStream) -> None:
        kind = self._uni[stream]
        if kind is None:
            found = await read_varint(stream, self._heads[stream])
            if found is None:
                return
            kind = found[0]
            if kind in _CRITICAL and kind in self._uni.values():
                raise Http3Error(f"a second stream of type {kind}", codes.STREAM_CREATION_ERROR)
            if kind == _PUSH:
                raise Http3Error("a push that nobody asked for", codes.ID_ERROR)
            self._uni[stream] = kind
        if kind not in _CRITICAL:  # libp2p has no unidirectional streams
            stream.reset(codes.STREAM_CREATION_ERROR)
            return
        while data := await stream.receive_some():
            if kind == _CONTROL:
                self._control.feed(data)
                if self._control.settings is not None:
                    self._settings.set()
            # What QPACK streams say concerns dynamic tables, which we have not.
        raise _closed_critical()


def _closed_critical() -> Http3Error:
    return Http3Error("a critical stream was closed", codes.CLOSED_CRITICAL_STREAM)


async def read_varint(stream: QuicStream, head: bytearray, at: int = 0) -> tuple[int, int] | None:
    """Read the varint at `head[at:]`, and nothing behind it.

    Args:
        head: what was read of the stream so far; it grows, so that nothing is lost if this is
            cancelled.

    Returns:
        its value, and where it ends; None if the stream ends before.
    """
    while (found := decode_varint(head, at)) is None:
        missing = varint_length(head[at]) - (len(head) - at) if len(head) > at else 1
        piece = stream.receive_nowait(missing)
        if piece is None:
            piece = await stream.receive_some(missing)
        if not piece:
            return None
        head += piece
    return found
