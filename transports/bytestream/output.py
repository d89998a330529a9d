"""What a connection sends: sealed in batches, sent as far as the socket takes it."""

from __future__ import annotations

from carrick.interfaces import ByteSocket, Muxer, Records
from carrick.transports.bytestream.buffers import RECORDS_PER_BATCH, Buffers

__all__ = ["Output"]

_NOTHING = memoryview(b"")


class Output:
    """At most one batch of records is sealed and not sent yet.

    Args:
        unsent: the end of our handshake: leaves before the first record.
    """

    __slots__ = (
        "_borrowed",
        "_buffers",
        "_muxer",
        "_records",
        "_sealed",
        "_socket",
        "_unsent",
        "bytes_sent",
        "more",
        "prelude",
    )

    def __init__(
        self,
        socket: ByteSocket,
        records: Records,
        muxer: Muxer,
        buffers: Buffers,
        unsent: bytes,
    ) -> None:
        self._socket = socket
        self._records = records
        self._muxer = muxer
        self._buffers = buffers
        self._unsent = unsent
        self._borrowed: bytearray | None = None  # while it holds `_sealed`
        self._sealed = _NOTHING
        self.prelude = b""
        """Plaintext that gets the first record."""
        self.more = False
        """The muxer has more than what is sealed."""
        self.bytes_sent = 0

    def waits(self) -> bool:
        """There is something to send."""
        return bool(self._sealed or self._unsent or self.prelude or self._muxer.has_output())

    def seal(self) -> bool:
        """Seal a batch of what the muxer has, unless one is there; False if nothing is to send."""
        if self._sealed:
            return True
        muxer, seal = self._muxer, self._records.seal
        room = self._records.max_plain
        pieces = muxer.take(room)
        if not (pieces or self._unsent or self.prelude):
            return False
        self._borrowed = output = self._buffers.borrow_output()
        at = 0
        if self._unsent:
            at = len(self._unsent)
            output[:at] = self._unsent
            self._unsent = b""
        if self.prelude:
            at = seal(output, at, (self.prelude,))
            self.prelude = b""
        left = RECORDS_PER_BATCH - 1 if at else RECORDS_PER_BATCH
        while pieces:
            at = seal(output, at, pieces)
            left -= 1
            self.more = muxer.has_output()
            pieces = muxer.take(room) if left and self.more else []
        self._sealed = memoryview(output)[:at]
        return True

    def send(self) -> bool:
        """Send what is sealed; True once all of it is gone.

        Raises:
            OSError: the connection is lost.
        """
        sealed = self._sealed
        while sealed:
            sent = self._socket.send(sealed)
            if sent is None:
                self._sealed = sealed
                return False
            self.bytes_sent += sent
            sealed = sealed[sent:]
        self.discard()
        return True

    def discard(self) -> None:
        """Forget what is sealed: it is sent, or never will be."""
        if self._borrowed is not None:
            self._buffers.return_output(self._borrowed)
            self._borrowed = None
            self._sealed = _NOTHING
