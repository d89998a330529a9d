"""Buffers that all connections of one trio run share.

Between receiving and delivering, and between sealing and sending, nothing is awaited. So one
scratch buffer serves every reader, and a connection holds an output buffer only while bytes wait
in it.
"""

from __future__ import annotations

import trio

__all__ = ["HEAD_ROOM", "OUTPUT_SIZE", "RECORDS_PER_BATCH", "Buffers", "shared_buffers"]

KIB = 1024
HEAD_ROOM = 64 * KIB + 64  # the longest incomplete record (Noise: 65,535 bytes and its length)
RECEIVE_SIZE = 256 * KIB  # smaller ones cost more calls, larger ones run cache-cold
RECORDS_PER_BATCH = 8
OUTPUT_SIZE = RECORDS_PER_BATCH * (64 * KIB + 512)  # 512: what sealing adds to 64 KiB, at most
_MAX_FREE_OUTPUTS = 4
_LARGE_BLOCK = 1024 * KIB


class Buffers:
    """One scratch buffer for receiving, and a pool of output buffers."""

    def __init__(self) -> None:
        # glibc hands the free end of its heap back to the kernel beyond a threshold: 128 KiB, or
        # twice the largest block that was mapped by itself and freed (mallopt(3)). Below a batch
        # of plaintext each batch's pages are faulted in anew, 40,000 for a GB: an eighth of the
        # receiver's time. This block is never touched, and is gone at once.
        bytes(_LARGE_BLOCK)
        self.scratch = memoryview(bytearray(HEAD_ROOM + RECEIVE_SIZE))
        self.body = self.scratch[HEAD_ROOM:]
        self._free: list[bytearray] = []

    def prepend(self, tail: bytes) -> int:
        """Put `tail` right before `body`; returns where it begins in `scratch`."""
        lo = HEAD_ROOM - len(tail)
        self.scratch[lo:HEAD_ROOM] = tail
        return lo

    def borrow_output(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(OUTPUT_SIZE)

    def return_output(self, output: bytearray) -> None:
        if len(self._free) < _MAX_FREE_OUTPUTS:
            self._free.append(output)


_buffers: trio.lowlevel.RunVar[Buffers] = trio.lowlevel.RunVar("carrick_buffers")


def shared_buffers() -> Buffers:
    """The buffers of the running trio loop."""
    try:
        return _buffers.get()
    except LookupError:
        buffers = Buffers()
        _buffers.set(buffers)
        return buffers
