"""As much of the Redis protocol as the suite needs: one command at a time."""

from __future__ import annotations

import trio

RETRY_SECONDS = 0.1
Reply = str | int | list["Reply"] | None


class Redis:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, address: str) -> Redis:
        """Wait until the server answers."""
        host, _, port = address.rpartition(":")
        while True:
            try:
                return cls(await trio.open_tcp_stream(host, int(port)))
            except OSError:
                await trio.sleep(RETRY_SECONDS)

    async def call(self, *words: str) -> Reply:
        command = b"*%d\r\n" % len(words)
        for word in words:
            data = word.encode()
            command += b"$%d\r\n%s\r\n" % (len(data), data)
        await self._stream.send_all(command)
        return await self._reply()

    async def _reply(self) -> Reply:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._more()
        line = self._take(end).decode()
        kind, value = line[0], line[1:]
        if kind == "-":
            raise RuntimeError(f"redis: {value}")
        if kind == "+":
            return value
        if kind == ":":
            return int(value)
        length = int(value)
        if length < 0:
            return None
        if kind == "*":
            return [await self._reply() for _ in range(length)]
        while len(self._buffer) < length + 2:
            await self._more()
        return self._take(length).decode()

    def _take(self, length: int) -> bytes:
        """The next bytes; the line end behind them goes too."""
        data = bytes(self._buffer[:length])
        del self._buffer[: length + 2]
        return data

    async def _more(self) -> None:
        data = await self._stream.receive_some()
        if not data:
            raise RuntimeError("redis closed the connection")
        self._buffer += data
