"""The perf service: measures how fast bytes go to a peer and come from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.errors import PeerTimeout, ProtocolError, ResourceLimitExceeded
from carrick.host import Host
from carrick.identity import PeerId
from carrick.network import Connection, Stream
from carrick.protocols.perf.state import GUESS_AFTER, MAX_BYTES, Dialect, Server, request

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["ID", "Perf", "PerfOptions", "PerfResult", "Progress"]

ID = "/perf/1.0.0"

_ZEROS = memoryview(bytes(256 * 1024))  # larger writes are no faster: SPEED section 5

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many bytes have been uploaded and downloaded so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfOptions:
    """Bounds of what we serve, and how patient we are.

    Attributes:
        max_bytes: the most that a peer may upload, or ask for, on one stream.
        stall_timeout: seconds without progress that end a transfer, in either role.
    """

    max_bytes: int = MAX_BYTES
    stall_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class PerfResult:
    """What was measured. Times are in seconds, from opening the stream to the delivery of the last
    byte, as the other side confirms it."""

    upload_bytes: int
    upload_s: float
    download_bytes: int
    download_s: float


class Perf:
    """Serves `/perf/1.0.0`, and measures.

    No host runs it by default: it lets any peer make us send without end.
    """

    def __init__(self, options: PerfOptions | None = None) -> None:
        self.options = options or PerfOptions()
        self._host: Host

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Register; there is nothing to do in the background."""
        self._host = host
        host.handle(ID, self._serve)
        task_status.started()

    # --- measuring --------------------------------------------------------------------------------

    async def measure(
        self,
        target: Connection | PeerId,
        *,
        upload: int = 0,
        download: int = 0,
        progress: Progress = lambda uploaded, downloaded: None,
        dialect: Dialect = Dialect.SPEC,
    ) -> PerfResult:
        """Upload, then download, each on a stream of its own.

        Args:
            upload: bytes to send.
            download: bytes to receive.
            progress: called after each piece.
            dialect: `UT16` for the apps of libp2p/unified-testing in rust, .NET, lua and zig.

        Raises:
            PeerTimeout: no progress for `stall_timeout`.
            ProtocolError: the peer sent more or less than was asked for.
            ProtocolNotSupported, DialError, StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        upload_s = download_s = 0.0
        if upload:
            head = request(dialect, upload=upload, download=0)
            upload_s = await self._transfer(
                target, head, upload, 0, lambda sent, _: progress(sent, 0)
            )
        if download:
            head = request(dialect, upload=0, download=download)
            download_s = await self._transfer(
                target, head, 0, download, lambda _, received: progress(upload, received)
            )
        return PerfResult(upload, upload_s, download, download_s)

    async def _transfer(
        self,
        target: Connection | PeerId,
        head: bytes,
        upload: int,
        download: int,
        progress: Progress,
    ) -> float:
        started = trio.current_time()
        stream = await self._host.open_stream(target, ID)
        try:
            with self._patience(stream) as moved:
                await stream.send_all(head)
                await _send(stream, upload, moved, lambda sent: progress(sent, 0))
                await stream.send_eof()
                received = 0
                while views := await stream.receive_views():
                    received += sum(map(len, views))
                    if received > download:
                        break
                    moved()
                    progress(upload, received)
        except BaseException:
            stream.reset()
            raise
        if received != download:
            stream.reset()
            raise ProtocolError(
                f"the peer sent {received} bytes or more, {download} were asked for"
                if received > download
                else f"the peer sent {received} bytes of {download}",
                peer=stream.peer_id,
                protocol=ID,
            )
        taken = trio.current_time() - started
        await stream.aclose()
        return taken

    # --- serving ----------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        state = Server()

        async def receive() -> None:
            views = await stream.receive_views()
            for view in views:
                state.receive(view)
            if not views:
                state.end()

        with self._patience(stream) as moved:
            while state.reply is None:
                if state.undecided:
                    with trio.move_on_after(GUESS_AFTER) as guess:
                        await receive()
                    if guess.cancelled_caught:
                        state.silence()
                else:
                    await receive()
                self._check(state.received)
                moved()
            self._check(state.reply)
            await _send(stream, state.reply, moved)

    def _check(self, amount: int) -> None:
        if amount > self.options.max_bytes:
            raise ResourceLimitExceeded(
                scope="perf stream",
                limit="max_bytes",
                maximum=self.options.max_bytes,
                present=0,
                requested=amount,
            )

    @contextmanager
    def _patience(self, stream: Stream) -> Iterator[Callable[[], None]]:
        """Gives a function to call at each progress; without that the transfer ends.

        Raises:
            PeerTimeout: there was none for `stall_timeout`.
        """
        timeout = self.options.stall_timeout
        with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:

            def moved() -> None:
                scope.deadline = trio.current_time() + timeout

            yield moved
        if scope.cancelled_caught:
            raise PeerTimeout(f"no progress for {timeout:g} s", peer=stream.peer_id, protocol=ID)


async def _send(
    stream: Stream,
    size: int,
    moved: Callable[[], None],
    progress: Callable[[int], None] = lambda sent: None,
) -> None:
    sent = 0
    while sent < size:
        piece = _ZEROS[: size - sent]
        await stream.send_all(piece)
        sent += len(piece)
        moved()
        progress(sent)
