"""How the NAT in front of us behaves: found out with STUN servers, or by what peers see."""

from __future__ import annotations

from carrick.protocols.nat.classify import nat_of
from carrick.protocols.nat.evidence import Binding, Evidence, Findings
from carrick.protocols.nat.probing import TIMEOUT, probe
from carrick.protocols.nat.servers import parse_server, resolve_servers
from carrick.protocols.nat.service import Gateway, NatDetector, NatOptions

__all__ = [
    "TIMEOUT",
    "Evidence",
    "Findings",
    "Gateway",
    "NatDetector",
    "NatOptions",
    "Binding",
    "nat_of",
    "parse_server",
    "probe",
    "resolve_servers",
]
