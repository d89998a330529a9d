"""TCP (RFC 9293), as much of it as programs can observe, in large segments.

What a real TCP learns by acknowledgements and time-outs, a sender here is told: a lost segment
comes back to its connection, which sends it again after a retransmission time. So the bytes of a
connection need no acknowledgement of their own; only windows and handshakes travel back. There is
no congestion control: windows and bandwidth bound what is under way.
"""

from __future__ import annotations

import enum
import errno
import os
from collections import deque
from math import inf
from typing import TYPE_CHECKING

import trio

from carrick.sim.packet import ACK, FIN, PSH, RST, SYN, TCP, Endpoint, Packet
from carrick.sim.waiting import Waiter

if TYPE_CHECKING:
    from carrick.sim.listener import TcpListener
    from carrick.sim.stack import Stack

__all__ = ["TcpConnection"]

MAX_SEGMENT = 65_000  # bytes of payload: an IP packet has at most 65,535
MIN_SEGMENT = 1440  # bytes; what fits the MTU of 1500, for IPv6 too
SEGMENT_TIME = 0.005  # s that a full segment may keep a link of limited bandwidth busy
SYN_TIMEOUT = 1.0  # s until the first SYN is sent again, then 2, 4, … (RFC 6298, section 2)
SYN_RETRIES = 6  # Linux tcp_syn_retries; gives up after 127 s
SYNACK_RETRIES = 5  # Linux tcp_synack_retries
RETRIES = 15  # Linux tcp_retries2
MIN_RTO = 0.2  # s (Linux TCP_RTO_MIN)
MAX_RTO = 120.0  # s (Linux TCP_RTO_MAX)
LINGER = 60.0  # s that a closed connection is remembered (Linux tcp_fin_timeout, TIME_WAIT)


class State(enum.Enum):
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    GONE = "CLOSED"


class TcpConnection:
    """One end of a TCP connection; the calls of `ByteSocket`.

    Attributes:
        local, remote: the endpoints.
        state: where the handshake stands; ESTABLISHED until both directions have ended.
    """

    __slots__ = (
        "_advertised",
        "_attempts",
        "_closed",
        "_consumed",
        "_early",
        "_eof",
        "_error",
        "_fin_sent",
        "_listener",
        "_peer_start",
        "_readable",
        "_received",
        "_rto",
        "_segment",
        "_send_limit",
        "_send_next",
        "_stack",
        "_started",
        "_taken",
        "_writable",
        "local",
        "remote",
        "state",
    )

    def __init__(
        self, stack: Stack, local: Endpoint, remote: Endpoint, listener: TcpListener | None = None
    ) -> None:
        self.local = local
        self.remote = remote
        self.state = State.SYN_SENT
        self._stack = stack
        self._listener = listener
        self._send_next = stack.initial_sequence()
        self._send_limit = 0
        self._peer_start = 0  # sequence number of the peer's first byte
        self._taken = 0  # bytes and FIN taken from the peer, in order
        self._consumed = 0  # bytes that the program read
        self._advertised = 0  # the limit that the peer knows
        self._received: deque[memoryview] = deque()
        self._early: dict[int, Packet] | None = None  # segments that overtook others
        self._eof = False
        self._fin_sent = False
        self._closed = False
        self._error = 0
        self._attempts = 0
        self._started = trio.current_time()
        self._rto = SYN_TIMEOUT
        bandwidth = stack.bandwidth_from(local[0])
        self._segment = (
            MAX_SEGMENT
            if bandwidth == inf
            else min(MAX_SEGMENT, max(MIN_SEGMENT, int(bandwidth * SEGMENT_TIME)))
        )
        self._readable = Waiter()
        self._writable = Waiter()

    # --- what programs call -----------------------------------------------------------------------

    def recv_into(self, buffer: memoryview) -> int | None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        received = self._received
        if not received:
            if self._error:
                raise self._take_error()
            return 0 if self._eof or self.state is State.GONE else None
        room = len(buffer)
        done = 0
        while received and done < room:
            piece = received[0]
            size = len(piece)
            if size > room - done:
                size = room - done
                buffer[done : done + size] = piece[:size]
                received[0] = piece[size:]
            else:
                buffer[done : done + size] = piece
                received.popleft()
            done += size
        self._consumed += done
        if not self._eof and self.state is State.ESTABLISHED:
            window = self._stack.window
            if self._window_limit() - self._advertised >= window // 2:
                self._emit(ACK)
        return done

    def send(self, data: memoryview) -> int | None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._error:
            raise self._take_error()
        if self._fin_sent or self.state is State.GONE:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.state is not State.ESTABLISHED:
            return None
        size = min(len(data), self._send_limit - self._send_next)
        if size <= 0:
            return None if len(data) else 0
        for start in range(0, size, self._segment):
            self._emit(ACK | PSH, bytes(data[start : min(size, start + self._segment)]))
        return size

    async def wait_readable(self) -> None:
        self._require_open()
        if self._received or self._eof or self._error or self.state is State.GONE:
            await trio.lowlevel.checkpoint()
            self._require_open()
            return
        await self._readable.wait()
        self._require_open()

    async def wait_writable(self) -> None:
        self._require_open()
        if (
            self._error
            or self.state is State.GONE
            or self._fin_sent
            or (self.state is State.ESTABLISHED and self._send_next < self._send_limit)
        ):
            await trio.lowlevel.checkpoint()
            self._require_open()
            return
        await self._writable.wait()
        self._require_open()

    async def connected(self) -> None:
        """Wait for the handshake's end.

        Raises:
            OSError: ECONNREFUSED, ETIMEDOUT, …
        """
        await trio.lowlevel.checkpoint()
        while self.state in (State.SYN_SENT, State.SYN_RECEIVED) and not self._closed:
            await self._writable.wait()
        self._require_open()
        if self._error:
            raise self._take_error()

    def shut_down(self) -> None:
        """End our direction: the peer reads everything, then end of file. Idempotent.

        Raises:
            OSError: ENOTCONN, there is no connection.
        """
        if self._fin_sent:
            return
        if self.state is not State.ESTABLISHED:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        self._fin_sent = True
        self._emit(ACK | FIN)
        self._writable.wake()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.state is State.ESTABLISHED:
            if self._received:  # the peer is told that somebody did not read (RFC 2525, 2.17)
                self._reset()
            else:
                if not self._fin_sent:
                    self._fin_sent = True
                    self._emit(ACK | FIN)
                self._stack.events.call_later(LINGER, self._forget)
        elif self.state is not State.GONE:
            if self.state is State.SYN_RECEIVED:
                self._reset()
            self._forget()
        self._wake()

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.state in (State.ESTABLISHED, State.SYN_RECEIVED):
            self._reset()
        self._forget()
        self._wake()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def has_input(self) -> bool:
        """Whether `recv_into` would not have to wait."""
        return bool(self._received or self._eof or self._error or self.state is State.GONE)

    @property
    def pending(self) -> int:
        """Bytes that wait to be read, and at most two more."""
        return self._taken - self._consumed

    @property
    def is_over(self) -> bool:
        """Whether another connection may take these endpoints."""
        return self._closed or self.state is State.GONE

    # --- what the stack calls ---------------------------------------------------------------------

    def start(self) -> None:
        """Send the first SYN."""
        self._send_next += 1
        self._send_syn()

    def answer(self, syn: Packet) -> None:
        """Accept a peer's SYN, as the listening side or in a simultaneous open."""
        if self.state is State.SYN_SENT and self._listener is not None:
            self._send_next += 1
        self.state = State.SYN_RECEIVED
        self._peer_start = syn.seq + 1
        self._emit_at(SYN | ACK, self._send_next - 1)

    def receive(self, packet: Packet) -> None:
        """A segment for this connection arrived."""
        flags = packet.flags
        if flags & RST:
            if self._is_meant(packet):
                self._on_reset()
            return
        if self.state is State.ESTABLISHED:
            if flags & SYN:
                self._emit(ACK)  # RFC 5961, section 4; also ends a simultaneous open
                return
        elif not self._shake_hands(packet):
            return
        if packet.limit > self._send_limit:
            self._send_limit = packet.limit
            self._writable.wake()
        if packet.payload or flags & FIN:
            self._take(packet)

    def on_lost(self, packet: Packet) -> None:
        """A segment of ours was lost: send it again later."""
        if self.state is State.GONE:
            return
        packet.attempts += 1
        shaking = self.state is State.SYN_RECEIVED
        if packet.attempts > (SYNACK_RETRIES if shaking else RETRIES):
            self._fail(errno.ETIMEDOUT)
            return
        delay = min(self._rto * 2 ** (packet.attempts - 1), MAX_RTO)
        self._stack.events.call_later(delay, self._send_again, packet)

    def vanish(self) -> None:
        """The host is gone; nobody is told."""
        self._closed = True
        self._forget()
        self._wake()

    # --- inside -----------------------------------------------------------------------------------

    def _shake_hands(self, packet: Packet) -> bool:
        """Whether the connection stands now, and `packet` is to be read further."""
        flags = packet.flags
        if self.state is State.SYN_SENT:
            if flags & SYN and flags & ACK:
                self._peer_start = packet.seq + 1
                self._establish(packet)
                self._emit(ACK)
                return True
            if flags & SYN:
                self.answer(packet)
            else:  # the peer is in an older connection between these endpoints
                self._stack.refuse(packet)
            return False
        if self.state is State.SYN_RECEIVED:
            if flags & ACK:
                self._establish(packet)
                return True
            # The peer did not get our answer in time.
            self._emit_at(SYN | ACK, self._send_next - 1)
        return False

    def _establish(self, packet: Packet) -> None:
        self.state = State.ESTABLISHED
        round_trip = trio.current_time() - self._started
        self._rto = MIN_RTO + min(round_trip, 1.0)
        self._send_limit = packet.limit
        self._writable.wake()
        if self._listener is not None:
            self._listener.established(self)

    def _take(self, packet: Packet) -> None:
        if self._closed:
            if packet.payload:  # nobody will read it (RFC 9293, section 3.6.1)
                self._reset()
            elif self._fin_sent and packet.seq == self._peer_start + self._taken:
                self._taken += 1
                self._eof = True
            return
        expected = self._peer_start + self._taken
        if packet.seq != expected:
            if packet.seq > expected:
                if self._early is None:
                    self._early = {}
                self._early[packet.seq] = packet
            return
        self._append(packet)
        while self._early and (following := self._early.pop(self._peer_start + self._taken, None)):
            self._append(following)
        self._readable.wake()

    def _append(self, packet: Packet) -> None:
        if packet.payload:
            self._received.append(memoryview(packet.payload))
            self._taken += len(packet.payload)
        if packet.flags & FIN:
            self._taken += 1
            self._eof = True

    def _is_meant(self, reset: Packet) -> bool:
        """Whether a RST is for this connection, and not for an older one between these endpoints
        (RFC 9293, sections 3.10.7.3 and 3.10.7.4)."""
        if self.state is State.SYN_SENT:
            return bool(reset.flags & ACK) and reset.ack == self._send_next
        return self._peer_start + self._taken <= reset.seq <= self._advertised + 1  # for a FIN

    def _on_reset(self) -> None:
        if self.state is State.SYN_SENT:
            self._fail(errno.ECONNREFUSED)
        else:
            self._fail(errno.ECONNRESET)

    def _fail(self, code: int) -> None:
        listener = self._listener if self.state is State.SYN_RECEIVED else None
        self._error = code
        self._forget()
        if listener is not None:
            listener.failed(self)
        self._wake()

    def _forget(self) -> None:
        self.state = State.GONE
        self._stack.forget(self)

    def _reset(self) -> None:
        self._emit_at(RST | ACK, self._send_next)
        self._forget()

    def _send_syn(self) -> None:
        if self.state is not State.SYN_SENT:
            return
        if self._attempts > SYN_RETRIES:
            self._fail(errno.ETIMEDOUT)
            return
        delay = SYN_TIMEOUT * 2**self._attempts
        self._attempts += 1
        self._stack.events.call_later(delay, self._send_syn)
        self._emit_at(SYN, self._send_next - 1)

    def _send_again(self, packet: Packet) -> None:
        if self.state is not State.GONE:
            packet.source, packet.destination = self.local, self.remote
            self._route(packet)

    def _emit(self, flags: int, payload: bytes = b"") -> None:
        """Send the next segment in order."""
        seq = self._send_next
        self._send_next = seq + len(payload) + (1 if flags & FIN else 0)
        self._emit_at(flags, seq, payload)

    def _emit_at(self, flags: int, seq: int, payload: bytes = b"") -> None:
        # A SYN has a timer of its own, and nobody repeats a RST.
        origin = None if flags == SYN or flags & RST else self
        self._route(Packet(TCP, self.local, self.remote, flags, payload, seq=seq, origin=origin))

    def _route(self, packet: Packet) -> None:
        if packet.flags & ACK:
            packet.ack = self._peer_start + self._taken
            packet.limit = self._window_limit()
            self._advertised = max(self._advertised, packet.limit)
        self._stack.send(packet)

    def _window_limit(self) -> int:
        return self._peer_start + self._consumed + self._stack.window

    def _take_error(self) -> OSError:
        code, self._error = self._error, 0
        return OSError(code, os.strerror(code))

    def _require_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the socket was closed")

    def _wake(self) -> None:
        self._readable.wake()
        self._writable.wake()
