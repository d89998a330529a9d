"""Port mapping: has the home's gateway forward our ports to us, by PCP, NAT-PMP or UPnP.

`PortMapper` is the service; nothing is mapped without it. `find_place`, `probe` and the clients
serve programs that map ports themselves.
"""

from __future__ import annotations

from carrick.protocols.portmap.clients import NatPmpClient, PcpClient
from carrick.protocols.portmap.discovery import FAILURES, Found, Place, find_place, probe
from carrick.protocols.portmap.events import PortMapped, PortMappingLost
from carrick.protocols.portmap.listeners import layers_of
from carrick.protocols.portmap.mapping import (
    GatewayClient,
    IpProtocol,
    Mapping,
    MappingRefused,
    NoGateway,
    Port,
    PortMappingError,
)
from carrick.protocols.portmap.options import PROTOCOLS, PortMapperOptions
from carrick.protocols.portmap.service import PortMapper
from carrick.protocols.portmap.upnp.client import PortMappingEntry, UpnpClient

__all__ = [
    "FAILURES",
    "PROTOCOLS",
    "Found",
    "GatewayClient",
    "IpProtocol",
    "Mapping",
    "MappingRefused",
    "NatPmpClient",
    "NoGateway",
    "PcpClient",
    "Place",
    "Port",
    "PortMapped",
    "PortMapper",
    "PortMapperOptions",
    "PortMappingError",
    "PortMappingEntry",
    "PortMappingLost",
    "UpnpClient",
    "find_place",
    "layers_of",
    "probe",
]
