"""Visits one peer: connects, reads its table, hears who it is, and leaves."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import trio

from carrick.addressing import Multiaddr, Reach, reach, split_peer
from carrick.errors import PEER_FAILURES, CarrickError, IdentityError, ProtocolError
from carrick.host import Host
from carrick.network import Connection, Stream
from carrick.protocols.identify import PeerIdentified
from carrick.protocols.kademlia.crawler.aiming import AimedKeys
from carrick.protocols.kademlia.crawler.drain import Drain
from carrick.protocols.kademlia.crawler.errors import NOT_DIALED, net_error
from carrick.protocols.kademlia.crawler.rows import Visit
from carrick.protocols.kademlia.messages import (
    MAX_MESSAGE,
    Message,
    MessageType,
    PeerInfo,
    decode,
)
from carrick.protocols.kademlia.settings import WAN

__all__ = ["AddressKind", "Visitor", "VisitSettings"]

_EVENTS = 8192  # peers identified since a visit last looked


class AddressKind(enum.Enum):
    """Which addresses are dialled; those over relays never are."""

    PUBLIC = "public"
    PRIVATE = "private"
    ANY = "any"

    def admits(self, address: Multiaddr) -> bool:
        kind = reach(address)
        if kind in (Reach.RELAYED, Reach.UNSPECIFIED, Reach.RESERVED):
            return False
        public = kind in (Reach.PUBLIC, Reach.NAME)
        return self is AddressKind.ANY or public == (self is AddressKind.PUBLIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitSettings:
    """How a peer is visited.

    Attributes:
        protocol: the protocol id of the DHT.
        dial: which addresses are dialled.
        dial_timeout: seconds for all addresses of a peer.
        request_timeout: seconds for each answer.
        identify_timeout: seconds for identify, from the connection on.
        requests: how many buckets are asked for at once. More take fewer round trips, and ask for
            more that the peer does not have.
    """

    protocol: str = WAN.protocol
    dial: AddressKind = AddressKind.PUBLIC
    dial_timeout: float = 15.0  # nebula, libp2p/crawler.go
    request_timeout: float = 5.0  # go-libp2p-kad-dht, crawler/options.go
    identify_timeout: float = 5.0  # nebula, libp2p/crawler_p2p.go
    requests: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.requests <= 16:
            raise ValueError(f"1 to 16 buckets are asked for at once, not {self.requests}")


class _Tries:
    """What became of each address. See `carrick.network.dial.dialer.DialWatch`."""

    def __init__(self) -> None:
        self.errors: dict[Multiaddr, BaseException | None] = {}

    def started(self, address: Multiaddr) -> None:
        self.errors.setdefault(address, None)

    def ended(self, address: Multiaddr, outcome: Connection | BaseException | None) -> None:
        if isinstance(outcome, BaseException):
            self.errors[address] = outcome


class Visitor:
    """Visits peers, many at once. Use it as a context manager."""

    def __init__(self, host: Host, settings: VisitSettings) -> None:
        self._host = host
        self._settings = settings
        self._keys = AimedKeys(host.rng)
        self._identified = host.events.subscribe(PeerIdentified, capacity=_EVENTS)
        self._events: dict[Connection, PeerIdentified | None] = {}
        """Of each connection in use, what its peer said."""

    def __enter__(self) -> Visitor:
        self._identified.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._identified.__exit__(*exception)

    async def visit(self, target: PeerInfo) -> Visit:
        """Visit a peer; what goes wrong is in the row."""
        started, began = datetime.now(UTC), trio.current_time()
        addresses = _places(target.addresses)
        dialled = tuple(each for each in addresses if self._settings.dial.admits(each))
        visit = Visit(
            peer=target.id,
            started=started,
            ended=started,
            addresses=dialled,
            filtered=tuple(each for each in addresses if each not in dialled),
        )
        if dialled:
            connection = await self._connect(visit)
            visit.connect_duration = trio.current_time() - began
            if connection is not None:
                await self._look(connection, visit)
        else:
            visit.connect_error = "no_ip_address"
        visit.ended = datetime.now(UTC)
        visit.crawl_duration = trio.current_time() - began
        return visit

    # --- connecting -------------------------------------------------------------------------------

    async def _connect(self, visit: Visit) -> Connection | None:
        tries = _Tries()
        try:
            with trio.fail_after(self._settings.dial_timeout):
                return await self._host.swarm.dialer.dial(
                    visit.peer, visit.addresses, force=True, watch=tries
                )
        except (CarrickError, trio.TooSlowError) as error:
            visit.connect_error = net_error(error)
            if visit.connect_error == "unknown":
                visit.properties = {"connect_error": str(error)}
            visit.dial_errors = tuple(_outcome(tries, each) for each in visit.addresses)
            return None

    # --- looking ----------------------------------------------------------------------------------

    async def _look(self, connection: Connection, visit: Visit) -> None:
        self._events[connection] = None
        opened = trio.current_time()
        visit.connect_address = connection.remote_address
        try:
            await self._read_table(connection, visit)
            visit.rtt = connection.rtt
            with trio.move_on_at(opened + self._settings.identify_timeout):
                await connection.announced.wait()
            self._take_identified(connection, visit)
        finally:
            del self._events[connection]
        await connection.aclose()

    def _take_identified(self, connection: Connection, visit: Visit) -> None:
        while (event := self._identified.get_nowait()) is not None:
            if event.connection in self._events:
                self._events[event.connection] = event
        event = self._events[connection]
        if event is not None:
            visit.agent_version = event.info.agent_version or ""
            visit.protocols = event.info.protocols
            visit.listen_addresses = event.info.listen_addresses
            if visit.crawl_error is not None and self._settings.protocol not in visit.protocols:
                visit.crawl_error = "protocol_not_supported"  # whatever else came of that

    async def _read_table(self, connection: Connection, visit: Visit) -> None:
        drain = Drain(visit.peer)
        failures: list[BaseException] = []
        async with trio.open_nursery() as nursery:
            for _ in range(self._settings.requests):
                nursery.start_soon(self._ask, connection, drain, failures)
        visit.neighbors = tuple(drain.neighbours.values())
        visit.error_bits = drain.error_bits
        visit.requests = drain.requests
        if not drain.read and failures:
            # Whoever named anybody was crawled; the bits tell which buckets are missing.
            visit.crawl_error = net_error(failures[0])
            if visit.crawl_error == "unknown":
                visit.properties = {"crawl_error": str(failures[0])}

    async def _ask(
        self, connection: Connection, drain: Drain, failures: list[BaseException]
    ) -> None:
        """Bucket after bucket on one stream, which ends with the connection; others have theirs."""
        stream: Stream | None = None
        while not connection.closed and (bits := drain.next()) is not None:
            key = self._keys.sharing(drain.place, bits)
            try:
                with trio.fail_after(self._settings.request_timeout):
                    if stream is None:
                        # Nothing is known of it yet: the proposal and the question go together.
                        stream = await connection.open_stream(self._settings.protocol, lazy=True)
                    answer = await _exchange(stream, Message(MessageType.FIND_NODE, key))
            except (*PEER_FAILURES, trio.TooSlowError) as error:
                failures.append(error)
                drain.failed(bits)
                if stream is not None:
                    stream.reset()
                    stream = None
                if not drain.read:
                    return  # it does not speak the protocol, or not to us
            else:
                drain.answered(bits, answer.closer)


async def _exchange(stream: Stream, message: Message) -> Message:
    await stream.write_frame(message.encode())
    answer = decode(await stream.read_frame(MAX_MESSAGE))
    if answer.type is not message.type:
        raise ProtocolError(f"a {message.type.name} was answered with {answer.type.name}")
    return answer


def _places(addresses: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
    """The addresses without a peer id behind them."""
    places: dict[Multiaddr, None] = {}
    for each in addresses:
        try:
            places[split_peer(each)[0]] = None
        except IdentityError:
            continue
    return tuple(places)


def _outcome(tries: _Tries, address: Multiaddr) -> str:
    if address not in tries.errors:
        return NOT_DIALED
    error = tries.errors[address]
    return "io_timeout" if error is None else net_error(error)
