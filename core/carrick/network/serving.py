"""Carries one connection: its data, its inbound streams, its steps."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

import trio

from carrick.network.connection import Connection
from carrick.network.firewall import LimitedLog, guarded
from carrick.network.handlers import Handlers
from carrick.network.inbound import PEERS_FAULT, InboundStreams
from carrick.network.limits import Limits

__all__ = ["ConnectionServer", "ConnectionStep"]

ConnectionStep: TypeAlias = Callable[[Connection], Awaitable[None]]
"""What a new connection passes before it is announced, such as identify."""


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
        failed = partial(self._report, "a connection", connection.peer_id)
        async with trio.open_nursery() as nursery:
            connection.nursery = nursery
            nursery.start_soon(self._accept_streams, connection, nursery)
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

    async def _accept_streams(self, connection: Connection, nursery: trio.Nursery) -> None:
        inbound = InboundStreams(connection, self._handlers, self._limits, self._log, self._report)
        failed = partial(self._report, "accepting streams", connection.peer_id)
        if not await guarded(inbound.accept, nursery, failed=failed):
            connection.abort(reason="internal error")

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
        if isinstance(error, PEERS_FAULT):
            self._log.log(logging.DEBUG, "step", peer, "connection step with %s: %s", peer, error)
        else:
            self._report("connection step", peer, error)

    # --- defects ----------------------------------------------------------------------------------

    def _report(self, what: str, peer: object, error: Exception) -> None:
        self._log.log(logging.ERROR, what, peer, "%s failed with %s", what, peer, error=error)
