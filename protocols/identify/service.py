"""The identify service: asks, answers and pushes who is who."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

import trio

from carrick import __version__
from carrick.addressing import Multiaddr, host_ip, split_peer
from carrick.deadlines import deadline
from carrick.errors import PEER_FAILURES, IdentityError, PeerTimeout, ProtocolError
from carrick.host import Host, OwnAddressesChanged
from carrick.identity import PeerId
from carrick.network import Connection, ConnectionCode, Stream, StreamCode
from carrick.network.admission import TokenBucket
from carrick.network.events import ListenAddressesChanged, ProtocolsChanged
from carrick.peerstore import Ttl
from carrick.protocols.identify.acceptance import Accepted, KeyMismatch, accept
from carrick.protocols.identify.events import (
    IdentifyFailed,
    ObservedAddress,
    PeerIdentified,
    PeerUpdated,
)
from carrick.protocols.identify.messages import MAX_MESSAGE, Info, MessageReader
from carrick.protocols.identify.own import OwnInfo
from carrick.protocols.identify.rates import PushRates

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["ID", "ID_PUSH", "Identify", "IdentifyOptions"]

ID = "/ipfs/id/1.0.0"
ID_PUSH = "/ipfs/id/push/1.0.0"

_log = logging.getLogger("carrick.identify")

_PUSHES = (0.2, 5.0)  # per second, at once: go hears 0.2 and 10 from all of an IPv4 /24 (id.go)

_Said: TypeAlias = tuple[tuple[str, ...], tuple[Multiaddr, ...]]
"""What a peer was told: our protocols and addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyOptions:
    """How we identify ourselves, and how patient we are.

    Attributes:
        protocol_version: the family of protocols that we belong to.
        agent_version: the program; None: `carrick/` and its version.
        timeout: for a whole exchange, in seconds.
        push_delay: how long changes are gathered before they are pushed, in seconds.
        push_concurrency: how many peers are pushed to at once.
        clock: the time in nanoseconds, from which records are numbered.
    """

    protocol_version: str = "ipfs/0.1.0"  # go-libp2p's default; others group peers by it
    agent_version: str | None = None
    timeout: float = 5.0  # go-libp2p p2p/protocol/identify/id.go
    push_delay: float = 1.0  # js-libp2p's debounce
    push_concurrency: int = 32  # id.go
    clock: Callable[[], int] = time.time_ns


class Identify:
    """Identify and identify/push.

    Every new connection is identified before it is announced. What the peer says goes into the
    peerstore and, as `PeerIdentified`, `PeerUpdated` and `ObservedAddress`, on the event bus.
    """

    def __init__(self, options: IdentifyOptions | None = None) -> None:
        self.options = options or IdentifyOptions()
        self._host: Host
        self._own: OwnInfo
        self._rates: PushRates
        self._said: WeakKeyDictionary[Connection, _Said] = WeakKeyDictionary()

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve, and push what changes, until cancelled."""
        self._host = host
        self._own = OwnInfo(
            host.key,
            protocol_version=self.options.protocol_version,
            agent_version=self.options.agent_version or f"carrick/{__version__}",
            started=self.options.clock(),
        )
        self._rates = PushRates(
            trio.current_time(), count_loopback=host.swarm.limits.count_loopback
        )
        with host.events.subscribe(
            ListenAddressesChanged, OwnAddressesChanged, ProtocolsChanged
        ) as changes:
            host.handle(ID, self._answer, allow_limited=True)
            host.handle(ID_PUSH, self._take_push, allow_limited=True)
            host.add_connection_step(self._step)
            pushed, pace = self._state(), TokenBucket(*_PUSHES, trio.current_time())
            task_status.started()
            async for _ in changes:
                await trio.sleep(self.options.push_delay)
                await trio.sleep(pace.wait(trio.current_time()))
                while changes.get_nowait() is not None:
                    pass
                if (state := self._state()) != pushed:
                    pushed = state
                    pace.take(trio.current_time())
                    await self.push()

    # --- asking -----------------------------------------------------------------------------------

    async def identify(self, connection: Connection) -> Info:
        """Ask the peer who it is, now, and keep the answer.

        Raises:
            PeerTimeout: no answer in time.
            ProtocolNotSupported: it does not speak identify.
            ProtocolError: the answer breaks the protocol; nothing of it is kept. If it shows
                another peer's key, the connection is closed.
            StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        with self._deadline(connection):
            stream = await connection.open_stream(ID)
            info, accepted = await self._receive(stream)
            await stream.aclose()
        self._learn(connection, info, accepted, pushed=False)
        return info

    async def _step(self, connection: Connection) -> None:
        try:
            await self.identify(connection)
        except PEER_FAILURES as error:
            _log.debug("identify of %s failed: %s", connection, error or type(error))
            self._host.events.publish(IdentifyFailed(connection, error))
        except trio.Cancelled:
            if not connection.closed:  # the deadline of all steps, which may be ours as well
                late = PeerTimeout("identify was cut off", peer=connection.peer_id)
                self._host.events.publish(IdentifyFailed(connection, late))
            raise

    async def _receive(self, stream: Stream) -> tuple[Info, Accepted]:
        connection = stream.connection
        reader = MessageReader()
        try:
            while (frame := await stream.next_frame(MAX_MESSAGE)) is not None:
                reader.receive(frame)
            info = reader.finish()
            return info, accept(info, connection.peer_id, connection.remote_address)
        except BaseException as error:
            violated = isinstance(error, ProtocolError)
            stream.reset(StreamCode.PROTOCOL_VIOLATION if violated else StreamCode.NO_ERROR)
            if isinstance(error, KeyMismatch):
                await connection.aclose(ConnectionCode.PROTOCOL_VIOLATION, reason=str(error))
            raise

    # --- being asked ------------------------------------------------------------------------------

    async def _answer(self, stream: Stream) -> None:
        if not self._rates.allow(None, trio.current_time()):
            stream.reset(StreamCode.RATE_LIMITED)
            raise ProtocolError("too many identify requests", peer=stream.peer_id)
        with self._deadline(stream.connection):
            await self._tell(stream)

    async def _tell(self, stream: Stream) -> None:
        connection = stream.connection
        said = protocols, addresses = self._news_for(connection)
        message = self._own.encoded(
            protocols,
            addresses,
            connection.remote_address,
            every_address=self._host.own_addresses.latest,
        )
        await stream.send_last(message)
        self._said[connection] = said

    def _news_for(self, connection: Connection) -> _Said:
        return self._host.protocols, self._host.own_addresses.for_connection(connection)

    # --- pushes -----------------------------------------------------------------------------------

    async def push(self) -> None:
        """Tell every connected peer who we are now, unless it was told so, or does not listen."""
        peers: dict[PeerId, Connection] = {}
        for connection in self._host.connections:
            if connection.protocols is None or ID_PUSH in connection.protocols:
                known = peers.setdefault(connection.peer_id, connection)
                if known.is_limited:
                    peers[connection.peer_id] = connection
        pending = iter(peers.values())

        async def work() -> None:
            for connection in pending:
                if self._said.get(connection) != self._news_for(connection):
                    await self._push_to(connection)

        async with trio.open_nursery() as nursery:
            for _ in range(min(self.options.push_concurrency, len(peers))):
                nursery.start_soon(work)

    async def _push_to(self, connection: Connection) -> None:
        try:
            with self._deadline(connection):
                stream = await connection.open_stream(ID_PUSH)
                await self._tell(stream)
                await stream.aclose()
        except PEER_FAILURES as error:
            _log.debug("push to %s failed: %s", connection, error or type(error))

    async def _take_push(self, stream: Stream) -> None:
        connection = stream.connection
        if not self._rates.allow(host_ip(connection.remote_address), trio.current_time()):
            stream.reset(StreamCode.RATE_LIMITED)
            raise ProtocolError("too many identify pushes", peer=connection.peer_id)
        with self._deadline(connection):
            info, accepted = await self._receive(stream)
        self._learn(connection, info, accepted, pushed=True)

    # --- keeping ----------------------------------------------------------------------------------

    def _learn(
        self, connection: Connection, info: Info, accepted: Accepted, *, pushed: bool
    ) -> None:
        """Keep what a peer said. A push may be partial: what it lacks stays as it was."""
        peer, events, store = connection.peer_id, self._host.events, self._host.peerstore
        if info.protocols or not pushed:
            store.set_protocols(peer, info.protocols)
            protocols = frozenset(info.protocols)
            for each in {connection, *self._host.swarm.connections(peer)}:
                each.protocols = protocols
        for name in ("agent_version", "protocol_version"):
            if value := getattr(info, name):
                store.set_metadata(peer, name, value)
        if info.public_key is not None:
            store.add_key(peer, info.public_key)
        if accepted.record is not None:
            store.consume_record(accepted.record, Ttl.CONNECTED)
        store.add_addresses(peer, accepted.addresses, Ttl.CONNECTED)
        events.publish(
            PeerUpdated(connection, info) if pushed else PeerIdentified(connection, info)
        )
        observed = self._bare(info.observed_address)
        if observed is not None:
            self._host.observe(connection, observed)
            events.publish(ObservedAddress(connection, observed))

    def _bare(self, observed: Multiaddr | None) -> Multiaddr | None:
        """An observed address without our peer id, which js appends; None if it is no use."""
        if observed is None:
            return None
        try:
            bare, named = split_peer(observed)
        except IdentityError:
            return None
        return bare if bare.to_bytes() and named in (None, self._host.id) else None

    def _state(self) -> tuple[frozenset[str], tuple[Multiaddr, ...]]:
        return frozenset(self._host.protocols), self._host.own_addresses.all()

    def _deadline(self, connection: Connection) -> AbstractContextManager[None]:
        return deadline(self.options.timeout, "identify was not done", peer=connection.peer_id)
