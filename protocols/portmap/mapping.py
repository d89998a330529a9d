"""What is asked of a gateway and what it grants, whatever the protocol. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal, Protocol, TypeAlias

from carrick.errors import CarrickError, PeerTimeout

__all__ = [
    "MAX_LEASE",
    "MIN_LEASE",
    "GatewayClient",
    "IpProtocol",
    "Mapping",
    "MappingRefused",
    "NoGateway",
    "Port",
    "PortMappingError",
]

IpProtocol: TypeAlias = Literal["tcp", "udp"]

MIN_LEASE = 20.0  # s; less is of no use to anybody (RFC 6887 section 15: at least 120)
MAX_LEASE = 86400.0  # s; what RFC 6887 section 15 advises servers to grant at most


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """A port of ours that others shall reach."""

    protocol: IpProtocol
    number: int

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A port that a gateway forwards to us.

    Attributes:
        port: ours.
        client: our address on the gateway's network.
        external_port: the gateway's.
        external_address: the gateway's address outside; None: it does not say.
        lifetime: seconds from now; `math.inf`: until it is removed.
        via: the protocol it was asked for by: `pcp`, `nat-pmp` or `upnp`.
        generation: of the gateway's state. A mapping of an older one is gone.
    """

    port: Port
    client: IPv4Address
    external_port: int
    external_address: IPv4Address | None
    lifetime: float
    via: str
    generation: int = 0

    def __str__(self) -> str:
        outside = f"{self.external_address or '?'}:{self.external_port}"
        lease = "no end" if math.isinf(self.lifetime) else f"{self.lifetime:.0f} s"
        return f"{outside} → {self.client}:{self.port} ({self.via}, {lease})"


class PortMappingError(CarrickError):
    """A port could not be mapped."""


class NoGateway(PortMappingError, PeerTimeout):
    """No gateway is known, or it does not answer."""


class MappingRefused(PortMappingError):
    """The gateway refuses. `code` is its reason, in the numbers of its protocol."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class GatewayClient(Protocol):
    """One gateway, spoken to by one protocol.

    All calls raise `NoGateway` when it does not answer, `MappingRefused` when it refuses,
    `ProtocolError` when its answer makes no sense, and `OSError`.
    """

    @property
    def via(self) -> str:
        """`pcp`, `nat-pmp` or `upnp`."""

    @property
    def server(self) -> str:
        """The gateway's address on our network."""

    @property
    def generation(self) -> int:
        """Grows when the gateway is seen to have lost its mappings."""

    async def external_address(self) -> IPv4Address | None:
        """The gateway's address outside; None if the protocol or the gateway cannot say."""

    async def map(self, port: Port, external_port: int, lifetime: float) -> Mapping:
        """Map `port`, or renew its mapping; by `external_port` if that is free."""

    async def unmap(self, mapping: Mapping) -> None:
        """Remove a mapping; nothing if it is gone."""

    async def check(self, mappings: Sequence[Mapping]) -> list[Mapping]:
        """Ask whether these are there still; returns those that are not."""
