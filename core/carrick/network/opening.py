"""Lazy negotiation: the first bytes of a stream ride with the proposal.

Saves a round trip where the peer is known to speak the protocol. The answer is still checked, by
whoever receives first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from carrick.errors import CarrickError, NegotiationError
from carrick.interfaces import Buffer, MuxedStream
from carrick.transports.multistream import Dialer

__all__ = ["LazyOpening"]

_JOIN = 64 * 1024  # bytes; above, the proposal goes in a piece of its own
_ANSWER_TIMEOUT = 10.0  # s that a closed stream waits for the peer's answer
_RECEIVE = 4096


class LazyOpening:
    """From the proposal to the peer's answer.

    Args:
        raw: the stream.
        dialer: a lazy one, from which nothing was taken yet.
    """

    __slots__ = ("_dialer", "_flushing", "_output", "_raw", "_receiving")

    def __init__(self, raw: MuxedStream, dialer: Dialer) -> None:
        self._raw = raw
        self._dialer = dialer
        self._output = dialer.take_output()
        self._receiving = False
        self._flushing: trio.Event | None = None

    async def send(self, data: Buffer) -> None:
        """Send `data`, behind the proposal if that is still here."""
        while self._flushing is not None:
            await self._flushing.wait()
        output, self._output = self._output, b""
        if not output:
            await self._raw.send_all(data)
            return
        joined = len(data) <= _JOIN
        try:
            await self._raw.send_all(b"".join((output, data)) if joined else output)
        except BaseException:
            self._output = output  # either nothing of it left, or the stream is reset
            raise
        if not joined:
            await self._raw.send_all(data)

    async def flush(self) -> None:
        """Send the proposal if it is still here."""
        while self._flushing is not None:
            await self._flushing.wait()
        if not self._output:
            return
        output, self._output = self._output, b""
        self._flushing = trio.Event()
        try:
            await self._raw.send_all(output)
        except BaseException:
            self._output = output
            raise
        finally:
            self._flushing.set()
            self._flushing = None

    async def confirm(self) -> bytes:
        """Wait for the peer's answer. Returns what came behind it.

        Raises:
            ProtocolNotSupported, NegotiationError: the peer does not speak the protocol.
        """
        if self._output and self._raw.send_soon(self._output):
            self._output = b""  # it rides with what others send
        with suppress(trio.BusyResourceError):  # then the sender takes the proposal along
            await self.flush()
        self._receiving = True
        try:
            while self._dialer.selected is None:
                data = await self._raw.receive_some(_RECEIVE)
                if not data:
                    raise NegotiationError("the peer closed the stream instead of an answer")
                self._dialer.receive(data)
        finally:
            self._receiving = False
        return self._dialer.rest

    async def close(self, spawn: Callable[[Callable[[], Awaitable[None]]], bool]) -> None:
        """Send the end of file, and read the answer in the background.

        Without that the answer would meet a closed stream and be answered by a reset, which
        destroys what the peer has not read yet of what we sent.

        Args:
            spawn: runs a function in a task of the connection; False if the connection has ended.
        """
        try:
            await self.flush()
            if not self._receiving:
                await self._raw.send_eof()
                if spawn(self._await_answer):
                    return
        except (trio.BrokenResourceError, trio.BusyResourceError):
            pass
        await self._raw.aclose()

    async def _await_answer(self) -> None:
        try:
            # Nobody is left whom an error could concern.
            with (
                trio.move_on_after(_ANSWER_TIMEOUT),
                suppress(CarrickError, trio.BrokenResourceError),
            ):
                await self.confirm()
        finally:
            await self._raw.aclose()
