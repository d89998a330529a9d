"""TCP sockets of the operating system."""

from __future__ import annotations

import errno
import logging
import socket
import struct

import trio

from carrick.interfaces import Endpoint

__all__ = ["KernelListener", "KernelSocket"]

logger = logging.getLogger(__name__)

KEEPALIVE_IDLE = 30  # seconds until the first probe
KEEPALIVE_INTERVAL = 10
KEEPALIVE_PROBES = 3
_KEEPALIVE = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    )
    if hasattr(socket, name)
]
ACCEPT_PAUSE = 0.1  # seconds without accepting after descriptors or memory ran out

_CLOSED = {errno.EBADF, errno.EINVAL}
# A connection that ended before it was accepted, or that a firewall refuses (accept(2)).
_ONE_CONNECTION = {
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPERM,
    errno.EPROTO,
}


class KernelSocket:
    """A connected TCP socket of the operating system; see `ByteSocket`."""

    __slots__ = ("_socket", "local", "remote")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self.local: Endpoint = connected.getsockname()[:2]
        self.remote: Endpoint = connected.getpeername()[:2]
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)

    def recv_into(self, buffer: memoryview) -> int | None:
        try:
            return self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return None

    def send(self, data: memoryview) -> int | None:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return None

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._descriptor())

    async def wait_writable(self) -> None:
        await trio.lowlevel.wait_writable(self._descriptor())

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            # Lingering for 0 seconds turns close into RST.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("the socket was closed")
        return descriptor


class KernelListener:
    """A listening TCP socket of the operating system; see `ByteListener`."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self._pausing = False
        self.local: Endpoint = listening.getsockname()[:2]

    async def accept(self) -> KernelSocket:
        waited = False
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("the listener was closed")
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_readable(self._socket.fileno())
                waited = True
                continue
            except OSError as error:
                if error.errno in _CLOSED:
                    raise trio.ClosedResourceError("the listener was closed") from None
                if error.errno not in _ONE_CONNECTION:
                    # Descriptors or memory ran out, and the connection stays in the backlog:
                    # without a pause this would spin.
                    await self._pause(error)
                else:
                    await trio.lowlevel.checkpoint()
                continue
            self._pausing = False
            try:
                if not waited:
                    await trio.lowlevel.checkpoint()
                return KernelSocket(accepted)
            except OSError:  # it is gone already
                accepted.close()
            except BaseException:
                accepted.close()
                raise

    async def _pause(self, error: OSError) -> None:
        if not self._pausing:  # one line, however long it lasts
            logger.warning("accepting pauses on %s: %s", self.local, error.strerror)
        self._pausing = True
        await trio.sleep(ACCEPT_PAUSE)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
