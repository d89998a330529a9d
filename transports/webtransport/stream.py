"""A stream of a WebTransport session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from carrick.errors import ConnectionClosed, StreamReset
from carrick.interfaces import Buffer, Direction
from carrick.transports.quic.stream import QuicStream
from carrick.transports.webtransport.codes import from_http3, to_http3

if TYPE_CHECKING:
    from carrick.transports.webtransport.connection import WebTransportConnection

__all__ = ["WebTransportStream"]


class WebTransportStream(trio.abc.HalfCloseableStream):
    """See `carrick.interfaces.MuxedStream`. A QUIC stream behind its header, whose reset codes are
    those of the application."""

    __slots__ = ("_connection", "_quic")

    def __init__(self, connection: WebTransportConnection, quic: QuicStream) -> None:
        self._connection = connection
        self._quic = quic

    @property
    def id(self) -> int:
        return self._quic.id

    @property
    def direction(self) -> Direction:
        return self._quic.direction

    def _translate(self, error: StreamReset | ConnectionClosed) -> StreamReset | ConnectionClosed:
        if isinstance(error, ConnectionClosed):
            return self._connection.closed_error()
        return StreamReset(error.message, code=from_http3(error.code), remote=error.remote)

    async def send_all(self, data: Buffer, *, eof: bool = False) -> None:
        try:
            await self._quic.send_all(data, eof=eof)
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    def send_soon(self, data: bytes) -> bool:
        return self._quic.send_soon(data)

    async def wait_send_all_might_not_block(self) -> None:
        try:
            await self._quic.wait_send_all_might_not_block()
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    async def send_eof(self) -> None:
        try:
            await self._quic.send_eof()
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self._quic.receive_some(max_bytes)
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        try:
            return self._quic.receive_nowait(max_bytes)
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    async def receive_views(self) -> list[memoryview]:
        try:
            return await self._quic.receive_views()
        except (StreamReset, ConnectionClosed) as error:
            raise self._translate(error) from None

    async def aclose(self) -> None:
        await self._quic.aclose()

    def reset(self, code: int = 0) -> None:
        self._quic.reset(to_http3(code))
