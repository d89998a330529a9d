"""AutoNAT, v2 and v1: at which of our addresses do strangers reach us?"""

from __future__ import annotations

from carrick.host import Reachability, ReachabilityChanged
from carrick.protocols.autonat.options import AutoNatOptions
from carrick.protocols.autonat.rates import ServerRates
from carrick.protocols.autonat.service import AutoNat
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
