"""Awaited byte streams for the upgrade, before the data path takes over."""

from __future__ import annotations

from carrick.errors import HandshakeError
from carrick.interfaces import Buffer, ByteSocket, Records
from carrick.transports.bytestream.buffers import shared_buffers

__all__ = ["RecordStream", "SocketStream"]


class SocketStream:
    """`send_all` and `receive_some` on a `ByteSocket`. Holds no received bytes.

    Only where the socket would block these are checkpoints; an upgrade always waits for its peer.
    """

    def __init__(self, socket: ByteSocket) -> None:
        self._socket = socket

    async def send_all(self, data: Buffer) -> None:
        view = memoryview(data)
        while view:
            sent = self._socket.send(view)
            if sent is None:
                await self._socket.wait_writable()
            else:
                view = view[sent:]

    def try_send(self, data: Buffer) -> None:
        """Send what fits without waiting; errors do not matter to the caller any more."""
        try:
            self._socket.send(memoryview(data))
        except OSError:
            return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Raises: HandshakeError at end of file."""
        body = shared_buffers().body
        if max_bytes is not None:
            body = body[:max_bytes]
        while (received := self._socket.recv_into(body)) is None:
            await self._socket.wait_readable()
        if received == 0:
            raise HandshakeError("the peer closed the connection during the upgrade")
        return bytes(body[:received])


class RecordStream:
    """`send_all` and `receive_some` of plaintext over records, for the muxer's negotiation.

    Args:
        received: sealed bytes that came behind the handshake.
    """

    def __init__(self, stream: SocketStream, records: Records, received: bytes) -> None:
        self._stream = stream
        self._records = records
        self.sealed = received
        """Received bytes that are not opened yet; at most one incomplete record after a read."""

    async def send_all(self, data: Buffer) -> None:
        output = bytearray(len(data) + self._records.overhead)
        end = self._records.seal(output, 0, (data,))
        await self._stream.send_all(memoryview(output)[:end])

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        plain: list[bytes] = []
        while True:
            view = memoryview(self.sealed)
            rest = self._records.open_all(view, 0, len(view), plain.append)
            self.sealed = bytes(view[rest:])
            if data := b"".join(plain):
                return data
            self.sealed += await self._stream.receive_some()
