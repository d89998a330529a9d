"""Where the pairs meet: a network namespace of this run, or loopback."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["LOOPBACK", "Network", "die_with_parent", "enter_namespace", "own_namespace"]

CLONE_NEWNET = 0x40000000  # sched.h
PR_SET_PDEATHSIG = 1  # sys/prctl.h
SIGKILL = 9

_THREAD_TIMEOUT = 20.0  # s
_ADDRESS = "10.16.0.2"  # the namespace has no way out, so it can be anybody's


@dataclass(frozen=True, slots=True)
class Network:
    """Attributes:
    description: for people.
    ip: where both sides and Redis are.
    bind: what listeners are told to bind to.
    """

    description: str
    ip: str
    bind: str


LOOPBACK = Network("loopback", "127.0.0.1", "127.0.0.1")


def enter_namespace() -> Network | str:
    """Move this thread, and what it starts, into a fresh network namespace; or why that failed.

    It has no name, so nothing is left of it when the last of its processes has ended. Some peers
    insist on an interface that is not loopback, named eth0.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "this system has no network namespaces"
    if libc.unshare(CLONE_NEWNET):
        return os.strerror(ctypes.get_errno())
    _ip("link set lo up")
    for link in ("eth0 type veth peer name eth0p", "eth0 type dummy"):
        if _ip(f"link add {link}", check=False):
            break
    else:
        raise OSError("the kernel makes neither veth nor dummy interfaces")
    _ip("link set eth0p up", check=False)
    _ip(f"addr add {_ADDRESS}/16 dev eth0")
    _ip("link set eth0 up")
    return Network("network namespace", _ADDRESS, "0.0.0.0")


@contextmanager
def own_namespace(addresses: Sequence[str] = ()) -> Iterator[None]:
    """This thread, and what it starts, in a network namespace without a way out, for the block.

    Threads that were started in it stay there, so it is left when they have ended; those that trio
    keeps for later do so after 10 s.

    Args:
        addresses: whose nodes in it can be, beside loopback: any, as nothing leaves it.

    Raises:
        OSError: it cannot be made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    threads = set(threading.enumerate())
    with open("/proc/thread-self/ns/net") as before:
        if libc.unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            _ip("link set lo up")
            for address in addresses:
                _ip(f"addr add {address}/32 dev lo")
            yield
        finally:
            if libc.setns(before.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "the thread cannot leave its network namespace")
            for thread in set(threading.enumerate()) - threads:
                thread.join(_THREAD_TIMEOUT)


def _ip(words: str, *, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
    if check and done.returncode:
        raise OSError(f"ip {words}: {done.stderr.strip()}")
    return not done.returncode


def die_with_parent() -> None:
    """In a child before exec: be killed when the thread that made us ends, however it ends."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, SIGKILL)
