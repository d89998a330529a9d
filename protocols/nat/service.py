"""The NAT detector: knows the NAT in front of this host, and foretells ports where that can be."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import trio

from carrick.addressing import Multiaddr, Resolver, ip_endpoint, join_parts, parts
from carrick.errors import CarrickError
from carrick.host import (
    Host,
    Layers,
    Nat,
    OwnAddressesChanged,
    PortDelta,
    Reachability,
    ReachabilityChanged,
)
from carrick.interfaces import Endpoint
from carrick.network.events import Event, ListenAddressesChanged
from carrick.protocols.identify import ObservedAddress
from carrick.protocols.nat.classify import nat_of
from carrick.protocols.nat.delta import next_ports
from carrick.protocols.nat.evidence import Findings
from carrick.protocols.nat.peers import outside_address
from carrick.protocols.nat.servers import parse_server, resolve_servers
from carrick.sockets import current_sockets

if TYPE_CHECKING:
    from trio_typing import TaskStatus

__all__ = ["Gateway", "NatDetector", "NatOptions"]

Gateway: TypeAlias = "Callable[[], Awaitable[str | None]]"
"""Asks the gateway for its address outside."""

_GATHER = 0.5  # s; peers come in swarms
_RECHECK = 60.0  # s between two probes, whatever changes
_DIALLED = {"tcp": ("tcp",), "udp": ("udp", "quic-v1")}

_log = logging.getLogger("carrick.nat")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatOptions:
    """What the detector does. Times are in seconds.

    Attributes:
        stun: servers to ask, as `host` or `host:port`. None are built in: without any, peers alone
            show what the NAT does.
        interval: from one probe to the next.
        gateway: asks the gateway for its address outside; tells a NAT behind a NAT.
        predict: how many ports of a regular symmetric NAT to foretell for a punch.
        predict_within: how long the measuring before a punch may take.
    """

    stun: Sequence[str] = ()
    interval: float = 1800.0
    gateway: Gateway | None = None
    predict: int = 8
    predict_within: float = 1.5  # two round trips to a far server, for TCP


class NatDetector:
    """Finds out how the NAT behaves, and tells the host (`host.nat`, `NatChanged`).

    Peers are watched all the time; STUN servers, if any are given, are asked at the start, now and
    then, and when peers see us at a new address.

    Args:
        resolver: resolves the names of STUN servers; None: the system's DNS.

    Raises:
        InvalidAddress: a STUN server that is none.
    """

    def __init__(
        self, options: NatOptions | None = None, *, resolver: Resolver | None = None
    ) -> None:
        self.options = options or NatOptions()
        self._resolver = resolver
        self._servers = [parse_server(each) for each in self.options.stun]
        self._host: Host
        self._sockets = current_sockets()
        self._findings = Findings()
        self._probing = trio.Lock()  # the mappings of two probes would come in between each other
        self._reachable: frozenset[Endpoint] = frozenset()
        self._seen_at: str | None = None
        self._peers_changed = trio.Event()
        self._moved = trio.Event()

    @property
    def findings(self) -> Findings:
        """What the STUN servers showed last."""
        return self._findings

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch, and ask, until cancelled."""
        self._host = host
        self._sockets = current_sockets()
        host.add_punch_addresses(self._predicted)
        kinds: tuple[type[Event], ...] = (
            ObservedAddress,
            OwnAddressesChanged,
            ListenAddressesChanged,
            ReachabilityChanged,
        )
        with host.events.subscribe(*kinds) as events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_peers)
                if self._servers:
                    nursery.start_soon(self._ask_servers)
                task_status.started()
                async for event in events:
                    if isinstance(event, ReachabilityChanged):
                        self._reachable = _endpoints(event)
                    self._peers_changed.set()

    async def check(self) -> Nat:
        """Ask the servers now.

        Raises:
            ResolutionError: none of them has an address.
        """
        from carrick.protocols.nat.probing import probe  # with STUN, which few nodes speak

        servers = await resolve_servers(self._servers, resolver=self._resolver)
        async with self._probing:
            self._findings = await probe(servers, sockets=self._sockets, rng=self._host.rng)
        if self.options.gateway is not None:
            self._findings.gateway = await self.options.gateway()
        self._tell()
        return self._host.nat

    # --- finding out ------------------------------------------------------------------------------

    async def _ask_servers(self) -> None:
        while True:
            self._moved = trio.Event()
            try:
                await self.check()
            except (CarrickError, OSError) as error:
                _log.warning("the type of NAT is not known: %s", error)
            soonest = trio.current_time() + _RECHECK
            with trio.move_on_after(self.options.interval):
                await self._moved.wait()
                await trio.sleep_until(soonest)

    async def _watch_peers(self) -> None:
        while True:
            await self._peers_changed.wait()
            await trio.sleep(_GATHER)
            self._peers_changed = trio.Event()
            self._tell()

    def _tell(self) -> None:
        host = self._host
        observed = host.observed.sightings(trio.current_time())
        seen_at = outside_address(observed)
        if seen_at not in (None, self._seen_at, host.nat.address):
            self._moved.set()
        self._seen_at = seen_at
        addresses = frozenset(str(each.ip) for each in self._sockets.interface_addresses())
        findings = replace(self._findings, addresses=addresses)
        nat, before = nat_of(findings, observed, self._reachable), host.nat
        if nat.layers is Layers.UNKNOWN:  # a port mapper may know more
            nat = replace(nat, layers=before.layers)
        host.note_nat(replace(nat, address=nat.address or before.address))

    # --- foretelling ------------------------------------------------------------------------------

    async def _predicted(self) -> list[Multiaddr]:
        """Where the packets of a punch will come from, if the NAT counts or keeps ports."""
        from carrick.protocols.nat.probing import quick_ports

        nat, bindings = self._host.nat, self._findings.udp.bindings
        bindings = bindings or self._findings.tcp.bindings
        servers = _apart([each.remote for each in bindings])
        found: dict[str, list[Multiaddr]] = {"udp": [], "tcp": []}

        async def foretell(protocol: str, step: int) -> None:
            ends = await quick_ports(
                protocol,
                servers,
                sockets=self._sockets,
                rng=self._host.rng,
                timeout=self.options.predict_within,
            )
            if ends:
                ports = next_ports([port for _, port in ends], step, self.options.predict)
                found[protocol] = self._addresses(protocol, ends[-1][0], ports)

        async with trio.open_nursery() as nursery:
            for protocol, behaviour in (("udp", nat.udp), ("tcp", nat.tcp)):
                if servers and behaviour.is_predictable:
                    nursery.start_soon(foretell, protocol, behaviour.step)
        return [*found["udp"], *found["tcp"], *self._kept()]

    def _kept(self) -> list[Multiaddr]:
        """Our listening ports outside, where the NAT keeps them: it may be that no peer has seen
        one of them, because all are connected by another transport."""
        nat, found = self._host.nat, list[Multiaddr]()
        for protocol, behaviour in (("udp", nat.udp), ("tcp", nat.tcp)):
            keeps = behaviour.delta is PortDelta.EQUAL and behaviour.translates
            if nat.address is not None and keeps and not behaviour.is_symmetric:
                found += self._addresses(protocol, nat.address, self._listening(protocol))
        return found

    def _addresses(self, protocol: str, ip: str, ports: Sequence[int]) -> list[Multiaddr]:
        """These ports, in the form of what we listen on."""
        if not self._listening(protocol):
            return []
        name, *rest = _DIALLED[protocol]
        ending = [(each, None) for each in rest]
        return [join_parts((("ip4", ip), (name, str(port)), *ending)) for port in ports]

    def _listening(self, protocol: str) -> list[int]:
        """The ports of our listeners that can be punched to."""
        split = (parts(each) for each in self._host.swarm.listen_addresses)
        return [
            int(each[1][1] or 0)
            for each in split
            if each[0][0] == "ip4" and tuple(name for name, _ in each[1:]) == _DIALLED[protocol]
        ]


def _apart(servers: Sequence[Endpoint]) -> list[Endpoint]:
    """Two servers of different addresses first: every kind of symmetric NAT tells them apart."""
    first = list(dict.fromkeys(servers))[:1]
    others = [each for each in servers if each[0] != first[0][0]]
    return [*first, *others[:1]]


def _endpoints(event: ReachabilityChanged) -> frozenset[Endpoint]:
    """At which IP addresses and ports strangers reach us."""
    found = (
        ip_endpoint(address, protocol)
        for address, verdict in event.addresses.items()
        if verdict is Reachability.PUBLIC
        for protocol in ("tcp", "udp")
    )
    return frozenset(each for each in found if each is not None)
