"""AutoNAT, v2 and v1: at which of our addresses do strangers reach us?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick.host import Reachability, ReachabilityChanged
from carrick.protocols.autonat.options import AutoNatOptions
from carrick.protocols.autonat.rates import ServerRates
from carrick.protocols.autonat.service import AutoNat

if TYPE_CHECKING:
    from carrick.protocols.autonat.v2.state import Finding, ProbeRejected

__all__ = [
    "AutoNat",
    "AutoNatOptions",
    "Finding",
    "ProbeRejected",
    "Reachability",
    "ReachabilityChanged",
    "ServerRates",
]


def __getattr__(name: str) -> Any:
    # They load with the first probe, or when they are asked for.
    if name not in ("Finding", "ProbeRejected"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from carrick.protocols.autonat.v2 import state

    return getattr(state, name)
