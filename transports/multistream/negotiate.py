"""Negotiation over a stream. The deadline is the caller's: `with trio.fail_after(…)`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import trio

from carrick.errors import NegotiationError
from carrick.transports.multistream.state import MAX_PROPOSALS, Dialer, Listener

RECEIVE_SIZE = 4096  # several messages; what comes behind them is handed back


class ByteStream(Protocol):
    """What is negotiated over; every `trio.abc.Stream` is one."""

    async def receive_some(self, max_bytes: int, /) -> bytes | bytearray: ...
    async def send_all(self, data: bytes, /) -> None: ...


async def dial(stream: ByteStream, protocols: Sequence[str]) -> tuple[str, bytes]:
    """Propose `protocols` in turn until the peer takes one.

    Returns:
        The protocol, and the bytes that were received behind the negotiation.

    Raises:
        ProtocolNotSupported: the peer refused them all.
        NegotiationError: the peer broke the protocol, or closed the stream.
        ValueError: as `Dialer`.
    """
    dialer = Dialer(protocols)
    while True:
        if output := dialer.take_output():
            await stream.send_all(output)
        if dialer.selected is not None:
            return dialer.selected, dialer.rest
        dialer.receive(await _receive(stream))


async def listen(
    stream: ByteStream,
    is_supported: Callable[[str], bool],
    protocols: Iterable[str] = (),
    *,
    max_proposals: int = MAX_PROPOSALS,
) -> tuple[str, bytes]:
    """Answer proposals until one is supported. The arguments are those of `Listener`.

    Returns:
        The protocol, and the bytes that were received behind the negotiation.

    Raises:
        NegotiationError: the peer broke the protocol, gave up, or proposed too often.
    """
    listener = Listener(is_supported, protocols, max_proposals=max_proposals)
    while True:
        received = await _receive(stream)
        try:
            listener.receive(received)
        except NegotiationError:
            # A lazy dialer's message may stand behind a proposal that we refuse: it must learn so.
            if output := listener.take_output():
                await stream.send_all(output)
            raise
        output = listener.take_output()
        if listener.selected is None:
            if output:
                await stream.send_all(output)
            continue
        # A lazy dialer may have sent its message and stopped reading: serve it, as go does.
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(output)
        return listener.selected, listener.rest


async def _receive(stream: ByteStream) -> bytes | bytearray:
    data = await stream.receive_some(RECEIVE_SIZE)
    if not data:
        raise NegotiationError("the peer closed the stream during the negotiation")
    return data
