"""The host: opens and serves streams to peers, by their ids or addresses."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

import trio
from multiaddr import Multiaddr

from carrick.addressing import is_relayed, parse_address, split_peer, with_peer
from carrick.errors import CarrickError, LimitedConnection, NoAddresses, PeerTimeout
from carrick.host.addresses import Announcement, OwnAddresses
from carrick.host.bookkeeping import Bookkeeper
from carrick.host.connecting import Connector
from carrick.host.nat import UNKNOWN_NAT, Nat, NatChanged
from carrick.host.observed import ObservedAddresses
from carrick.host.reachability import OwnAddressesChanged
from carrick.host.strategies import STRATEGIES
from carrick.identity import PeerId, PrivateKey
from carrick.network import (
    AddressSource,
    Connection,
    ConnectionStep,
    EventBus,
    Stream,
    StreamHandler,
    Swarm,
)

if TYPE_CHECKING:
    from carrick.host.service import OwnAddressSource, PeerSource, PunchAddressSource, Service
    from carrick.host.strategies import ConnectTrace, Strategy
    from carrick.peerstore import Peerstore
    from carrick.transports.bytestream import Upgrader

__all__ = ["Host", "Target"]

Target: TypeAlias = "PeerId | Multiaddr | str | Sequence[Multiaddr]"
"""Whom to reach: a peer id (its addresses are looked up), or one or more addresses."""

S = TypeVar("S")


class Host:
    """A peer. `HostBuilder` makes it; it lives in the builder's `async with` block.

    Attributes:
        id: our peer id.
        key: our private key.
        events: the event bus.
        swarm: the network below, for services.
        peerstore: what is known of peers.
        own_addresses: what we tell whom of our addresses.
        observed: where others see us.
        nat: what is known of the NAT that we are behind.
        strategies: how peers are reached, by name.
        rng: the host's randomness, for anything but keys.
        ready: set when every service runs and we listen. Services that dial by themselves wait for
            it: before, a connection might pass no identify, and leave from any port.
        upgrader: what secures and multiplexes byte streams, for transports that services add.
    """

    def __init__(
        self,
        key: PrivateKey,
        swarm: Swarm,
        *,
        peerstore: Peerstore,
        services: Sequence[Service],
        announcement: Announcement,
        rng: random.Random,
        upgrader: Upgrader,
        observed: ObservedAddresses | None = None,
        detached_swarm: Callable[[], Swarm] | None = None,
    ) -> None:
        self.id = key.peer_id
        self.key = key
        self.swarm = swarm
        self.events: EventBus = swarm.events
        self.peerstore = peerstore
        self.own_addresses = OwnAddresses(
            lambda: swarm.listen_addresses, announcement, trio.current_time
        )
        self.rng = rng
        self.ready = trio.Event()
        self.observed = ObservedAddresses() if observed is None else observed
        self.nat = UNKNOWN_NAT
        self._connector = Connector(swarm, self._own_relays)
        self.strategies: dict[str, Strategy] = self._connector.strategies
        self._punch_addresses: list[PunchAddressSource] = []
        self._peer_sources: list[PeerSource] = []
        self._detached_swarm = detached_swarm
        self.upgrader = upgrader
        self._services = tuple(services)
        self._bookkeeper = Bookkeeper(swarm, peerstore)
        swarm.add_connection_step(self._bookkeeper.note)
        swarm.add_address_source(self._known_addresses)
        self.own_addresses.add_source(self._observed_now)
        swarm.known_protocols = peerstore.protocols
        swarm.reach = self._connector.reach

    @asynccontextmanager
    async def running(self, listen: Iterable[Multiaddr]) -> AsyncIterator[None]:
        """Start the services, then listen; close everything in order at the end.

        What goes wrong comes out as it is, not in an exception group: an error of the block, or of
        a service. A group is raised only if several things went wrong.
        """
        failures: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                try:
                    await nursery.start(self.swarm.run)
                    await nursery.start(self._connector.run)
                    nursery.start_soon(self._bookkeeper.run)
                    for service in self._services:
                        await nursery.start(service.run, self)
                    for address in listen:
                        await trio.lowlevel.checkpoint_if_cancelled()  # then the swarm has stopped
                        await self.swarm.listen(address)
                    self.ready.set()
                    yield
                except BaseException as error:
                    failures.append(error)
                nursery.cancel_scope.cancel()
        except BaseException as error:
            # A task of the host failed, which also cancelled the block.
            failures = [failure for failure in failures if not _is_cancellation(failure)]
            failures += error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        if len(failures) > 1:
            raise BaseExceptionGroup("the host failed", failures)
        if failures:
            raise failures[0]

    # --- what it is -------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[Multiaddr]:
        """Our addresses, each with `/p2p/` and our id, best known first."""
        return [with_peer(address, self.id) for address in self.own_addresses.all()]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocol ids that we serve."""
        return self.swarm.protocols

    @property
    def connections(self) -> tuple[Connection, ...]:
        return self.swarm.connections()

    def service(self, type: type[S]) -> S:
        """The running service of that class.

        Raises:
            CarrickError: the host has none.
        """
        service = next((each for each in self._services if isinstance(each, type)), None)
        if service is None:
            raise CarrickError(f"this host runs no {type.__name__}; give it to .services(…)")
        return service

    def has_service(self, type: type[object]) -> bool:
        return any(isinstance(each, type) for each in self._services)

    # --- being reached ----------------------------------------------------------------------------

    @overload
    def handle(
        self, protocol: str, handler: StreamHandler, *, allow_limited: bool = False
    ) -> StreamHandler: ...
    @overload
    def handle(
        self, protocol: str, *, allow_limited: bool = False
    ) -> Callable[[StreamHandler], StreamHandler]: ...
    def handle(
        self,
        protocol: str,
        handler: StreamHandler | None = None,
        *,
        allow_limited: bool = False,
    ) -> StreamHandler | Callable[[StreamHandler], StreamHandler]:
        """Serve `protocol` with an async function of one stream; also as a decorator.

        When the function returns its stream is closed, when it raises it is reset.

        Args:
            allow_limited: serve streams over relayed connections too.

        Raises:
            ValueError: the protocol has a handler, or its id cannot be negotiated.
        """
        if handler is None:
            return lambda function: self.handle(protocol, function, allow_limited=allow_limited)
        self.swarm.handle(protocol, handler, allow_limited=allow_limited)
        return handler

    async def listen(self, address: Multiaddr | str) -> Multiaddr:
        """Listen on one more address; returns the bound one.

        Raises:
            ListenError, UnsupportedAddress, InvalidAddress.
        """
        return await self.swarm.listen(_multiaddr(address))

    # --- reaching others --------------------------------------------------------------------------

    async def connect(
        self,
        target: Target,
        *,
        timeout: float = 30.0,
        strategies: Sequence[str] = STRATEGIES,
        direct: bool = False,
        trace: ConnectTrace | None = None,
    ) -> Connection:
        """The connection to a peer, made if there is none.

        Returns after the connection steps (identify), so that what the peer speaks is known. A
        relayed connection is returned as soon as it is there, while attempts at a direct one go on
        in the background; new streams take the direct one once it has come.

        Args:
            timeout: seconds for all of it.
            strategies: by which ways, in the order in which they are tried: each starts when those
                before it have failed, or after a head start of half a second.
            direct: a relayed connection will not do, and only helps to make a direct one.
            trace: takes what each strategy did; `await trace.settled()` waits for what goes on in
                the background.

        Raises:
            DialError: it could not be reached; one cause for each address and strategy tried.
            PeerTimeout: nothing came of it within `timeout` seconds.
            ValueError: a strategy that nobody knows.
        """
        peer, addresses = resolve_target(target)
        with trio.move_on_after(timeout):
            connection = await self._connector.reach(
                peer,
                addresses,
                strategies=strategies,
                direct=direct,
                trace=trace,
                timeout=timeout,
            )
            return await connection.wait_announced()
        raise PeerTimeout(f"nothing came of it within {timeout:g} s", peer=peer)

    async def open_stream(
        self,
        target: Target | Connection,
        *protocols: str,
        allow_limited: bool = False,
        timeout: float = 30.0,
    ) -> Stream:
        """A stream that speaks the first of `protocols` that the peer supports.

        The peer is connected first if it is not; the connection steps are not waited for.

        Args:
            target: a connection, or whom to reach as in `connect`.
            allow_limited: a relayed connection will do. Otherwise a direct one is waited for, up to
                the limit `stream_timeout`.
            timeout: seconds for all of it.

        Raises:
            ProtocolNotSupported: the peer speaks none of them.
            LimitedConnection: there is only a relayed connection, and `allow_limited` is False.
            PeerTimeout: nothing came of it within `timeout` seconds.
            DialError, NegotiationError, StreamReset, ConnectionClosed, ResourceLimitExceeded.
        """
        if not protocols:
            raise ValueError("name at least one protocol")
        if isinstance(target, Connection):
            return await _open_on(target, protocols, allow_limited=allow_limited, timeout=timeout)
        peer, addresses = resolve_target(target)
        return await self.swarm.open_stream(
            peer, protocols, addresses=addresses, allow_limited=allow_limited, timeout=timeout
        )

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to `peer`, telling it."""
        await self.swarm.disconnect(peer)

    # --- the hooks of services --------------------------------------------------------------------

    def add_connection_step(self, step: ConnectionStep) -> None:
        """Have every new connection pass `step` before it is announced."""
        self.swarm.add_connection_step(step)

    def add_address_source(self, source: AddressSource) -> None:
        """Ask `source` too where a peer may be dialled."""
        self.swarm.add_address_source(source)

    def add_own_addresses(self, source: OwnAddressSource) -> None:
        """Advertise what `source` gives, besides the listen addresses."""
        self.own_addresses.add_source(source)

    def add_strategy(self, strategy: Strategy) -> None:
        """Reach peers by `strategy` too; it takes the place of one of its name."""
        self.strategies[strategy.name] = strategy

    def add_punch_addresses(self, source: PunchAddressSource) -> None:
        """Ask `source`, right before each hole punch, where our next packets will come from, as
        far as that can be foretold."""
        self._punch_addresses.append(source)

    async def punch_addresses(self) -> list[Multiaddr]:
        """What those sources say now; without `/p2p/`."""
        return [each for source in self._punch_addresses for each in await source()]

    def add_peer_source(self, source: PeerSource) -> None:
        """Ask `source` too when somebody wants to meet peers, whoever they are."""
        self._peer_sources.append(source)

    @property
    def finds_peers(self) -> bool:
        """Whether there is such a source."""
        return bool(self._peer_sources)

    async def find_peers(self, count: int) -> list[Target]:
        """Peers of the networks that we are in, about `count`, from each source; for services that
        look for some that do a certain thing."""
        return [each for source in self._peer_sources for each in await source(count)]

    def note_nat(self, nat: Nat) -> None:
        """Something was found out about our NAT."""
        if nat != self.nat:
            self.nat = nat
            self.events.publish(NatChanged(nat))

    def observe(self, connection: Connection, address: Multiaddr) -> None:
        """The peer of `connection` says that it sees us at `address`, which has no `/p2p/`."""
        before = self._observed_now()
        recorded = self.observed.record(
            connection,
            local=connection.local_address,
            remote=connection.remote_address,
            seen=address,
            now=trio.current_time(),
        )
        if not recorded:
            return
        connection.call_at_end(self._observer_left)
        if self._observed_now() != before:
            self.events.publish(OwnAddressesChanged())

    def _observed_now(self) -> tuple[Multiaddr, ...]:
        return self.observed.active(self.swarm.listen_addresses, trio.current_time())

    def _observer_left(self, connection: Connection) -> None:
        self.observed.ended(connection, trio.current_time())

    def detached_swarm(self) -> Swarm:
        """A swarm of the same transports with an identity of its own, that shares no port and no
        connection with this host: what it dials, it dials as a stranger would. It is not running.

        Raises:
            CarrickError: whoever made this host gave it none.
        """
        if self._detached_swarm is None:
            raise CarrickError("this host was made without a way to dial as a stranger")
        return self._detached_swarm()

    def _own_relays(self) -> list[Multiaddr]:
        return [address for address in self.own_addresses.all() if is_relayed(address)]

    async def _known_addresses(self, peer: PeerId) -> Iterable[Multiaddr]:
        return self.peerstore.addresses(peer)


def resolve_target(target: Target) -> tuple[PeerId | None, list[Multiaddr]]:
    """The peer and the addresses that `target` names; the peer is None if it names none.

    Raises:
        InvalidAddress, InvalidPeerId: the text is neither an address nor a peer id.
        NoAddresses: an empty list, or addresses of different peers.
    """
    if isinstance(target, PeerId):
        return target, []
    if isinstance(target, str) and not target.startswith("/"):
        return PeerId.parse(target), []
    given = [target] if isinstance(target, str | Multiaddr) else list(target)
    split = [split_peer(_multiaddr(address)) for address in given]
    peers = {peer for _, peer in split if peer is not None}
    if not split or len(peers) > 1:
        raise NoAddresses("give one or more addresses of one peer")
    return next(iter(peers), None), [address for address, _ in split if address.to_bytes()]


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


async def _open_on(
    connection: Connection, protocols: Sequence[str], *, allow_limited: bool, timeout: float
) -> Stream:
    peer = connection.peer_id
    if connection.is_limited and not allow_limited:
        raise LimitedConnection("it is a relayed one; allow_limited=True takes it", peer=peer)
    try:
        with trio.fail_after(timeout):
            return await connection.open_stream(protocols)
    except trio.TooSlowError:
        raise PeerTimeout(f"no stream within {timeout:g} s", peer=peer) from None


def _multiaddr(address: Multiaddr | str) -> Multiaddr:
    return parse_address(address) if isinstance(address, str) else address
