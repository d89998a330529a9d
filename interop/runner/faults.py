"""Fault mode: a proxy between the two sides that cuts, delays, garbles or drips."""

from __future__ import annotations

import math
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

__all__ = ["KINDS", "Fault", "FaultProxy", "through"]

KINDS = ("cut", "delay", "garble", "drip")
_FATAL = ("cut", "garble")

DEFAULT_AT = 200  # bytes: within the security handshake, whichever it is
DELAY = 0.2  # s each way
DRIP = 3  # bytes …
DRIP_EVERY = 0.001  # … each so many s
CHUNK = 64 * 1024
IN_FLIGHT = 64  # chunks

_TCP = re.compile(r"^(/ip[46]/)([^/]+)/tcp/(\d+)")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, on every connection of a pair.

    Attributes:
        kind: `cut` ends the connection with a reset, `garble` inverts one bit: both at byte `at`
            of what the listener sends. `delay` keeps everything back, in both directions; `drip`
            gives it out a few bytes at a time.
    """

    kind: str
    at: int = DEFAULT_AT

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`KIND` or `KIND@BYTE`.

        Raises:
            ValueError: it is neither.
        """
        kind, at, number = text.partition("@")
        if kind not in KINDS or (at and not (number.isascii() and number.isdigit())):
            raise ValueError(f"{text!r} is not one of {', '.join(KINDS)}, with @BYTE or without")
        return cls(kind, int(number) if at else DEFAULT_AT)

    @property
    def fatal(self) -> bool:
        """The pair must fail, in order; with the other faults it must pass."""
        return self.kind in _FATAL

    def __str__(self) -> str:
        return f"{self.kind}@{self.at}" if self.fatal else self.kind


def through(address: str, ip: str, port: int) -> str:
    """A listener's multiaddr with the proxy's endpoint in place of its own.

    Raises:
        ValueError: it is no TCP address.
    """
    return f"{_tcp(address)[1]}{ip}/tcp/{port}{address[_tcp(address).end() :]}"


def _endpoint(address: str) -> tuple[str, int]:
    return _tcp(address)[2], int(_tcp(address)[3])


def _tcp(address: str) -> re.Match[str]:
    found = _TCP.match(address)
    if found is None:
        raise ValueError(f"faults are for TCP only, not for {address}")
    return found


class FaultProxy:
    """A TCP proxy between the two sides."""

    def __init__(self, fault: Fault, target: tuple[str, int]) -> None:
        self._fault = fault
        self._target = target

    @classmethod
    @asynccontextmanager
    async def running(cls, fault: Fault, ip: str, address: str) -> AsyncIterator[str]:
        """A proxy in front of the listener at `address`; the address to dial instead.

        Raises:
            ValueError: `address` is no TCP address.
        """
        proxy = cls(fault, _endpoint(address))
        listeners = await trio.open_tcp_listeners(0, host=ip)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, proxy._serve, listeners)
            yield through(address, ip, listeners[0].socket.getsockname()[1])
            nursery.cancel_scope.cancel()

    async def _serve(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream(*self._target)
        except OSError:
            _abort(near)
            return
        async with far, trio.open_nursery() as nursery:
            nursery.start_soon(_Direction(self._fault, near, far, faulty=False).run)
            nursery.start_soon(_Direction(self._fault, far, near, faulty=True).run)


class _Direction:
    """Passes one direction of one connection on; `faulty`: `cut` and `garble` happen here."""

    def __init__(
        self, fault: Fault, source: trio.SocketStream, sink: trio.SocketStream, *, faulty: bool
    ) -> None:
        self._fault = fault
        self._source = source
        self._sink = sink
        self._due_in: float = fault.at if faulty and fault.fatal else math.inf  # bytes

    async def run(self) -> None:
        """Read at once, write when it is due, so that a delay is latency and no slower rate."""
        send, receive = trio.open_memory_channel[tuple[float, bytes]](IN_FLIGHT)
        delay = DELAY if self._fault.kind == "delay" else 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, receive)
            async with send:
                try:
                    while data := await self._source.receive_some(CHUNK):
                        await send.send((trio.current_time() + delay, bytes(data)))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    _abort(self._sink)

    async def _write(self, receive: trio.MemoryReceiveChannel[tuple[float, bytes]]) -> None:
        async with receive:
            try:
                async for due, data in receive:
                    await trio.sleep_until(due)
                    if self._fault.kind == "cut" and self._due_in <= len(data):
                        await self._sink.send_all(data[: int(self._due_in)])
                        _abort(self._sink)
                        _abort(self._source)
                        return
                    await self._give(self._garbled(data))
                    self._due_in -= len(data)
                await self._sink.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                _abort(self._source)

    def _garbled(self, data: bytes) -> bytes:
        if not 0 <= self._due_in < len(data):
            return data
        at = int(self._due_in)
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    async def _give(self, data: bytes) -> None:
        if self._fault.kind != "drip":
            await self._sink.send_all(data)
            return
        for start in range(0, len(data), DRIP):
            await self._sink.send_all(data[start : start + DRIP])
            await trio.sleep(DRIP_EVERY)


def _abort(stream: trio.SocketStream) -> None:
    """Close with a reset; the stream's own tasks then end by themselves."""
    if stream.socket.fileno() >= 0:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        stream.socket.close()
