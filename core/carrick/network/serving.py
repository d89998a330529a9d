"""Carries one connection: its data, its inbound streams, its steps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeAlias

import trio

from carrick.errors import CarrickError, NegotiationError, ProtocolError, ResourceLimitExceeded
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

__all__ = ["ConnectionServer", "ConnectionStep"]

ConnectionStep: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What a new connection passes before it is announced, such as identify."""

_FORGIVEN = 10.0  # violations per second that are no harm
_RECEIVE = 4096  # bytes; several multistream messages

# What a peer can cause in a handler that is written well: no defect of ours.
_PEERS_FAULT = (CarrickError, trio.BrokenResourceError, trio.ClosedResourceError, TimeoutError)


class ConnectionServer:
    """Serves the connections of one swarm.

    Args:
        steps: looked at for each connection, so it may grow.
        announce: called with each connection that has passed its steps.
        ended: called with each connection once it has ended.
    """

    def __init__(
        self,
        handlers: Handlers,
        steps: Sequence[ConnectionStep],
        limits: Limits,
        announce: Callable[[Connection], None],
        ended: Callable[[Connection], None],
    ) -> None:
        self._handlers = handlers
        self._steps = steps
        self._limits = limits
        self._announce = announce
        self._ended = ended
        self._log = LimitedLog(logging.getLogger("carrick.network"))

    async def carry(self, connection: Connection) -> None:
        """Serve `connection` until it ends, then wait a moment for its handlers."""
        violations = TokenBucket(
            _FORGIVEN, self._limits.violations_per_connection, trio.current_time()
        )
        failed = partial(self._report, "a connection", connection.peer_id)
        async with trio.open_nursery() as nursery:
            connection.nursery = nursery
            nursery.start_soon(self._accept_guarded, connection, violations, nursery)
            nursery.start_soon(self._take_steps, connection)
            try:
                await guarded(connection.muxed.run, failed=failed)
            finally:
                connection.nursery = None
                connection.abort()
                connection.reservation.release()
                connection.announced.set()
                self._ended(connection)
                connection.mark_ended()
                # The streams have ended; a handler may still finish what it does with them.
                nursery.cancel_scope.deadline = trio.current_time() + self._limits.close_timeout

    # --- before it is announced -------------------------------------------------------------------

    async def _take_steps(self, connection: Connection) -> None:
        with trio.move_on_after(self._limits.step_timeout) as deadline:
            for step in tuple(self._steps):
                await guarded(
                    step, connection, failed=partial(self._step_failed, connection.peer_id)
                )
        if deadline.cancelled_caught:
            self._log.log(
                logging.DEBUG, "steps", None, "connection steps of %s timed out", connection
            )
        if not connection.closed:
            self._announce(connection)

    def _step_failed(self, peer: object, error: Exception) -> None:
        if isinstance(error, _PEERS_FAULT):
            self._log.log(logging.DEBUG, "step", peer, "connection step with %s: %s", peer, error)
        else:
            self._report("connection step", peer, error)

    # --- inbound streams --------------------------------------------------------------------------

    async def _accept_guarded(
        self, connection: Connection, violations: TokenBucket, nursery: trio.Nursery
    ) -> None:
        failed = partial(self._report, "accepting streams", connection.peer_id)
        if not await guarded(self._accept_streams, connection, violations, nursery, failed=failed):
            connection.abort(reason="internal error")

    async def _accept_streams(
        self, connection: Connection, violations: TokenBucket, nursery: trio.Nursery
    ) -> None:
        while True:
            try:
                raw = await connection.muxed.accept_stream()
            except CarrickError:
                return  # the connection has ended
            try:
                slot = connection.reservation.open_stream(Direction.INBOUND)
            except CarrickError as error:
                raw.reset(StreamCode.RESOURCE_LIMIT_EXCEEDED)
                self._log.log(
                    logging.DEBUG, "refused", connection.peer_id, "stream refused: %s", error
                )
                await self._count_violation(connection, violations)
            else:
                nursery.start_soon(self._serve_guarded, connection, violations, raw, slot)

    async def _serve_guarded(
        self,
        connection: Connection,
        violations: TokenBucket,
        raw: MuxedStream,
        slot: StreamReservation,
    ) -> None:
        failed = partial(self._report, "a stream", connection.peer_id)
        await guarded(self._serve, connection, violations, raw, slot, failed=failed)

    async def _serve(
        self,
        connection: Connection,
        violations: TokenBucket,
        raw: MuxedStream,
        slot: StreamReservation,
    ) -> None:
        with slot:
            try:
                negotiated = await self._negotiate(connection, raw, slot)
                served = negotiated is not None and await self._handle(*negotiated)
            except BaseException:
                raw.reset()
                raise
            if not served:
                await self._count_violation(connection, violations)

    async def _negotiate(
        self, connection: Connection, raw: MuxedStream, slot: StreamReservation
    ) -> tuple[Handler, Stream] | None:
        """Agree on a protocol, or reset the stream."""
        code = StreamCode.PROTOCOL_NEGOTIATION_FAILED
        limited = connection.is_limited

        def find(protocol: str) -> Handler | None:
            return self._handlers.find(protocol, limited=limited)

        listener = Listener(lambda protocol: find(protocol) is not None, self._handlers.protocols)
        try:
            with trio.fail_after(self._limits.negotiation_timeout):
                while listener.selected is None:
                    data = await raw.receive_some(_RECEIVE)
                    if not data:
                        raise NegotiationError("the peer closed the stream before a proposal")
                    listener.receive(data)
                    if listener.selected is None and (output := listener.take_output()):
                        await raw.send_all(output)
                handler = find(listener.selected)
                assert handler is not None
                slot.negotiated(
                    listener.selected, service=handler.service, per_peer=handler.streams_per_peer
                )
                # A lazy dialer may have sent its message and stopped reading.
                with suppress(trio.BrokenResourceError):
                    await raw.send_all(listener.take_output())
        except (CarrickError, trio.BrokenResourceError, trio.TooSlowError) as error:
            if isinstance(error, ResourceLimitExceeded):
                code = StreamCode.RESOURCE_LIMIT_EXCEEDED
            raw.reset(code)
            peer = connection.peer_id
            self._log.log(logging.DEBUG, "negotiation", peer, "stream of %s: %s", peer, error)
            return None
        stream = connection.adopt(raw, listener.selected, slot, received=listener.rest)
        return handler, stream

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
        return not any(isinstance(error, _PEERS_FAULT) for error in errors)

    def _handler_failed(self, stream: Stream, error: Exception) -> None:
        if isinstance(error, _PEERS_FAULT):
            self._log.log(
                logging.DEBUG, "stream", stream.peer_id, "%r: %s", stream, error or type(error)
            )
        else:
            self._report(f"handler of {stream.protocol}", stream.peer_id, error)

    # --- misbehaviour and defects -----------------------------------------------------------------

    async def _count_violation(self, connection: Connection, violations: TokenBucket) -> None:
        if not violations.take(trio.current_time()):
            await connection.aclose(
                ConnectionCode.GOAWAY_PROTOCOL_ERROR, reason="too many failed streams"
            )

    def _report(self, what: str, peer: object, error: Exception) -> None:
        self._log.log(logging.ERROR, what, peer, "%s failed with %s", what, peer, error=error)
