"""When a peer may send more of a stream: stream windows that grow as their bytes are read.

A grant rides in an outgoing packet that carries a PING of the core's, whose number tells whether
that packet arrived. A grant that is not acknowledged in time is given again.
"""

from __future__ import annotations

from qh3.tls import CipherSuite

from carrick.transports.quic.sealing import PacketSealer, encode_max_stream_data, has_ping

__all__ = ["Grants"]

_PER_PACKET = 20  # grants; of up to 17 bytes each
_MIN_PATIENCE = 0.1  # s
_MAX_TRIES = 64  # packets that may pass by until one carries the PING


class Grants:
    """The grants of one connection that the peer may not know yet.

    Args:
        suite, secret: what we send 1-RTT packets with.
        id_length: of the peer's connection ids.
    """

    def __init__(self, suite: CipherSuite, secret: bytes, id_length: int) -> None:
        self._sealer = PacketSealer(suite, secret)
        self._id_length = id_length
        self._pending: dict[int, int] = {}
        self._riding: dict[int, int] = {}  # what the packet with PING `uid` has, or will have
        self._sent = False
        self._tries = 0
        self.uid = 0
        self.deadline: float | None = None
        """When what is under way counts as lost."""

    @property
    def pending(self) -> bool:
        """There is something to put into the next packet."""
        if self._riding:
            return not self._sent
        return bool(self._pending)

    def add(self, stream: int, maximum: int) -> None:
        self._pending[stream] = maximum

    def forget(self, stream: int) -> None:
        """The stream has ended."""
        self._pending.pop(stream, None)
        self._riding.pop(stream, None)

    def repeat(self, stream: int, limit: int) -> None:
        """The peer says that it is blocked at `limit`."""
        maximum = self._riding.get(stream, 0)
        if self._sent and maximum > limit:
            self._pending.setdefault(stream, maximum)

    def begin(self, now: float, rtt: float | None) -> bool:
        """Prepare the next packet's grants; True if a PING with the new `uid` is to be queued."""
        if self._riding:
            return False
        streams = list(self._pending)[:_PER_PACKET]
        self._riding = {stream: self._pending.pop(stream) for stream in streams}
        self._sent, self._tries = False, 0
        self.uid += 1
        self.deadline = now + max(_MIN_PATIENCE, 3 * (rtt or 0))
        return True

    def ride(self, packet: bytes, numbers: list[int]) -> bytes:
        """The packet to send instead of `packet`: with the grants, if it carries the PING.

        Args:
            numbers: packet numbers that it may have, newest first.
        """
        self._tries += 1
        opened = self._sealer.open(packet, self._id_length, numbers)
        if opened is None or not has_ping(opened[2]):
            if self._tries >= _MAX_TRIES:
                self._give_back()
            return packet
        header, number, payload = opened
        frames = b"".join(encode_max_stream_data(*each) for each in self._riding.items())
        self._sent = True
        return self._sealer.seal(header, self._id_length, number, frames + payload)

    def acknowledged(self, uid: int) -> None:
        if uid == self.uid and self._sent:
            self._riding.clear()
            self._sent = False
            self.deadline = None

    def on_timer(self, now: float) -> None:
        if self.deadline is not None and self.deadline <= now:
            self._give_back()

    def _give_back(self) -> None:
        for stream, maximum in self._riding.items():
            self._pending.setdefault(stream, maximum)
        self._riding.clear()
        self._sent = False
        self.deadline = None
