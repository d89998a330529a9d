"""Asks a UPnP gateway for mappings."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address

from carrick.errors import ProtocolError
from carrick.interfaces import SocketOpener
from carrick.protocols.portmap.mapping import IpProtocol, Mapping, MappingRefused, Port
from carrick.protocols.portmap.upnp.description import WanService, decode_description
from carrick.protocols.portmap.upnp.http import HttpExchange, Url, fetch
from carrick.protocols.portmap.upnp.soap import (
    CONFLICTS,
    INVALID_INDEX,
    NO_SUCH_ENTRY,
    ONLY_PERMANENT,
    decode_answer,
    encode_action,
    headers,
)

__all__ = ["PortMappingEntry", "UpnpClient", "open_upnp"]

DESCRIPTION = "carrick"  # what a person sees in the router's list
TRIES = 8  # of other ports, when the one wanted is taken
MAX_ENTRIES = 256  # of a gateway's list
_PORTS = (1024, 65535)  # miniupnpd and others refuse ports below


@dataclass(frozen=True, slots=True)
class PortMappingEntry:
    """A line of the gateway's list, whoever made it. `lease` is in seconds, 0: no end."""

    external_port: int
    protocol: IpProtocol
    client: str
    port: int
    description: str
    lease: int


async def open_upnp(
    sockets: SocketOpener, local: IPv4Address, url: Url, rng: random.Random
) -> UpnpClient:
    """Read the description at `url`; the client of the first connection there that is up.

    Raises:
        NoGateway, ProtocolError, MappingRefused, OSError.
    """
    answer = await fetch(sockets, str(local), HttpExchange(url), url.endpoint)
    if answer.status != 200:
        raise ProtocolError(f"the gateway's description: HTTP status {answer.status}")
    services = decode_description(answer.body, url)
    clients = [UpnpClient(sockets, local, service, rng) for service in services]
    for client in clients[:-1]:
        if await client.is_connected():
            return client
    return clients[-1]


class UpnpClient:
    """A connection of a UPnP gateway; see `GatewayClient`.

    Args:
        local: our address on its network.
        rng: chooses ports when the one that is wanted is taken.
    """

    via = "upnp"
    generation = 0  # it cannot tell; its list can be looked at

    def __init__(
        self, sockets: SocketOpener, local: IPv4Address, service: WanService, rng: random.Random
    ) -> None:
        self.service = service
        self._sockets = sockets
        self._local = local
        self._rng = rng
        self._permanent = False

    @property
    def server(self) -> str:
        return self.service.control.host

    async def is_connected(self) -> bool:
        """Whether it says that it is connected to the internet."""
        answer = await self._ask("GetStatusInfo")
        return answer.get("NewConnectionStatus") == "Connected"

    async def external_address(self) -> IPv4Address | None:
        text = (await self._ask("GetExternalIPAddress")).get("NewExternalIPAddress", "")
        if not text:
            return None
        address = _address(text)
        return None if address.is_unspecified else address

    async def map(self, port: Port, external_port: int, lifetime: float) -> Mapping:
        outside = await self.external_address()
        refusal = MappingRefused("every port tried is taken", CONFLICTS[0])
        low, high = _PORTS
        others = (self._rng.randint(low, high) for _ in range(TRIES))
        for candidate in (external_port or port.number, *others):
            entry = await self.entry(candidate, port.protocol)
            if entry is not None and (entry.client, entry.port) != (str(self._local), port.number):
                continue  # gateways of version 1 overwrite it
            try:
                await self._add("AddPortMapping", port, candidate, lifetime)
            except MappingRefused as error:
                if error.code not in CONFLICTS:
                    raise
                refusal = error
                if not self.service.has_any_port:
                    continue
                answer = await self._add("AddAnyPortMapping", port, candidate, lifetime)
                candidate = _port(answer.get("NewReservedPort", ""))
            granted = math.inf if self._permanent else lifetime
            return Mapping(port, self._local, candidate, outside, granted, self.via)
        raise refusal

    async def unmap(self, mapping: Mapping) -> None:
        entry = await self.entry(mapping.external_port, mapping.port.protocol)
        if entry is None or entry.client == str(mapping.client):
            await self.delete(mapping.external_port, mapping.port.protocol)

    async def delete(self, external_port: int, protocol: IpProtocol) -> None:
        """Remove whatever is mapped there, if the gateway lets us."""
        try:
            await self._ask("DeletePortMapping", _key(external_port, protocol))
        except MappingRefused as error:
            if error.code != NO_SUCH_ENTRY:
                raise

    async def check(self, mappings: Sequence[Mapping]) -> list[Mapping]:
        outside = await self.external_address()
        return [
            each
            for each in mappings
            if each.external_address != outside or not await self._holds(each)
        ]

    async def _holds(self, mapping: Mapping) -> bool:
        """Whether the gateway has it still; where it does not say, it is believed to."""
        try:
            entry = await self._entry(mapping.external_port, mapping.port.protocol)
        except MappingRefused as error:
            return error.code != NO_SUCH_ENTRY
        return entry is None or entry.client == str(mapping.client)

    async def entry(self, external_port: int, protocol: IpProtocol) -> PortMappingEntry | None:
        """Who has that port; None if nobody has, or the gateway does not say."""
        try:
            return await self._entry(external_port, protocol)
        except MappingRefused:
            return None

    async def _entry(self, external_port: int, protocol: IpProtocol) -> PortMappingEntry | None:
        answer = await self._ask("GetSpecificPortMappingEntry", _key(external_port, protocol))
        try:
            return _entry(
                {"NewExternalPort": str(external_port), "NewProtocol": protocol, **answer}
            )
        except ProtocolError:  # some leave it all empty
            return None

    async def entries(self) -> list[PortMappingEntry]:
        """The gateway's list, up to 256 lines of it."""
        found = []
        for index in range(MAX_ENTRIES):
            try:
                answer = await self._ask(
                    "GetGenericPortMappingEntry", {"NewPortMappingIndex": index}
                )
            except MappingRefused as error:
                if index or error.code in (INVALID_INDEX, NO_SUCH_ENTRY):
                    break
                raise
            found.append(_entry(answer))
        return found

    async def _add(
        self, action: str, port: Port, external_port: int, lifetime: float
    ) -> dict[str, str]:
        lease = 0 if self._permanent else max(1, int(lifetime))
        arguments = {
            **_key(external_port, port.protocol),
            "NewInternalPort": port.number,
            "NewInternalClient": self._local,
            "NewEnabled": 1,
            "NewPortMappingDescription": DESCRIPTION,
            "NewLeaseDuration": lease,
        }
        try:
            return await self._ask(action, arguments)
        except MappingRefused as error:
            if error.code != ONLY_PERMANENT or self._permanent:
                raise
        self._permanent = True
        return await self._ask(action, {**arguments, "NewLeaseDuration": 0})

    async def _ask(self, action: str, arguments: dict[str, object] | None = None) -> dict[str, str]:
        service, url = self.service.type, self.service.control
        body = encode_action(service, action, arguments or {})
        exchange = HttpExchange(url, headers(service, action), body)
        answer = await fetch(self._sockets, str(self._local), exchange, url.endpoint)
        return decode_answer(answer.body, action)


def _key(external_port: int, protocol: IpProtocol) -> dict[str, object]:
    return {
        "NewRemoteHost": "",
        "NewExternalPort": external_port,
        "NewProtocol": protocol.upper(),
    }


def _entry(fields: dict[str, str]) -> PortMappingEntry:
    protocol = fields.get("NewProtocol", "").lower()
    if protocol not in ("tcp", "udp"):
        raise ProtocolError("a port mapping of an unknown protocol")
    lease = fields.get("NewLeaseDuration", "") or "0"
    return PortMappingEntry(
        _port(fields.get("NewExternalPort", "")),
        "tcp" if protocol == "tcp" else "udp",
        fields.get("NewInternalClient", "")[:80],
        _port(fields.get("NewInternalPort", "")),
        fields.get("NewPortMappingDescription", "")[:80],
        _number(lease, 0, 2**32 - 1),
    )


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ProtocolError("no IPv4 address") from None


def _port(text: str) -> int:
    return _number(text, 1, 65535)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise ProtocolError(f"not a number from {low} to {high}")
    return int(text)
