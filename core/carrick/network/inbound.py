"""Serves the streams that the peer of one connection opens: one task each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeAlias

import trio

from carrick.deadlines import deadline
from carrick.errors import (
    PEER_FAILURES,
    CarrickError,
    NegotiationError,
    ProtocolError,
    ResourceLimitExceeded,
)
from carrick.interfaces import Direction, MuxedStream
from carrick.network.admission import TokenBucket
from carrick.network.codes import ConnectionCode, StreamCode
from carrick.network.connection import Connection
from carrick.network.firewall import LimitedLog, guarded
from carrick.network.handlers import Handler, Handlers
from carrick.network.limits import Limits
from carrick.network.resources import StreamReservation
from carrick.network.stream import Stream
from carrick.transports.multistream import Listener

__all__ = ["PEERS_FAULT", "InboundStreams", "Report"]

Report: TypeAlias = Callable[[str, object, Exception], None]
"""Logs a defect of ours: where it is, the peer it showed with, the error."""

# What a peer can cause in a handler that is written well: no defect of ours.
PEERS_FAULT = (*PEER_FAILURES, TimeoutError)

_FORGIVEN = 10.0  # violations per second that are no harm
_RECEIVE = 4096  # bytes; several multistream messages


class InboundStreams:
    """The inbound streams of `connection`."""

    def __init__(
        self,
        connection: Connection,
        handlers: Handlers,
        limits: Limits,
        log: LimitedLog,
        report: Report,
    ) -> None:
        self._connection = connection
        self._handlers = handlers
        self._timeout = limits.negotiation_timeout
        self._log = log
        self._report = report
        self._failed = partial(report, "a stream", connection.peer_id)
        self._violations = TokenBucket(
            _FORGIVEN, limits.violations_per_connection, trio.current_time()
        )

    async def accept(self, nursery: trio.Nursery) -> None:
        """Serve each in a task of `nursery`, until the connection ends."""
        while True:
            try:
                raw = await self._connection.muxed.accept_stream()
            except CarrickError:
                return  # the connection has ended
            await self._admit(raw, nursery)

    async def _admit(self, raw: MuxedStream, nursery: trio.Nursery) -> None:
        try:
            slot = self._connection.reservation.open_stream(Direction.INBOUND)
        except CarrickError as error:
            raw.reset(StreamCode.RESOURCE_LIMIT_EXCEEDED)
            peer = self._connection.peer_id
            self._log.log(logging.DEBUG, "refused", peer, "stream refused: %s", error)
            await self._count_violation()
            return
        nursery.start_soon(partial(guarded, self._serve, raw, slot, failed=self._failed))

    # --- one stream -------------------------------------------------------------------------------

    async def _serve(self, raw: MuxedStream, slot: StreamReservation) -> None:
        with slot:
            try:
                negotiated = await self._negotiate(raw, slot)
                served = negotiated is not None and await self._handle(*negotiated)
            except BaseException:
                raw.reset()
                raise
            if not served:
                await self._count_violation()

    async def _negotiate(
        self, raw: MuxedStream, slot: StreamReservation
    ) -> tuple[Handler, Stream] | None:
        """Agree on a protocol, or reset the stream."""
        code = StreamCode.PROTOCOL_NEGOTIATION_FAILED
        connection = self._connection
        limited = connection.is_limited

        def find(protocol: str) -> Handler | None:
            return self._handlers.find(protocol, limited=limited)

        listener = Listener(lambda protocol: find(protocol) is not None, self._handlers.protocols)
        try:
            protocol = await self._agree(raw, listener)
            handler = find(protocol)
            assert handler is not None
            slot.negotiated(protocol, service=handler.service, per_peer=handler.streams_per_peer)
            answer = listener.take_output()
            if not raw.send_soon(answer):  # with the first bytes of the handler, if it has some
                with self._patience():
                    await raw.send_all(answer)
        except (CarrickError, trio.BrokenResourceError) as error:
            if isinstance(error, ResourceLimitExceeded):
                code = StreamCode.RESOURCE_LIMIT_EXCEEDED
            raw.reset(code)
            peer = connection.peer_id
            self._log.log(logging.DEBUG, "negotiation", peer, "stream of %s: %s", peer, error)
            return None
        return handler, connection.adopt(raw, protocol, slot, received=listener.rest)

    async def _agree(self, raw: MuxedStream, listener: Listener) -> str:
        """Listen to the peer's proposals until there is one that we speak.

        Mostly the first is one, and is there already: a deadline would cost more than all of this.
        """
        if (data := raw.receive_nowait(_RECEIVE)) is not None:
            _hear(listener, data)
        if listener.selected is None:
            with self._patience():
                while listener.selected is None:
                    if output := listener.take_output():
                        await raw.send_all(output)
                    _hear(listener, await raw.receive_some(_RECEIVE))
        return listener.selected

    def _patience(self) -> AbstractContextManager[None]:
        peer = self._connection.peer_id
        return deadline(self._timeout, "a stream was not negotiated", peer=peer)

    async def _handle(self, handler: Handler, stream: Stream) -> bool:
        """Let the handler serve the stream, then end it. False if the peer broke it."""
        errors: list[Exception] = []
        try:
            if await guarded(handler.serve, stream, failed=errors.append):
                await stream.aclose()
                return True
        finally:
            violated = any(isinstance(error, ProtocolError) for error in errors)
            stream.reset(StreamCode.PROTOCOL_VIOLATION if violated else StreamCode.NO_ERROR)
        for error in errors:
            self._handler_failed(stream, error)
        return not any(isinstance(error, PEERS_FAULT) for error in errors)

    def _handler_failed(self, stream: Stream, error: Exception) -> None:
        if isinstance(error, PEERS_FAULT):
            self._log.log(
                logging.DEBUG, "stream", stream.peer_id, "%r: %s", stream, error or type(error)
            )
        else:
            self._report(f"handler of {stream.protocol}", stream.peer_id, error)

    async def _count_violation(self) -> None:
        if not self._violations.take(trio.current_time()):
            await self._connection.aclose(
                ConnectionCode.GOAWAY_PROTOCOL_ERROR, reason="too many failed streams"
            )


def _hear(listener: Listener, data: bytes) -> None:
    if not data:
        raise NegotiationError("the peer closed the stream before a proposal")
    listener.receive(data)
