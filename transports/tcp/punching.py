"""Hole punching: both peers connect to each other at the same moment, and TCP's simultaneous open
makes one connection of it.

A SYN that is answered by a RST closes its hole, so the SYNs must cross; where they did not, both
try again after a random pause. From a peer whose NAT gives it another port for us the connection
comes to our listener. As the server of the upgrade we leave it there: it is like any other, and
`Swarm.punch` sees it come. As the client we take what comes from the peer's IP address, from any
port, since then it is us who must speak first.

The first connection that proves to be with the peer wins. The client speaks last in the handshake,
and only on the connection that it takes, so both sides settle on the same one.

Source: libp2p/specs `relay/DCUtR.md`, "TCP".
"""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import trio

from carrick.addressing import endpoint_address
from carrick.errors import CarrickError, DialError, PeerTimeout
from carrick.interfaces import Budget, ByteSocket, Endpoint, Role, SocketOpener
from carrick.transports.bytestream import ByteStreamConnection, SecurityRefused, Upgrader

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from carrick.identity import PeerId

__all__ = ["PUNCH_TIMEOUT", "Punch"]

PUNCH_TIMEOUT = 5.0  # s (go p2p/protocol/holepunch/svc.go)
ATTEMPT_TIMEOUT = 1.5  # s of one connect: SYNs leave after 0, 1, 1.6, 2.6 s, …, not 0, 1, 3, 7 s
MAX_UPGRADES = 32  # of one punch: whoever else is behind the peer's address costs no more
MAX_UPGRADES_AT_ONCE = 4
_GIVES_WAY = 1.0  # s after which an upgrade gives way to a new one, if there are too many
_PAUSE = (0.030, 0.130)  # s after a RST; without chance two peers can miss each other for ever
_PAUSE_AFTER_UPGRADE = 0.2  # s; somebody was there, and it was not the peer
_NO_WAY = {errno.ENETUNREACH, errno.EAFNOSUPPORT}
_NOT_FROM_HERE = {errno.EADDRINUSE, errno.EINVAL, errno.EPERM, errno.EACCES}


class Punch:
    """One attempt to meet a peer between its NAT and ours.

    Args:
        address: where the peer was seen.
        local: our listening endpoint, which the connects leave from; None if there is none.
        peer: who must be there; None takes whoever proves an identity.
        role: ours, in the upgrade.
    """

    def __init__(
        self,
        upgrader: Upgrader,
        sockets: SocketOpener,
        address: Multiaddr,
        remote: Endpoint,
        local: Endpoint | None,
        *,
        peer: PeerId | None,
        role: Role,
        budget: Budget,
        rng: random.Random,
    ) -> None:
        self._upgrader = upgrader
        self._sockets = sockets
        self._address = address
        self._remote = remote
        self._local = local
        self._peer = peer
        self._role = role
        self._budget = budget
        self._rng = rng
        self._refused: list[str] = []
        self._upgrades = 0
        self._upgrading: dict[trio.CancelScope, float] = {}
        """When each began; the oldest first."""
        self._last_error: Exception | None = None
        self._no_way: OSError | None = None
        self._found: ByteStreamConnection | None = None
        self._nursery: trio.Nursery

    async def run(self) -> ByteStreamConnection:
        """Raises: PeerTimeout; DialError: there is no way to that address."""
        try:
            with trio.move_on_after(PUNCH_TIMEOUT):
                async with trio.open_nursery() as self._nursery:
                    await self._meet()
        except BaseException:
            if self._found is not None:
                self._found.abort()
            raise
        if self._found is not None:
            return self._found
        if self._no_way is not None:
            raise DialError(str(self._no_way)) from self._no_way
        why = f" (last: {self._last_error})" if self._last_error else ""
        raise PeerTimeout(f"nobody was met within {PUNCH_TIMEOUT:g} s{why}")

    async def _meet(self) -> None:
        """Connect again and again, and take what is accepted meanwhile, until cancelled."""
        release = None
        if self._local is not None and self._role is Role.CLIENT:
            ports = self._upgrader.ports
            release = ports.intercept(self._local, self._remote, self._take)
        try:
            while True:
                refused = len(self._refused)
                socket = await self._connect()
                if socket is not None:
                    ended = trio.Event()
                    self._begin(socket, self._address, ended)
                    await ended.wait()
                if socket is None or len(self._refused) > refused:
                    await trio.sleep(self._rng.uniform(*_PAUSE))
                else:
                    await trio.sleep(_PAUSE_AFTER_UPGRADE)
        finally:
            if release is not None:
                release()

    async def _connect(self) -> ByteSocket | None:
        """One connect; None if a RST came, or nothing did.

        A SYN that got lost in the peer's NAT has opened ours for a peer that starts later.
        """
        try:
            with trio.move_on_after(ATTEMPT_TIMEOUT):
                return await self._sockets.connect_tcp(self._remote, local=self._local)
        except OSError as error:
            if error.errno in _NO_WAY:
                self._no_way = error
                self._nursery.cancel_scope.cancel()
            # EADDRNOTAVAIL: the peer's SYN was first, so this connection is the listener's.
            if error.errno in _NOT_FROM_HERE:
                self._local = None
            self._last_error = error
        return None

    def _take(self, socket: ByteSocket) -> bool:
        """Whether an accepted connection is for us."""
        if self._upgrades >= MAX_UPGRADES:
            return False
        if len(self._upgrading) >= MAX_UPGRADES_AT_ONCE:
            oldest, began = next(iter(self._upgrading.items()))
            if trio.current_time() < began + _GIVES_WAY:
                return False
            oldest.cancel()
        self._begin(socket, endpoint_address(socket.remote), trio.Event())
        return True

    def _begin(self, socket: ByteSocket, address: Multiaddr, ended: trio.Event) -> None:
        scope = trio.CancelScope()
        self._upgrades += 1
        self._upgrading[scope] = trio.current_time()
        self._nursery.start_soon(self._upgrade, socket, address, scope, ended)

    async def _upgrade(
        self, socket: ByteSocket, address: Multiaddr, scope: trio.CancelScope, ended: trio.Event
    ) -> None:
        try:
            with scope:
                connection = await self._upgrader.upgrade(
                    socket,
                    role=self._role,
                    peer=self._peer,
                    budget=self._budget,
                    local_address=endpoint_address(socket.local),
                    remote_address=address,
                    refused=self._refused,
                )
                self._find(connection)
        except CarrickError as error:
            self._last_error = error
            if isinstance(error, SecurityRefused) and error.protocol is not None:
                self._refused.append(error.protocol)
        finally:
            del self._upgrading[scope]
            ended.set()

    def _find(self, connection: ByteStreamConnection) -> None:
        if self._found is None:
            self._found = connection
            self._nursery.cancel_scope.cancel()
        else:
            connection.abort()
