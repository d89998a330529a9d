"""The Redis protocol (RESP 2), as much as the suites need. The parser does no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

import trio

__all__ = ["INCOMPLETE", "Redis", "RedisError", "Reply", "ReplyParser", "encode_command"]

Reply: TypeAlias = "str | int | list[Reply] | None"

MAX_REPLY = 64 * 1024  # bytes; addresses are a few hundred
MAX_ITEMS = 64  # of an array
MAX_DEPTH = 4
MAX_LINE = 1024

RETRY_AFTER = 0.1  # s, as the suites' go app
POLL_EVERY = 0.2  # s: a string is nothing that Redis lets anybody wait for


class RedisError(Exception):
    """The server said `-…`, or something that is no RESP."""


class _Incomplete:
    """The type of `INCOMPLETE`."""


INCOMPLETE: Final = _Incomplete()


def encode_command(*words: str) -> bytes:
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


class ReplyParser:
    """Cuts received bytes into replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Take received bytes.

        Raises:
            RedisError: a reply is longer than `MAX_REPLY`.
        """
        if len(self._buffer) + len(data) > MAX_REPLY:
            raise RedisError(f"a reply of more than {MAX_REPLY} bytes")
        self._buffer += data

    def next(self) -> Reply | _Incomplete:
        """The next reply, `INCOMPLETE` if there is no whole one.

        Raises:
            RedisError: the server reports an error, or what it sends is no RESP.
        """
        self._at = 0
        reply = self._parse(MAX_DEPTH)
        if not isinstance(reply, _Incomplete):
            del self._buffer[: self._at]
            if isinstance(reply, _ServerError):
                raise RedisError(reply)
        return reply

    def _parse(self, depth: int) -> Reply | _Incomplete:
        line = self._line()
        if line is None:
            return INCOMPLETE
        kind, text = line[:1], line[1:]
        if kind == "+":
            return text
        if kind == "-":
            return _ServerError(text)
        if kind == ":":
            return _number(text, -(2**63), 2**63 - 1)
        if kind == "$":
            return self._bulk(_number(text, -1, MAX_REPLY))
        if kind == "*":
            return self._array(_number(text, -1, MAX_ITEMS), depth)
        raise RedisError(f"no reply begins with {kind!r}")

    def _line(self) -> str | None:
        end = self._buffer.find(b"\r\n", self._at, self._at + MAX_LINE)
        if end < 0:
            if len(self._buffer) - self._at >= MAX_LINE:
                raise RedisError(f"a line of more than {MAX_LINE} bytes")
            return None
        line = _text(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, length: int) -> str | None | _Incomplete:
        if length < 0:
            return None
        end = self._at + length
        if len(self._buffer) < end + 2:
            return INCOMPLETE
        if self._buffer[end : end + 2] != b"\r\n":
            raise RedisError("a bulk string is not as long as it says")
        text = _text(self._buffer[self._at : end])
        self._at = end + 2
        return text

    def _array(self, count: int, depth: int) -> list[Reply] | None | _Incomplete:
        if count < 0:
            return None
        if not depth:
            raise RedisError(f"arrays nested more than {MAX_DEPTH} deep")
        items: list[Reply] = []
        for _ in range(count):
            item = self._parse(depth - 1)
            if isinstance(item, _Incomplete):
                return INCOMPLETE
            items.append(item)
        return items


class _ServerError(str):
    """The text of a `-…` reply."""

    __slots__ = ()


def _text(data: bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RedisError("a string that is no UTF-8") from None


def _number(text: str, low: int, high: int) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise RedisError(f"no number: {text[:40]!r}")
    number = int(text)
    if not low <= number <= high:
        raise RedisError(f"{number} is out of range")
    return number


class Redis:
    """A connection to a Redis server: one command at a time."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._parser = ReplyParser()

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: tuple[str, int]) -> AsyncIterator[Redis]:
        """Connect; tries again until the server is there, so set a deadline."""
        while True:
            try:
                stream = await trio.open_tcp_stream(*address)
            except OSError:
                await trio.sleep(RETRY_AFTER)
            else:
                break
        async with stream:
            yield cls(stream)

    async def call(self, *words: str) -> Reply:
        """Send a command and wait for its reply.

        Raises:
            RedisError: the server refuses it, or went away.
        """
        await self._stream.send_all(encode_command(*words))
        while True:
            reply = self._parser.next()
            if not isinstance(reply, _Incomplete):
                return reply
            data = await self._stream.receive_some(MAX_LINE)
            if not data:
                raise RedisError("the Redis server closed the connection")
            self._parser.feed(bytes(data))

    async def push_only(self, key: str, value: str) -> None:
        """Make `value` the only element of the list `key`."""
        await self.call("DEL", key)
        await self.call("RPUSH", key, value)

    async def pop(self, key: str, timeout: float) -> str:
        """The next element of the list `key`, waited for `timeout` seconds.

        Raises:
            RedisError: nothing came, or the key holds something else.
        """
        reply = await self.call("BLPOP", key, str(max(1, round(timeout))))
        match reply:
            case [str(), str(value)]:
                return value
            case None:
                raise RedisError(f"nothing at {key} within {timeout:g} s")
        raise RedisError(f"{key} holds {reply!r}")

    async def text(self, key: str, timeout: float) -> str:
        """The string at `key`, waited for `timeout` seconds.

        Raises:
            RedisError: nothing came, or the key holds something else.
        """
        with trio.move_on_after(timeout):
            while True:
                value = await self.call("GET", key)
                if isinstance(value, str):
                    return value
                await trio.sleep(POLL_EVERY)
        raise RedisError(f"nothing at {key} within {timeout:g} s")
