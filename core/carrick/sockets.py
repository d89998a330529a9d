"""Kernel sockets behind the one socket seam (`carrick.interfaces.ByteSocket`).

The data path calls the non-blocking standard-library socket directly and waits with trio only where
the call would block: at 64 KiB a piece that is twice as fast as trio's socket methods. A simulated
host offers the same four calls, so it runs the same path.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
from contextvars import ContextVar

import trio

from carrick.interfaces import Endpoint, SocketOpener

__all__ = ["KernelListener", "KernelSocket", "KernelSockets", "current_sockets"]

logger = logging.getLogger(__name__)

KEEPALIVE_IDLE = 30  # seconds until the first probe
KEEPALIVE_INTERVAL = 10
KEEPALIVE_PROBES = 3
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
        for option, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ):
            if hasattr(socket, option):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

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
        self._require_open()
        await trio.lowlevel.wait_readable(self._socket.fileno())

    async def wait_writable(self) -> None:
        self._require_open()
        await trio.lowlevel.wait_writable(self._socket.fileno())

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            # Lingering for 0 seconds turns close into RST.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close()

    def _require_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("the socket was closed")


class KernelListener:
    """A listening TCP socket of the operating system; see `ByteListener`."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self._pausing = False
        self.local: Endpoint = listening.getsockname()[:2]

    async def accept(self) -> KernelSocket:
        await trio.lowlevel.checkpoint()
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("the listener was closed")
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_readable(self._socket.fileno())
                continue
            except OSError as error:
                if error.errno in _CLOSED:
                    raise trio.ClosedResourceError("the listener was closed") from None
                if error.errno not in _ONE_CONNECTION:
                    # Descriptors or memory ran out, and the connection stays in the backlog:
                    # without a pause this would spin.
                    await self._pause(error)
                continue
            self._pausing = False
            try:
                return KernelSocket(accepted)
            except OSError:  # it is gone already
                accepted.close()

    async def _pause(self, error: OSError) -> None:
        if not self._pausing:  # one line, however long it lasts
            logger.warning("accepting pauses on %s: %s", self.local, error.strerror)
        self._pausing = True
        await trio.sleep(ACCEPT_PAUSE)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()


class KernelSockets:
    """Opens sockets of the operating system; see `SocketOpener`."""

    async def connect_tcp(self, remote: Endpoint, *, local: Endpoint | None = None) -> KernelSocket:
        connecting = socket.socket(_family(remote), socket.SOCK_STREAM)
        try:
            connecting.setblocking(False)
            if local is not None:
                _share_port(connecting)
                connecting.bind(local)
            code = connecting.connect_ex(remote)
            if code == errno.EINPROGRESS:
                await trio.lowlevel.wait_writable(connecting.fileno())
                code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            connected = KernelSocket(connecting)
            if connected.local == connected.remote:
                # TCP lets a socket open simultaneously with itself when it dials its own port.
                raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
            return connected
        except BaseException:
            connecting.close()
            raise

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> KernelListener:
        listening = socket.socket(_family(local), socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listening.family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(local)
            listening.listen(backlog)
            # Only after the bind: so a port that another listener holds is still an error, while
            # our own dials may leave from this port.
            _share_port(listening)
            return KernelListener(listening)
        except BaseException:
            listening.close()
            raise


def _family(endpoint: Endpoint) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET


def _share_port(target: socket.socket) -> None:
    target.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        target.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


_KERNEL = KernelSockets()
_sockets: ContextVar[SocketOpener | None] = ContextVar("carrick_sockets", default=None)


def current_sockets() -> SocketOpener:
    """The socket opener of this context: the kernel's unless a simulation set its own.

    Chosen by context, so that many simulated hosts share one process.
    """
    return _sockets.get() or _KERNEL
