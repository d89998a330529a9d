"""Kernel sockets behind the one socket seam (`carrick.interfaces.SocketOpener`).

The data path calls the non-blocking standard-library socket directly and waits with trio only where
the call would block: at 64 KiB a piece that is twice as fast as trio's socket methods. A simulated
host offers the same calls, so it runs the same path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from carrick.interfaces import SocketOpener
from carrick.sockets.kernel import KernelSockets
from carrick.sockets.tcp import KernelListener, KernelSocket
from carrick.sockets.udp import KernelDatagramSocket

__all__ = [
    "KernelDatagramSocket",
    "KernelListener",
    "KernelSocket",
    "KernelSockets",
    "current_sockets",
    "use_sockets",
]

_KERNEL = KernelSockets()
_sockets: ContextVar[SocketOpener] = ContextVar("carrick_sockets", default=_KERNEL)


def current_sockets() -> SocketOpener:
    """The socket opener of this context: the kernel's unless a simulation set its own."""
    return _sockets.get()


@contextmanager
def use_sockets(opener: SocketOpener) -> Iterator[None]:
    """Within the block, and in the tasks started there, sockets come from `opener`.

    Chosen by context, so that many simulated hosts share one process.
    """
    token = _sockets.set(opener)
    try:
        yield
    finally:
        _sockets.reset(token)
