"""The description of a gateway: which of its services maps ports, and where. No I/O.

Source: UPnP Device Architecture 1.1, section 2; WANIPConnection:1 and :2, WANPPPConnection:1.
"""

from __future__ import annotations

from dataclasses import dataclass

from carrick.errors import ProtocolError
from carrick.interfaces import Buffer
from carrick.protocols.portmap.upnp.http import Url
from carrick.protocols.portmap.upnp.ssdp import local_url
from carrick.protocols.portmap.upnp.xml import parse_xml

__all__ = ["WanService", "decode_description"]

_PREFIX = "urn:schemas-upnp-org:service:"
# The best first. Version 2 has AddAnyPortMapping.
_KNOWN = ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
MAX_SERVICES = 8  # of several connections only these are looked at


@dataclass(frozen=True, slots=True)
class WanService:
    """A connection to the internet that maps ports.

    Attributes:
        type: its URN.
        control: where it is asked.
    """

    type: str
    control: Url

    @property
    def has_any_port(self) -> bool:
        """Whether it knows AddAnyPortMapping."""
        return self.type.endswith("WANIPConnection:2")


def decode_description(data: Buffer, url: Url) -> list[WanService]:
    """The services of the device at `url` that map ports, the best first; at most 8.

    Raises:
        ProtocolError: it is malformed, has no such service, or leads to another host.
    """
    root = parse_xml(data)
    base = local_url(text, url.host, url) if (text := root.value("URLBase")) else url
    found = []
    for service in root.all("service"):
        type_ = service.value("serviceType")
        if type_.removeprefix(_PREFIX) in _KNOWN and type_.startswith(_PREFIX):
            found.append(WanService(type_, local_url(service.value("controlURL"), url.host, base)))
    if not found:
        raise ProtocolError("the device has no service that maps ports")
    found.sort(key=lambda each: _KNOWN.index(each.type.removeprefix(_PREFIX)))
    return found[:MAX_SERVICES]
