"""The UDP endpoints of a host: who listens where, and what a dial leaves from."""

from __future__ import annotations

import ipaddress

from carrick.interfaces import Endpoint, SocketOpener
from carrick.sockets import current_sockets
from carrick.transports.quic.endpoint import UdpEndpoint
from carrick.transports.quic.settings import EngineSettings

__all__ = ["EndpointPool"]


class EndpointPool:
    """Shared by all transports of a host that speak QUIC.

    Args:
        sockets: opens sockets; None takes those of the context that makes it.
    """

    def __init__(
        self, settings: EngineSettings | None = None, *, sockets: SocketOpener | None = None
    ) -> None:
        self.settings = settings or EngineSettings()
        self._sockets = sockets or current_sockets()
        self._listening: dict[Endpoint, UdpEndpoint] = {}
        self._dialing: dict[tuple[int, bool], UdpEndpoint] = {}

    async def bind(self, local: Endpoint) -> UdpEndpoint:
        """The endpoint at `local`, which several listeners may share; port 0 makes a new one.

        Raises:
            OSError: as the operating system says.
        """
        endpoint = self._listening.get(local)
        if endpoint is None or endpoint.closed:
            endpoint = await self._open(local)
            self._listening[endpoint.local] = endpoint
        return endpoint

    async def for_dial(self, remote: Endpoint) -> UdpEndpoint:
        """What to dial `remote` from: a listening endpoint of its family and reach, so that one NAT
        mapping serves both directions; else one that all dials share while it is in use.
        """
        target = ipaddress.ip_address(remote[0].partition("%")[0])
        for (host, port), endpoint in self._listening.items():
            local = ipaddress.ip_address(host.partition("%")[0])
            if local.version != target.version or (host, port) == remote:
                continue
            if local.is_unspecified or local.is_loopback == target.is_loopback:
                return endpoint
        key = target.version, target.is_loopback
        shared = self._dialing.get(key)
        if shared is None or shared.closed:
            hosts = {4: ("0.0.0.0", "127.0.0.1"), 6: ("::", "::1")}[target.version]
            shared = await self._open((hosts[target.is_loopback], 0))
            self._dialing[key] = shared
        return shared

    async def _open(self, local: Endpoint) -> UdpEndpoint:
        socket = await self._sockets.open_udp(local)
        return UdpEndpoint(socket, self.settings, closed=self._forget)

    def _forget(self, endpoint: UdpEndpoint) -> None:
        if self._listening.get(endpoint.local) is endpoint:
            del self._listening[endpoint.local]
        for key, shared in tuple(self._dialing.items()):
            if shared is endpoint:
                del self._dialing[key]
