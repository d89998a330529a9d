"""The data path of a byte-stream connection: one reader, one pump.

The reader receives, opens records, feeds the muxer and wakes streams, without awaiting in
between. Whoever has something to send calls `flush`, which seals what the muxer has and sends it
at once. Only when the socket is full does the pump task take over: so the reader never waits for
a write, and a cancelled sender never leaves a part of a record behind.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from carrick.errors import CarrickError, ConnectionClosed, MuxerError, ProtocolError
from carrick.interfaces import ByteSocket, Muxer, Role, Session
from carrick.transports.bytestream.buffers import HEAD_ROOM, shared_buffers
from carrick.transports.bytestream.output import Output
from carrick.transports.bytestream.stream import ByteStream
from carrick.transports.multistream import Dialer

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId, PublicKey

__all__ = ["ByteStreamConnection"]

logger = logging.getLogger(__name__)

FAIR_SHARE = 256 * 1024  # bytes that one connection handles before others get their turn
STALL_TIMEOUT = 10.0  # s that a write may stand still (go-yamux: 10 s)
RELIEF_TIMEOUT = 8.0  # s that unread input may stand still: before the peer's write gives up
CLOSE_TIMEOUT = 1.0  # s that a graceful close may take to flush
INTERNAL_ERROR = 2  # GoAway code of the yamux specification
STREAK = 0.001  # s after a small write in which the next one waits for company
MAX_TICKS = 8  # of the event loop that it waits at most
SHORT = 16 * 1024  # bytes; a shorter receive leaves the socket empty, nearly always


class ByteStreamConnection:
    """An authenticated, multiplexed connection over one `ByteSocket`.

    See `carrick.interfaces.MuxedConnection`.

    Args:
        sealed: received bytes that belong to the first records.
        plain: received plaintext that belongs to the muxer.
        unsent: the end of our handshake; it leaves with the first records, or when `run` begins.
    """

    def __init__(
        self,
        socket: ByteSocket,
        session: Session,
        muxer: Muxer,
        *,
        role: Role,
        security: str,
        local_address: Multiaddr,
        remote_address: Multiaddr,
        is_limited: bool = False,
        sealed: bytes = b"",
        plain: bytes = b"",
        unsent: bytes = b"",
    ) -> None:
        self.peer_id: PeerId = session.peer_id
        self.public_key: PublicKey = session.public_key
        self.local_address = local_address
        self.remote_address = remote_address
        self.role = role
        self.security = security
        self.is_limited = is_limited
        self._socket = socket
        self._records = session.records
        self._muxer = muxer
        self._feed: Callable[[bytes], None] = muxer.feed
        self._early = plain
        self._tail = sealed
        self._acceptors = trio.lowlevel.ParkingLot()
        self._buffers = shared_buffers()
        self._output = Output(socket, session.records, muxer, self._buffers, unsent)
        self._pumping = False  # the socket is full: only the pump sends
        self._pump_task: trio.lowlevel.Task | None = None  # the pump while it sleeps
        self._taking_turn = True  # somebody will flush in the next ticks: at first the pump
        self._streak_until = -math.inf  # until when a small write is one of many
        self._joined = 0  # writes that wait for company
        self._drained: trio.Event | None = None
        self._relieved: trio.Event | None = None
        self._scope = trio.CancelScope()  # that of `run`, once it runs
        self._timer_scope: trio.CancelScope | None = None
        self._armed = False  # the pump wakes at some time: none that comes up later is earlier
        self._closing = False
        self._lost: str | None = None  # why nothing can be sent any more
        self._closed_by: ConnectionClosed | None = None
        self.on_end: Callable[[ConnectionClosed], None] | None = None
        self.bytes_received = 0  # sealed, since the upgrade

    def negotiate_lazily(self, negotiation: Dialer) -> None:
        """Propose the muxer, do not wait for the answer, and check it when it comes."""
        self._output.prelude = negotiation.take_output()

        def feed(plain: bytes) -> None:
            if negotiation.selected is not None:  # later records of the same piece
                self._muxer.feed(plain)
                return
            negotiation.receive(plain)
            if negotiation.selected is not None:
                self._feed = self._muxer.feed
                if negotiation.rest:
                    self._muxer.feed(negotiation.rest)

        self._feed = feed
        self.flush()

    # --- what it is -------------------------------------------------------------------------------

    @property
    def muxer(self) -> str:
        return self._muxer.id

    @property
    def rtt(self) -> float | None:
        return self._muxer.rtt

    @property
    def closed(self) -> bool:
        return self._closed_by is not None

    @property
    def bytes_sent(self) -> int:
        """Sealed, since the upgrade."""
        return self._output.bytes_sent

    @property
    def stream_count(self) -> int:
        return self._muxer.stream_count

    def closed_error(self) -> ConnectionClosed:
        """A fresh error that says how the connection ended."""
        by = self._closed_by or ConnectionClosed("the connection is closing")
        return ConnectionClosed(by.message, code=by.code, remote=by.remote, peer=self.peer_id)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__} {state} {self.peer_id} at {self.remote_address}>"

    # --- streams ----------------------------------------------------------------------------------

    async def open_stream(self) -> ByteStream:
        await trio.lowlevel.checkpoint_if_cancelled()  # the stream's first use is a checkpoint
        if self.closed or self._closing:
            raise self.closed_error()
        return ByteStream(self, self._muxer.open())

    async def accept_stream(self) -> ByteStream:
        await trio.lowlevel.checkpoint_if_cancelled()
        while (core := self._muxer.accept()) is None:
            if self.closed:
                raise self.closed_error()
            await self._acceptors.park()
        self.flush_soon()
        return ByteStream(self, core)

    # --- life -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry the connection until it ends; never raises, whatever the peer does."""
        try:
            async with trio.open_nursery() as nursery:
                before, self._scope = self._scope, nursery.cancel_scope
                if before.cancel_called:
                    self._scope.cancel()
                self._scope.deadline = before.deadline
                nursery.start_soon(self._pump)
                with suppress(trio.ClosedResourceError):  # we have closed it
                    await self._read()
                self._end("the connection was closed")
        except* CarrickError as group:
            self._fail(_first(group))
        except* OSError as group:
            self._end(f"the connection was lost: {_first(group)}", remote=True)
        except* trio.ClosedResourceError:
            self._end("the connection was closed")
        except* Exception as group:
            # A defect of ours in one connection must not end the node.
            logger.error("connection %s failed", self, exc_info=_first(group))
            self._end("internal error", code=INTERNAL_ERROR)
        finally:
            self._end(self._lost or "the connection was closed", remote=self._lost is not None)

    async def aclose(self, code: int = 0) -> None:
        """Send GoAway, flush for at most a second, end."""
        if self.closed or self._closing:
            await trio.lowlevel.checkpoint()
            return
        self._closing = True
        try:
            self._muxer.close(code)
            self.flush()
            if not self._lost and self._output.waits():
                self._drained = trio.Event()
                with trio.move_on_after(CLOSE_TIMEOUT):
                    await self._drained.wait()
            else:
                await trio.lowlevel.checkpoint()
        finally:
            self._end("we closed the connection", code=code)

    def abort(self, code: int = 0) -> None:
        """End at once, without a word to the peer."""
        if not self.closed:
            self._socket.abort()
            self._end("the connection was aborted", code=code)

    def _fail(self, error: BaseException) -> None:
        """The peer broke the protocol, or our muxer gave up: say so with GoAway if that is free."""
        if self.closed:
            return
        code = error.code if isinstance(error, MuxerError) else 1
        self._muxer.close(code)
        if not self._pumping:
            try:
                if self._output.seal():
                    self._output.send()
            except (CarrickError, OSError) as failure:
                logger.debug("no GoAway to %s: %s", self.peer_id, failure)
        self._end(str(error), code=code)

    def _end(self, reason: str, *, code: int = 0, remote: bool = False) -> None:
        if self._closed_by is not None:
            return
        if remote and self._muxer.remote_close_code is not None:
            code = self._muxer.remote_close_code
        self._closed_by = ConnectionClosed(reason, code=code, remote=remote)
        try:
            self._muxer.abandon(code, remote=remote)
            self._wake()
            if not remote and not self._pumping and (goodbye := self._records.closing()):
                self._socket.send(memoryview(goodbye))
        except OSError as error:
            logger.debug("no goodbye to %s: %s", self.peer_id, error)
        finally:  # whatever a part of ours does: the socket is not left open, and nobody waits
            self._acceptors.unpark_all()
            if self._drained is not None:
                self._drained.set()
            self._socket.close()  # ends the reader, if it waits for bytes
            self._output.discard()
            if self._pump_task is None or self._relieved is not None:
                self._scope.cancel()
            else:  # it looks, and ends: no exception passes through tasks
                self._wake_pump()
            if self.on_end is not None:
                self.on_end(self._closed_by)

    # --- receiving --------------------------------------------------------------------------------

    async def _read(self) -> None:
        buffers = self._buffers
        socket, muxer = self._socket, self._muxer
        if self._early:
            muxer.tick(trio.current_time())
            muxer.feed(self._early)
            self._early = b""
        if self._tail:
            self._open(memoryview(self._tail), 0, len(self._tail))
        else:
            muxer.tick(trio.current_time())
            self._wake()  # what the muxer has to say rides with the first bytes, or the pump has it
        handled = 0
        await socket.wait_readable()  # the upgrade has read what was there
        while True:
            if muxer.overloaded:
                await self._relief()
            # In a turn no more than a stream's reader takes in one: mplex has no windows.
            received = socket.recv_into(buffers.body[: FAIR_SHARE - handled])
            if received is None:
                await socket.wait_readable()
                handled = 0
                continue
            if received == 0:
                self._end("the peer closed the connection", remote=True)
                return
            self.bytes_received += received
            if self._tail:
                lo = buffers.prepend(self._tail)
                self._tail = b""
            else:
                lo = HEAD_ROOM
            if self._pump_task is not None:
                self._streak_until = -math.inf  # the peer answers: nobody just sends and sends
            self._open(buffers.scratch, lo, HEAD_ROOM + received)
            handled += received
            if received < SHORT:
                await socket.wait_readable()
                handled = 0
            elif handled >= FAIR_SHARE:
                await trio.lowlevel.checkpoint()
                handled = 0

    def _open(self, buffer: memoryview, lo: int, hi: int) -> None:
        """Open the complete records of `buffer[lo:hi]`, deliver them, keep the rest."""
        self._muxer.tick(trio.current_time())
        if self._muxer.has_data():
            self.flush()  # an end of file that waits must not become a reset by what comes in
        lo = self._records.open_all(buffer, lo, hi, self._feed)
        self._tail = bytes(buffer[lo:hi]) if lo < hi else b""
        if self._muxer.has_data():
            self.flush()
        else:
            self._wake()
            self.flush_soon()  # a pong rides with what those send who were woken

    async def _relief(self) -> None:
        """Wait until unread input or unsent output is below its bound again."""
        while self._muxer.overloaded:
            self._relieved = trio.Event()
            with trio.move_on_after(RELIEF_TIMEOUT) as waiting:
                await self._relieved.wait()
            self._relieved = None
            if waiting.cancelled_caught and self._muxer.overloaded:
                self._muxer.on_stall()
                self.flush()

    def after_take(self) -> None:
        """A stream took bytes: window may have to be granted, and the reader may go on."""
        if not self._taking_turn and self._muxer.has_output():
            self._wake_pump()
        if self._relieved is not None:
            self._check_relief()

    def _check_relief(self) -> None:
        if self._relieved is not None and not self._muxer.overloaded:  # the reader waits for it
            self._relieved.set()

    def _wake(self) -> None:
        """Wake whom the muxer's changes concern, the reader among them."""
        for core in self._muxer.touched():
            if core.owner is not None:
                core.owner.wake()
            elif self._acceptors:
                self._acceptors.unpark()
        if self._relieved is not None:
            self._check_relief()

    # --- sending ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Seal and send one batch of what the muxer has, without waiting; wake who it concerns."""
        if not (self._pumping or self._lost or self._closed_by is not None):
            try:
                output = self._output
                if output.seal():
                    if not self._armed:
                        self._arm_timer()
                    if not output.send() or output.more:
                        self._pumping = True
                        self._wake_pump()
            except OSError as error:
                self._lose(error)
            except ProtocolError as error:
                self._end(f"the connection was lost: {error}")
        self._wake()

    async def flush_in_turn(self) -> None:
        """Flush, with the scheduling point that a send owes trio.

        The first one of a tick flushes before it, so that a lone sender is not delayed, and once
        more behind it, for all others of that tick: their bytes share records and sends.
        """
        if self._taking_turn:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self.flush()
            return
        self._taking_turn = True
        self._streak_until = trio.current_time() + STREAK
        try:
            self.flush()
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._taking_turn = False
        if self._muxer.has_output():
            self.flush()

    def begin_streak(self) -> None:
        """A small write is sent: should others follow closely, they may join."""
        self._streak_until = trio.current_time() + STREAK

    def joins(self) -> bool:
        """A small write need not be flushed: the first of this tick flushes for all, or many follow
        each other, and the pump sends them together."""
        if self._pumping or self._lost:
            return False
        if not self._taking_turn:
            if self._streak_until < 0 or trio.current_time() >= self._streak_until:
                return False
            self._joined += 1
            self._wake_pump()
        return True

    def flush_soon(self) -> None:
        """Have what the muxer has sent three ticks later, if nobody sends anything before.

        For what can ride with the next bytes: the end of a stream, a pong, an answer whose stream
        is read next.
        """
        if not self._taking_turn and self._muxer.has_output():
            self._wake_pump()

    def _wake_pump(self) -> None:
        if (pump := self._pump_task) is not None:
            self._pump_task = None
            trio.lowlevel.reschedule(pump)

    async def _sleep_pump(self) -> None:
        def abort(_: object) -> trio.lowlevel.Abort:
            self._pump_task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._pump_task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    def _lose(self, error: OSError) -> None:
        """Nothing can be sent any more. What the peer sent before is still read, for a moment."""
        self._lost = f"the connection was lost: {error}"
        self._scope.deadline = trio.current_time() + CLOSE_TIMEOUT
        self._output.discard()
        if self._drained is not None:
            self._drained.set()

    async def _pump(self) -> None:
        """Send what `flush` could not and what nobody flushed, and run the muxer's timers."""
        muxer = self._muxer
        await self._gather()
        self.flush()
        while True:
            deadline = muxer.next_deadline()
            with trio.CancelScope() as self._timer_scope:
                self._armed = deadline is not None
                if deadline is not None:
                    self._timer_scope.deadline = deadline
                while not (self._pumping or self.closed):
                    if not self._lost and self._output.waits():
                        await self._gather()
                        self.flush()
                    else:
                        await self._sleep_pump()
            self._timer_scope = None
            if self.closed:
                return
            if self._pumping:
                try:
                    await self._pump_out()
                except OSError as error:
                    self._lose(error)
                    return
            else:
                muxer.tick(trio.current_time())
                self.flush()

    async def _gather(self) -> None:
        """Let the next bytes take along what waits, and small writes gather while more come.

        In one tick handlers of new streams are started, in the next they say their first word.
        """
        self._taking_turn = True
        try:
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        finally:
            self._taking_turn = False
        for _ in range(1, MAX_TICKS, 2):
            if not self._joined:
                break
            self._joined = 0
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
        if self._joined:
            self._joined = 0
            self.begin_streak()

    async def _pump_out(self) -> None:
        """Send until nothing is left, then hand sending back to `flush`."""
        output = self._output
        while output.seal():
            while not output.send():
                with trio.move_on_after(STALL_TIMEOUT) as writing:
                    await self._socket.wait_writable()
                if writing.cancelled_caught:
                    self._socket.abort()
                    self._end("the peer stopped reading from the connection")
                    return
                # A peer that reads a byte now and then does not keep the timers from running.
                self._muxer.tick(trio.current_time())
            self._wake()
            await trio.lowlevel.checkpoint()
        self._pumping = False
        if self._drained is not None:
            self._drained.set()

    def _arm_timer(self) -> None:
        scope = self._timer_scope
        if scope is not None:
            deadline = self._muxer.next_deadline()
            if deadline is not None:
                self._armed = True
                scope.deadline = deadline


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
