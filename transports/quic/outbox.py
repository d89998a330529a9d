"""Sends the datagrams of one connection, joined to trains."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from carrick.interfaces import Endpoint
from carrick.transports.quic.backend import Backend

if TYPE_CHECKING:
    from carrick.transports.quic.endpoint import UdpEndpoint

__all__ = ["Outbox"]

DATAGRAMS_PER_TURN = 64  # that one connection sends before others get their turn
MAX_TRAIN_BYTES = 65_000


class Outbox:
    """From the backend to the endpoint; what the socket does not take at once waits here."""

    def __init__(self, endpoint: UdpEndpoint, backend: Backend) -> None:
        self.bytes_sent = 0
        self.more = False
        """Sending stopped only to let others have their turn."""
        self.waiting: deque[tuple[bytes, int, Endpoint]] = deque()
        """Trains that came to a full socket."""
        self.opening: list[bytes] | None = []
        """What was sent first; None once the peer has answered."""
        self._endpoint = endpoint
        self._backend = backend
        self._last: bytes | None = None

    def transmit(self, now: float, remote: Endpoint) -> None:
        """Send up to `DATAGRAMS_PER_TURN` datagrams, joined to trains.

        Args:
            remote: where the peer is, with its zone.
        """
        self.more = False
        while self.waiting:
            if not self._endpoint.send(*self.waiting[0]):
                return
            self.waiting.popleft()
        datagrams = self._backend.poll(now, DATAGRAMS_PER_TURN)
        if self.opening is not None and not self.opening:
            self.opening = [datagram for datagram, _ in datagrams]
        self.more = len(datagrams) == DATAGRAMS_PER_TURN
        room = self._endpoint.max_train
        train: list[bytes] = []
        segment = size = shortest = 0
        target: tuple[Any, ...] = ()
        for datagram, to in datagrams:
            length = len(datagram)
            if (
                length > shortest  # as long as the first, as only the last may be shorter
                or to != target
                or len(train) == room
                or size + length > MAX_TRAIN_BYTES
            ):
                if train:
                    self._send(b"".join(train), segment, target, remote)
                train, size, segment, shortest, target = [], 0, length, length, to
            elif length < segment:
                shortest = 0
            train.append(datagram)
            size += length
        if train:
            self._last = train[-1]
            self._send(b"".join(train), segment, target, remote)

    def farewell(self, now: float, remote: Endpoint) -> bytes | None:
        """Send what tells the peer of the end; the last datagram of that, if any."""
        self._last = None
        self.transmit(now, remote)
        return self._last

    def repeat_opening(self, remote: Endpoint) -> None:
        """Send the first datagrams once more, as a network may, if nothing came back yet."""
        for datagram in self.opening or ():
            self._endpoint.send(datagram, len(datagram), remote)

    def _send(self, data: bytes, segment: int, to: tuple[Any, ...], remote: Endpoint) -> None:
        if to[1] != remote[1] or to[0] != remote[0].partition("%")[0]:
            remote = to[:2]  # another path, to be tried or for good
        self.bytes_sent += len(data)
        if self.waiting or not self._endpoint.send(data, segment, remote):
            self.waiting.append((data, segment, remote))
