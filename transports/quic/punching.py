"""Hole punching. The client dials; the server opens its NAT by datagrams that mean nothing, until
the dial arrives.

What arrives from the peer's IP address is taken whatever its port, so a peer whose NAT gives it
another port for us is met in either role. As the server we answer wherever the dial comes from; as
the client we also dial where the server's datagrams come from, which go-libp2p does not.

Source: libp2p/specs `relay/DCUtR.md`, "QUIC"; the server's timing is go-libp2p's.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from carrick.errors import HandshakeError, PeerIdMismatch, PeerTimeout
from carrick.interfaces import Budget, Endpoint
from carrick.transports.quic.connection import QuicConnection
from carrick.transports.quic.endpoint import UdpEndpoint
from carrick.transports.quic.identity import HostIdentity
from carrick.transports.quic.tls import Profile

if TYPE_CHECKING:
    from carrick.identity import PeerId

__all__ = ["KEEPALIVE", "PUNCH_TIMEOUT", "ClientPunch", "ServerPunch"]

PUNCH_TIMEOUT = 5.0  # s (go p2p/transport/quic/transport.go)
KEEPALIVE = 5.0  # s of silence: some NATs forget a UDP mapping after 10 s
MAX_HANDSHAKES = 4  # at once, of whoever is behind the server's punched address
MAX_REFLEXIVE = 4  # endpoints that the client dials because it was heard from there
_GAP = (0.010, 0.200)  # s between two punching datagrams (go, as above)
_PUNCH_BYTES = 64  # (the same)
_REPEAT_GAP = (0.100, 0.300)  # s; QUIC itself would repeat after 0.67, 2, 4 s
_SOONEST_REPEAT = 0.020  # s
_REDIAL_GAP = 0.2  # s after a dial was refused: the server was not there yet


class _Punch:
    """One attempt to meet a peer between its NAT and ours.

    Args:
        endpoint: whose port the peer saw.
        remote: where the peer was seen.
        peer: who must be there; None takes whoever proves an identity.
    """

    def __init__(
        self,
        endpoint: UdpEndpoint,
        remote: Endpoint,
        identity: HostIdentity,
        rng: random.Random,
        *,
        peer: PeerId | None,
        budget: Budget,
    ) -> None:
        self._endpoint = endpoint
        self._remote = remote
        self._identity = identity
        self._rng = rng
        self._peer = peer
        self._budget = budget
        self._found: QuicConnection | None = None
        self._nursery: trio.Nursery

    async def run(self) -> QuicConnection:
        """Raises: PeerTimeout."""
        try:
            with trio.move_on_after(PUNCH_TIMEOUT):
                async with trio.open_nursery() as self._nursery:
                    await self._meet()
        except BaseException:
            if self._found is not None:
                self._found.abort()
            raise
        if self._found is None:
            raise PeerTimeout(f"nobody was met within {PUNCH_TIMEOUT:g} s")
        return self._found

    async def _meet(self) -> None:
        """Until cancelled. Sends the first datagram before it waits."""
        raise NotImplementedError

    def _find(self, connection: QuicConnection) -> None:
        self._found = connection
        connection.keepalive = KEEPALIVE
        self._nursery.cancel_scope.cancel()


class ServerPunch(_Punch):
    """Is dialled."""

    def profile(self) -> Profile:
        return self._identity.profile()

    def heard(self, source: Endpoint) -> bool:
        return False

    async def _meet(self) -> None:
        self._handshakes: set[QuicConnection] = set()
        release = self._endpoint.intercept(self._remote, self)
        self._nursery.start_soon(self._endpoint.read_for_others)
        try:
            while True:
                data = self._rng.randbytes(_PUNCH_BYTES)
                self._endpoint.send(data, len(data), self._remote)
                await trio.sleep(self._rng.uniform(*_GAP))
        finally:
            # The client may have settled on one of the others.
            for connection in self._handshakes:
                self._endpoint.hand_over(connection)
            release()

    def take(self, connection: QuicConnection) -> bool:
        """Whether a dial that arrived is for us."""
        if len(self._handshakes) >= MAX_HANDSHAKES:
            return False
        self._handshakes.add(connection)
        self._nursery.start_soon(self._establish, connection)
        return True

    async def _establish(self, connection: QuicConnection) -> None:
        try:
            await connection.wait_established()
        except (HandshakeError, PeerTimeout):
            self._handshakes.discard(connection)
            return
        if self._peer is not None and connection.peer_id != self._peer:
            self._handshakes.discard(connection)
            self._endpoint.hand_over(connection)  # a neighbour of the peer's, who dialled us
        elif self._found is None:
            self._handshakes.discard(connection)
            connection.budget = self._budget
            self._find(connection)


class ClientPunch(_Punch):
    """Dials."""

    def profile(self) -> Profile:
        return self._identity.profile(self._peer)

    def take(self, connection: QuicConnection) -> bool:
        return False

    def heard(self, source: Endpoint) -> bool:
        """A datagram of no connection came from `source`: there the server has opened its NAT."""
        if (dial := self._dials.get(source)) is not None:
            dial.repeat()
        elif len(self._dials) <= MAX_REFLEXIVE:
            self._dial(source)
        return True  # enough: punches of other addresses there do not dial it either

    async def _meet(self) -> None:
        self._dials: dict[Endpoint, _Dial] = {}
        self._releases: list[Callable[[], None]] = []
        try:
            self._dial(self._remote)
            self._nursery.start_soon(self._endpoint.read_for_others)
            while True:
                await trio.sleep(self._rng.uniform(*_REPEAT_GAP))
                for dial in self._dials.values():
                    dial.repeat()
        finally:
            for release in self._releases:
                release()

    def _dial(self, remote: Endpoint) -> None:
        dial = _Dial(lambda: self._endpoint.dial(remote, self.profile()))
        self._dials[remote] = dial
        self._releases.append(self._endpoint.intercept(remote, self))
        self._nursery.start_soon(self._establish, dial)

    async def _establish(self, dial: _Dial) -> None:
        connection = await dial.run()
        if connection is not None and self._found is None:
            connection.budget = self._budget
            self._find(connection)
        elif connection is not None:
            connection.abort()


class _Dial:
    """The dials to one endpoint, one after the other."""

    def __init__(self, begin: Callable[[], QuicConnection]) -> None:
        self._begin = begin
        self._connection = begin()
        self._sent_at = trio.current_time()

    def repeat(self) -> None:
        """Send again what was not answered yet: the hole may be open now."""
        now = trio.current_time()
        if now - self._sent_at >= _SOONEST_REPEAT:
            self._sent_at = now
            self._connection.repeat_opening()

    async def run(self) -> QuicConnection | None:
        """The connection; None if it is no use to dial there."""
        while True:
            try:
                await self._connection.establish()
                return self._connection
            except PeerIdMismatch:
                return None
            except (HandshakeError, PeerTimeout):  # nobody had waited for us there yet
                await trio.sleep(_REDIAL_GAP)
            self._connection = self._begin()
