"""The AutoNAT service: finds out where strangers reach us, and helps others to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import trio

from carrick.addressing import Multiaddr
from carrick.errors import PEER_FAILURES, ProtocolError
from carrick.host import Host, OwnAddressesChanged, Reachability, ReachabilityChanged
from carrick.interfaces import Direction
from carrick.network import Connection, StreamHandler
from carrick.network.events import ConnectionOpened, Event, ListenAddressesChanged
from carrick.protocols.autonat.addresses import can_be_probed, for_dial_back, voter
from carrick.protocols.autonat.ids import DIAL, DIAL_BACK, DIAL_REQUEST
from carrick.protocols.autonat.options import AutoNatOptions
from carrick.protocols.autonat.state import Asking, Tracker, Verdict, overall
from carrick.protocols.autonat.stranger import Stranger
from carrick.protocols.identify import ObservedAddress
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from collections.abc import Hashable

    from trio_typing import TaskStatus

    from carrick.network import Stream
    from carrick.protocols.autonat.v1.service import V1
    from carrick.protocols.autonat.v2.client import Client
    from carrick.protocols.autonat.v2.server import Server
    from carrick.protocols.autonat.v2.state import Finding

__all__ = ["AutoNat"]

V1_REFRESH = 900.0  # s; go-libp2p p2p/host/autonat/options.go
V1_ASK_AGAIN = 90.0  # s; the same
STREAMS_PER_PEER = 2  # of each protocol, at once; go-libp2p autonatv2/options.go
_GATHER = 0.1  # s; events come in swarms
_NODE = "node"

_log = logging.getLogger("carrick.autonat")


class AutoNat:
    """AutoNAT v2 and v1, client and server.

    What it finds is in `reachability` and `addresses`, and on the event bus as
    `ReachabilityChanged`. Addresses at which we turn out to be reachable are advertised, those at
    which we are not are no longer.
    """

    def __init__(self, options: AutoNatOptions | None = None) -> None:
        self.options = options or AutoNatOptions()
        self._host: Host
        self._stranger: Stranger
        self._addresses: Tracker[Multiaddr] = Tracker(
            confidence=self.options.confidence, refresh=self.options.refresh
        )
        self._node: Tracker[str] = Tracker(
            confidence=self.options.v1_confidence,
            refresh=V1_REFRESH,
            ask_again=V1_ASK_AGAIN,
            per_request=1,
        )
        self._told: tuple[Reachability, Mapping[Multiaddr, Reachability]] = (
            Reachability.UNKNOWN,
            MappingProxyType({}),
        )
        self._wake = trio.Event()

    # --- what is known ----------------------------------------------------------------------------

    @property
    def reachability(self) -> Reachability:
        """Whether strangers on the internet reach this host directly."""
        return self._told[0]

    @property
    def addresses(self) -> Mapping[Multiaddr, Reachability]:
        """The verdict on each of our public addresses, UNKNOWN included; without `/p2p/`."""
        return self._told[1]

    async def probe(self, connection: Connection, *addresses: Multiaddr) -> Finding:
        """Have one peer dial the first of `addresses` that it can, now (v2).

        Raises:
            ProbeRejected: it does not serve us; the status says why.
            ProtocolError: it breaks the protocol, or claims a dial that did not arrive.
            ValueError: the addresses do not fit into one request.
            PeerTimeout, ProtocolNotSupported, StreamReset, ConnectionClosed,
            ResourceLimitExceeded.
        """
        return await self._client.probe(connection, addresses)

    # --- life -------------------------------------------------------------------------------------

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve, and probe what there is, until cancelled."""
        self._host = host
        self._stranger = Stranger(host, current_sockets())
        self._handle(DIAL_BACK, self._serve_dial_back)
        if self.options.serve:
            self._handle(DIAL_REQUEST, self._serve_v2)
            self._handle(DIAL, self._serve_v1)
        if not self.options.probe:
            task_status.started()
            return
        host.own_addresses.add_source(self._reachable)
        host.own_addresses.add_filter(self._may_be_told)
        kinds: tuple[type[Event], ...] = (
            ConnectionOpened,
            ListenAddressesChanged,
            ObservedAddress,
            OwnAddressesChanged,
        )
        with host.events.subscribe(*kinds, where=self._concerns_us) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ask_all)
                task_status.started()
                async for event in events:
                    if isinstance(event, ConnectionOpened):
                        self._take_hint(event.connection)
                    self._wake.set()

    def _handle(self, protocol: str, serve: StreamHandler) -> None:
        self._host.swarm.handle(
            protocol, serve, service="autonat", streams_per_peer=STREAMS_PER_PEER
        )

    # The protocols load with their first stream, in either direction: a start does without them.

    @cached_property
    def _client(self) -> Client:
        from carrick.protocols.autonat.v2.client import Client

        return Client(self._host)

    @cached_property
    def _server(self) -> Server:
        from carrick.protocols.autonat.v2.server import Server

        return Server(self._host, self._stranger, self.options)

    @cached_property
    def _v1(self) -> V1:
        from carrick.protocols.autonat.v1.service import V1

        return V1(self._host, self._stranger, self.options)

    async def _serve_dial_back(self, stream: Stream) -> None:
        await self._client.take_nonce(stream)

    async def _serve_v2(self, stream: Stream) -> None:
        await self._server.serve(stream)

    async def _serve_v1(self, stream: Stream) -> None:
        await self._v1.serve(stream)

    def _reachable(self) -> list[Multiaddr]:
        found = self.addresses.items()
        return [address for address, verdict in found if verdict is Reachability.PUBLIC]

    def _may_be_told(self, address: Multiaddr) -> bool:
        return self.addresses.get(address) is not Reachability.PRIVATE

    def _concerns_us(self, event: Event) -> bool:
        """Whether it can change whom we ask, or about what."""
        match event:
            case ConnectionOpened(connection):
                return self._is_far(connection)
            case ObservedAddress(_, address):
                return self._for_dial_back(address) is not None
        return True

    def _take_hint(self, connection: Connection) -> None:
        """Somebody from afar is there: if it came to us, perhaps we are reachable after all."""
        if (
            connection.direction is Direction.INBOUND
            and not connection.is_limited
            and self.reachability is Reachability.PRIVATE
        ):
            now = trio.current_time()
            self._addresses.recheck(now)
            self._node.recheck(now)

    # --- asking -----------------------------------------------------------------------------------

    async def _ask_all(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                now = trio.current_time()
                candidates = self._candidates(now)
                start = now + self.options.delay
                self._addresses.set_things(candidates, start)
                self._node.set_things([_NODE] if candidates else [], start)
                servers = self._servers(DIAL_REQUEST)
                older = {} if servers else self._servers(DIAL)
                while (asking := self._addresses.next(list(servers), now)) is not None:
                    nursery.start_soon(self._ask_v2, servers[asking.server], asking)
                while (about := self._node.next(list(older), now)) is not None:
                    nursery.start_soon(self._ask_v1, older[about.server], about.server)
                self._tell()
                deadline = min(
                    self._addresses.next_time(list(servers)), self._node.next_time(list(older))
                )
                with trio.move_on_at(deadline):
                    await self._wake.wait()
                    await trio.sleep(_GATHER)

    async def _ask_v2(self, connection: Connection, asking: Asking[Multiaddr]) -> None:
        from carrick.protocols.autonat.v2.messages import ResponseStatus
        from carrick.protocols.autonat.v2.state import ProbeRejected

        tracker, server = self._addresses, asking.server
        try:
            finding = await self._client.probe(connection, asking.things)
        except ProbeRejected as error:
            refused = error.status is ResponseStatus.DIAL_REFUSED
            tracker.failed(server, trio.current_time(), refused=refused)
        except (*PEER_FAILURES, ProtocolError) as error:
            _log.debug("%s: %s", connection, error or type(error))
            tracker.failed(server, trio.current_time())
        else:
            tracker.heard(server, finding.address, finding.reachable, trio.current_time())
        self._wake.set()

    async def _ask_v1(self, connection: Connection, server: Hashable) -> None:
        try:
            reachable = await self._v1.ask(connection, self._candidates(trio.current_time()))
        except PEER_FAILURES as error:
            _log.debug("%s: %s", connection, error or type(error))
            reachable = None
        if reachable is None:
            self._node.failed(server, trio.current_time())
        else:
            self._node.heard(server, _NODE, reachable, trio.current_time())
        self._wake.set()

    def _candidates(self, now: float) -> list[Multiaddr]:
        """Our public addresses, and where single peers see us: whether that is true is what the
        probes show."""
        host = self._host
        listening = host.swarm.listen_addresses
        every = [*host.own_addresses.known(), *host.observed.candidates(listening, now)]
        bare = map(self._for_dial_back, every)
        return list(dict.fromkeys(each for each in bare if each is not None))

    def _for_dial_back(self, address: Multiaddr) -> Multiaddr | None:
        allow_private = self.options.allow_private
        return for_dial_back(address, self._host.id, allow_private=allow_private)

    def _servers(self, protocol: str) -> dict[Hashable, Connection]:
        """Whom we may ask, one of each network, in random order."""
        found = [
            each
            for each in self._host.connections
            if each.protocols is not None
            and protocol in each.protocols
            and not each.is_limited
            and not each.closed
            and self._is_far(each)
        ]
        self._host.rng.shuffle(found)
        return {voter(each.remote_address, each.peer_id): each for each in found}

    def _is_far(self, connection: Connection) -> bool:
        """What a peer of our own network sees, strangers do not."""
        return can_be_probed(connection.remote_address, allow_private=self.options.allow_private)

    def _tell(self) -> None:
        verdicts = self._addresses.verdicts
        node = self._node.verdicts.get(_NODE) or Verdict(self.options.v1_confidence)
        addresses = {address: each.reachability for address, each in verdicts.items()}
        now = overall(verdicts, node), addresses
        if now == self._told:
            return
        judged_before, judged_now = _judged(self._told[1]), _judged(addresses)
        changed = now[0] is not self._told[0] or judged_now != judged_before
        self._told = now[0], MappingProxyType(addresses)
        if changed:
            self._host.events.publish(ReachabilityChanged(now[0], MappingProxyType(judged_now)))
        if judged_now != judged_before:
            self._host.events.publish(OwnAddressesChanged())


def _judged(addresses: Mapping[Multiaddr, Reachability]) -> dict[Multiaddr, Reachability]:
    return {
        address: verdict
        for address, verdict in addresses.items()
        if verdict is not Reachability.UNKNOWN
    }
