"""The ping service: 32 random bytes there and back. Source: libp2p/specs, ping/ping.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.errors import PeerTimeout, ProtocolError
from carrick.host import Host
from carrick.identity import PeerId
from carrick.network import Connection, Stream

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["ID", "PAYLOAD_SIZE", "Ping", "PingOptions"]

ID = "/ipfs/ping/1.0.0"
PAYLOAD_SIZE = 32  # bytes

_TOLERANCE = 1.0  # s; a deadline late enough is left alone: to move it takes 5 µs of each ping
_READ = 128 * PAYLOAD_SIZE  # bytes echoed at once to a peer that sends many payloads ahead

PingTarget: TypeAlias = Connection | PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class PingOptions:
    """Deadlines, in seconds.

    Attributes:
        timeout: of a ping of ours, opening its stream included.
        idle_timeout: how long a peer may hold a stream without sending a whole payload.
        write_timeout: how long a peer may leave its echo unread.
    """

    timeout: float = 10.0  # go-libp2p p2p/protocol/ping/ping.go
    idle_timeout: float = 60.0  # ATTACKS row 33
    write_timeout: float = 10.0  # ATTACKS promise 6


class _Session:
    """Our pinging of one peer: one stream, whoever shares it (the specification's MUST NOT)."""

    def __init__(self) -> None:
        self.users = 0
        self.turn = trio.Lock()
        self.stream: Stream | None = None
        """The stream of the last ping, which went well."""


class Ping:
    """Answers pings, and pings."""

    def __init__(self, options: PingOptions | None = None) -> None:
        self.options = options or PingOptions()
        self._host: Host
        self._sessions: dict[PeerId, _Session] = {}

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Register; there is nothing to do in the background."""
        self._host = host
        host.handle(ID, self._echo, allow_limited=True)
        task_status.started()

    # --- pinging ----------------------------------------------------------------------------------

    async def ping_once(self, target: PingTarget) -> float:
        """The round-trip time to a peer, in seconds.

        Args:
            target: a connection, or a peer: on its best connection, made if there is none.

        Raises:
            PeerTimeout: no echo in time.
            ProtocolError: the echo is wrong.
            ProtocolNotSupported, DialError, StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        async with self._session(target) as session:
            return await self._in_turn(session, target)

    async def ping(
        self, target: PingTarget, *, count: int | None = None, interval: float = 1.0
    ) -> AsyncGenerator[float, None]:
        """Ping again and again: ``async for rtt in ping.ping(peer, count=5): …``.

        The first failure ends the iteration with its error (as in `ping_once`). To go on after a
        failure, call again.

        Args:
            count: how often; None for ever.
            interval: from the start of one ping to that of the next, in seconds.
        """
        async with self._session(target) as session:
            done = 0
            while count is None or done < count:
                started = trio.current_time()
                yield await self._in_turn(session, target)
                done += 1
                if done != count and interval:
                    await trio.sleep_until(started + interval)

    @asynccontextmanager
    async def _session(self, target: PingTarget) -> AsyncGenerator[_Session, None]:
        peer = _peer_of(target)
        session = self._sessions.setdefault(peer, _Session())
        session.users += 1
        try:
            yield session
        finally:
            session.users -= 1
            if not session.users:
                del self._sessions[peer]
                if session.stream is not None:
                    await session.stream.aclose()

    async def _in_turn(self, session: _Session, target: PingTarget) -> float:
        try:
            session.turn.acquire_nowait()  # without the checkpoint of `acquire`
        except trio.WouldBlock:
            await session.turn.acquire()
        try:
            return await self._measure(session, target)
        finally:
            session.turn.release()

    async def _measure(self, session: _Session, target: PingTarget) -> float:
        """One ping; one more on a new stream where the peer has ended the one before.

        js ends each stream after 10 s, go after 30 s, however busy it is.
        """
        payload = self._host.rng.randbytes(PAYLOAD_SIZE)
        timeout = self.options.timeout
        stream, session.stream = session.stream, None
        try:
            with trio.move_on_after(timeout):
                if stream is not None and target in (stream.connection, stream.peer_id):
                    try:
                        rtt = await _exchange(stream, payload)
                        session.stream = stream
                        return rtt
                    except (trio.BrokenResourceError, _StreamEnded):
                        pass
                if stream is not None:
                    stream.reset()
                stream = await self._host.open_stream(
                    target, ID, allow_limited=True, timeout=timeout
                )
                rtt = await _exchange(stream, payload)
                session.stream = stream
                return rtt
            raise PeerTimeout(f"no echo within {timeout:g} s", peer=_peer_of(target), protocol=ID)
        except BaseException:
            if stream is not None:
                stream.reset()
            raise

    # --- being pinged -----------------------------------------------------------------------------

    async def _echo(self, stream: Stream) -> None:
        """Echo whole payloads until the peer ends the stream; a rest of one is dropped."""
        idle_timeout = self.options.idle_timeout
        write_timeout = min(self.options.write_timeout, idle_timeout)
        waiting = bytearray()
        sending = False
        deadline = idle_until = trio.current_time() + idle_timeout
        while True:
            with trio.CancelScope(deadline=deadline) as patience:
                while data := await stream.receive_some(_READ):
                    waiting += data
                    whole = len(waiting) - len(waiting) % PAYLOAD_SIZE
                    if not whole:
                        continue
                    now = trio.current_time()
                    idle_until = now + idle_timeout
                    if not -_TOLERANCE <= deadline - now - write_timeout <= 0:
                        patience.deadline = deadline = now + write_timeout
                    sending = True
                    await stream.send_all(bytes(waiting[:whole]))
                    sending = False
                    del waiting[:whole]
                return
            if sending:
                raise PeerTimeout("a peer does not read its echo", peer=stream.peer_id, protocol=ID)
            if deadline >= idle_until:
                raise PeerTimeout("an idle ping stream", peer=stream.peer_id, protocol=ID)
            deadline = idle_until


class _StreamEnded(ProtocolError):
    """The peer ended the stream instead of an echo."""


async def _exchange(stream: Stream, payload: bytes) -> float:
    sent = trio.current_time()
    await stream.send_all(payload)
    echo = b""
    while len(echo) < PAYLOAD_SIZE:
        data = await stream.receive_some(PAYLOAD_SIZE - len(echo))
        if not data:
            raise _StreamEnded("the peer ended the stream instead of an echo", peer=stream.peer_id)
        echo += data
    rtt = trio.current_time() - sent
    if echo != payload:
        raise ProtocolError("the echo of a ping is not what was sent", peer=stream.peer_id)
    return rtt


def _peer_of(target: PingTarget) -> PeerId:
    return target if isinstance(target, PeerId) else target.peer_id
