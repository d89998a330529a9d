"""Deadlines of what we ask a peer for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from carrick.errors import PeerTimeout

__all__ = ["deadline"]


@contextmanager
def deadline(
    seconds: float, what: str, *, peer: object = None, protocol: str | None = None
) -> Iterator[None]:
    """For the block. Where an earlier deadline holds already, that one does.

    Args:
        what: what has not happened then, such as "no answer came".

    Raises:
        PeerTimeout: the block took longer.
    """
    if trio.current_effective_deadline() <= trio.current_time() + seconds:
        yield
        return
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise PeerTimeout(f"{what} within {seconds:g} s", peer=peer, protocol=protocol)
