"""`HostBuilder`: says which parts a host is made of, and opens it."""

from __future__ import annotations

import ipaddress
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from carrick import defaults
from carrick.addressing import Resolver, parse_address
from carrick.errors import CarrickError, PrivateNetworkRequired
from carrick.host import Announcement, Host, ObservedAddresses, Service
from carrick.host.observed import OBSERVERS
from carrick.identity import PrivateKey, load_key
from carrick.interfaces import Security, Transport
from carrick.network import ConnectionGater, EventBus, Limits, StreamHandler, Swarm
from carrick.peerstore import MemoryPeerstore, Peerstore
from carrick.sockets import current_sockets
from carrick.transports.bytestream import MuxerFactory, Upgrader

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["HostBuilder"]

SecurityChoice: TypeAlias = str | Callable[[PrivateKey], Security]
TransportChoice: TypeAlias = str | Callable[[Upgrader], Transport]
MuxerChoice: TypeAlias = str | tuple[str, MuxerFactory]
ServiceChoice: TypeAlias = Service | Callable[[], Service]


@dataclass(frozen=True, slots=True)
class _Handler:
    protocol: str
    serve: StreamHandler
    allow_limited: bool


@dataclass(frozen=True)
class HostBuilder:
    """Describes a host, part by part, and opens it.

    Each method returns a changed copy, so a description can be kept and varied::

        node = HostBuilder().security("noise")
        async with node.listen("/ip4/127.0.0.1/tcp/0").open() as host: ...

    With nothing set: a new identity; QUIC, TCP, WebSocket and WebTransport with Noise and TLS, and
    Yamux; identify, ping, AutoNAT, a relay client and DCUtR; no listening.
    """

    _key: PrivateKey | None = None
    _listen: tuple[Multiaddr, ...] = ()
    _announcement: Announcement = Announcement()
    _transports: tuple[TransportChoice, ...] = defaults.TRANSPORTS
    _securities: tuple[SecurityChoice, ...] = defaults.SECURITIES
    _muxers: tuple[MuxerChoice, ...] = defaults.MUXERS
    _services: tuple[ServiceChoice, ...] = ()
    _default_services: bool = True
    _handlers: tuple[_Handler, ...] = ()
    _limits: Limits = field(default_factory=Limits)
    _gater: ConnectionGater | None = None
    _resolver: Resolver | None = None
    _peerstore: str | os.PathLike[str] | Peerstore | None = None
    _private_network: bytes | None = field(default=None, repr=False)
    _keylog: Callable[[str], None] | None = None
    _frame_trace: Callable[[str], object] | None = None
    _seed: int | None = None
    _observers: int = OBSERVERS

    def identity(self, key: PrivateKey | str | os.PathLike[str]) -> HostBuilder:
        """Our key, or the file that holds it.

        Raises:
            KeyFileError: the file cannot be read.
        """
        return self._with(key=key if isinstance(key, PrivateKey) else load_key(Path(key)))

    def listen(self, *addresses: Multiaddr | str) -> HostBuilder:
        """Listen there, in addition to what was given before. Port 0 takes a free one."""
        return self._with(listen=(*self._listen, *map(_address, addresses)))

    def announce(
        self,
        *addresses: Multiaddr | str,
        append: Sequence[Multiaddr | str] = (),
        withhold: Sequence[str] = (),
    ) -> HostBuilder:
        """Decide what peers are told.

        Args:
            addresses: tell these instead of the listen addresses.
            append: tell these too.
            withhold: networks (CIDR) whose addresses are never told.
        """
        return self._with(
            announcement=Announcement(
                announce=tuple(map(_address, addresses)),
                append=tuple(map(_address, append)),
                withhold=tuple(map(ipaddress.ip_network, withhold)),
            )
        )

    def transports(self, *transports: TransportChoice) -> HostBuilder:
        """`"quic"`, `"tcp"`, `"ws"`, `"webtransport"`, `"memory"`, or functions that make one from
        an `Upgrader`."""
        return self._with(transports=transports)

    def security(self, *securities: SecurityChoice) -> HostBuilder:
        """`"noise"`, `"tls"`, or functions that make one from our key; best first."""
        return self._with(securities=securities)

    def muxers(self, *muxers: MuxerChoice) -> HostBuilder:
        """`"yamux"`, `"mplex"`, or pairs of protocol id and factory; best first."""
        return self._with(muxers=muxers)

    def services(self, *services: ServiceChoice, defaults: bool = True) -> HostBuilder:
        """Run these services too; without the default ones if `defaults` is False.

        One that is given takes the place of the default service of its class, or of its base.

        Args:
            services: classes or functions that make a service for each host that is opened, or
                instances, which serve one host.
        """
        return self._with(
            services=(*self._services, *services),
            default_services=self._default_services and defaults,
        )

    def handle(
        self, protocol: str, handler: StreamHandler, *, allow_limited: bool = False
    ) -> HostBuilder:
        """Serve `protocol` from the first connection on; see `Host.handle`."""
        return self._with(handlers=(*self._handlers, _Handler(protocol, handler, allow_limited)))

    def limits(self, limits: Limits | None = None, **overrides: Any) -> HostBuilder:
        """Take `limits` (default: the present ones), with single ones overridden by name.

        Raises:
            ValueError: there is no limit of that name.
        """
        return self._with(limits=(limits or self._limits).with_overrides(**overrides))

    def gater(self, gater: ConnectionGater) -> HostBuilder:
        """Ask `gater` about every connection."""
        return self._with(gater=gater)

    def resolver(self, resolver: Resolver) -> HostBuilder:
        """Resolve names with `resolver` instead of the system's DNS."""
        return self._with(resolver=resolver)

    def peerstore(self, store: str | os.PathLike[str] | Peerstore) -> HostBuilder:
        """Keep what is known of peers in that file (SQLite), or in a store of your own, which
        you close."""
        return self._with(peerstore=store)

    def private_network(self, psk: bytes) -> HostBuilder:
        """Join the private network of this 32-byte pre-shared key, and no other."""
        return self._with(private_network=psk)

    def key_log(self, write: Callable[[str], None]) -> HostBuilder:
        """Hand the session keys of every connection to `write`, a line each, for Wireshark.

        Whoever reads them reads the traffic: for debugging only.
        """
        return self._with(keylog=write)

    def trace_frames(self, write: Callable[[str], object]) -> HostBuilder:
        """Hand a line of JSON for every muxer frame, and for every step of every upgrade, to
        `write`; never any payload. The fields are described at `FrameTrace`."""
        return self._with(frame_trace=write)

    def observers(self, count: int) -> HostBuilder:
        """How many independent peers must see us at an address before we advertise it: 4 suits a
        node that stays, 1 a command that runs once.

        Raises:
            ValueError: `count` is less than 1.
        """
        if count < 1:
            raise ValueError(f"an address needs at least one observer, not {count}")
        return self._with(observers=count)

    def seed(self, seed: int) -> HostBuilder:
        """Seed the host's randomness (not its keys), for runs that can be repeated."""
        return self._with(seed=seed)

    def open(self) -> AbstractAsyncContextManager[Host]:
        """Start the host; it lives in the `async with` block.

        Raises:
            ListenError: an address cannot be listened on.
            CarrickError: a part does not fit.
        """
        return self._open()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Host]:
        if self._private_network is None and os.environ.get("LIBP2P_FORCE_PNET") == "1":
            raise PrivateNetworkRequired(
                "LIBP2P_FORCE_PNET=1 asks for a private network, and no pre-shared key was given"
            )
        key = self._key or PrivateKey.generate()
        peerstore = self._make_peerstore()
        try:
            rng = random.Random(self._seed)
            upgrader = self._make_upgrader(key)
            swarm = self._make_swarm(key, upgrader, rng, self._resolver or Resolver())
            services = [_make_service(choice) for choice in self._services]
            if self._default_services:
                services += [
                    default
                    for default in defaults.default_services()
                    if not any(isinstance(given, type(default)) for given in services)
                ]
            host = Host(
                key,
                swarm,
                peerstore=peerstore,
                services=services,
                announcement=self._announcement,
                rng=rng,
                upgrader=upgrader,
                observed=ObservedAddresses(observers=self._observers),
                detached_swarm=partial(self._make_detached_swarm, rng),
            )
            for handler in self._handlers:
                host.handle(handler.protocol, handler.serve, allow_limited=handler.allow_limited)
            async with host.running(self._listen):
                yield host
        finally:
            if peerstore is not self._peerstore:
                peerstore.close()

    def _make_detached_swarm(self, rng: random.Random) -> Swarm:
        """Without names, since a stranger's name may lead anywhere."""
        key = PrivateKey.generate()
        return self._make_swarm(key, self._make_upgrader(key), rng, None)

    def _make_swarm(
        self, key: PrivateKey, upgrader: Upgrader, rng: random.Random, resolver: Resolver | None
    ) -> Swarm:
        parts = defaults.HostParts(upgrader, key, self._limits, current_sockets(), rng)
        return Swarm(
            key.peer_id,
            [
                defaults.transport_by_name(choice, parts)
                if isinstance(choice, str)
                else choice(upgrader)
                for choice in self._transport_choices()
            ],
            limits=self._limits,
            gater=self._gater,
            events=EventBus(),
            resolver=resolver,
            rng=rng,
        )

    def _transport_choices(self) -> tuple[TransportChoice, ...]:
        """Those that were chosen; in a private network, none that cannot be private."""
        if self._private_network is None:
            return self._transports
        if self._transports is defaults.TRANSPORTS:
            return tuple(each for each in self._transports if each not in defaults.PUBLIC_ONLY)
        for choice in self._transports:
            if choice in defaults.PUBLIC_ONLY:
                raise CarrickError(
                    f"a private network has no {choice} transport: the pre-shared key protects "
                    "byte streams only; leave it out of .transports(…)"
                )
        return self._transports

    def _make_peerstore(self) -> Peerstore:
        if self._peerstore is None:
            return MemoryPeerstore()
        if isinstance(self._peerstore, str | os.PathLike):
            from carrick.peerstore import SqlitePeerstore

            return SqlitePeerstore(self._peerstore)
        return self._peerstore

    def _make_upgrader(self, key: PrivateKey) -> Upgrader:
        securities = [
            defaults.security_by_name(choice, key, self._keylog)
            if isinstance(choice, str)
            else choice(key)
            for choice in self._securities
        ]
        limits = self._limits
        muxers = dict(
            defaults.muxer_by_name(
                choice,
                max_streams=limits.streams_per_connection,
                max_inbound=limits.streams_inbound_per_connection,
                max_backlog=limits.streams_pending_per_connection,
            )
            if isinstance(choice, str)
            else choice
            for choice in self._muxers
        )
        trace = None
        if self._frame_trace is not None:
            from carrick.transports.bytestream.trace import FrameTrace

            trace = FrameTrace(self._frame_trace)
        wrapper = None
        if self._private_network is not None:
            from carrick.transports.security.pnet import PrivateNetwork

            wrapper = PrivateNetwork(self._private_network)
        return Upgrader(securities, muxers, wrapper, trace=trace)

    def _with(self, **changes: Any) -> HostBuilder:
        return replace(self, **{f"_{name}": value for name, value in changes.items()})


def _make_service(choice: ServiceChoice) -> Service:
    if isinstance(choice, type) or not hasattr(choice, "run"):
        return cast(Callable[[], Service], choice)()
    return choice


def _address(address: Multiaddr | str) -> Multiaddr:
    return parse_address(address) if isinstance(address, str) else address
