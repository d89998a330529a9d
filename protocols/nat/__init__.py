"""How the NAT in front of us behaves: found out with STUN servers, or by what peers see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick.protocols.nat.classify import nat_of
from carrick.protocols.nat.evidence import Binding, Evidence, Findings
from carrick.protocols.nat.servers import parse_server, resolve_servers
from carrick.protocols.nat.service import Gateway, NatDetector, NatOptions

if TYPE_CHECKING:
    from carrick.protocols.nat.probing import TIMEOUT, probe

__all__ = [
    "TIMEOUT",
    "Binding",
    "Evidence",
    "Findings",
    "Gateway",
    "NatDetector",
    "NatOptions",
    "nat_of",
    "parse_server",
    "probe",
    "resolve_servers",
]


def __getattr__(name: str) -> Any:
    # They load STUN, which only a node with STUN servers speaks.
    if name not in ("TIMEOUT", "probe"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from carrick.protocols.nat import probing

    return getattr(probing, name)
