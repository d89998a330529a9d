"""What can be chosen about AutoNAT."""

from __future__ import annotations

from dataclasses import dataclass, field

from carrick.protocols.autonat.rates import ServerRates

__all__ = ["AutoNatOptions"]


def _v1_rates() -> ServerRates:
    # go-libp2p p2p/host/autonat/options.go: 30 and 3 a minute
    return ServerRates(overall=30, per_peer=3, with_data=0, per_target=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoNatOptions:
    """What AutoNAT does, and how much of it. Times are in seconds.

    Attributes:
        probe: have others dial our addresses.
        serve: dial those of others.
        confidence: by how many independent servers the verdicts on one side must outweigh the
            other (go's `minConfidence`).
        v1_confidence: the same for v1, whose servers cannot be checked (go's `maxConfidence`).
        delay: from the start, or from a change of addresses, to the first probe.
        refresh: how often a settled address is asked about again.
        rates: what is served in v2.
        v1_rates: what is served in v1.
        allow_private: probe and dial private and loopback addresses too; only for tests: with it
            strangers make us dial into our own network.
    """

    probe: bool = True
    serve: bool = True
    confidence: int = 2
    v1_confidence: int = 3
    delay: float = 3.0
    refresh: float = (
        3600.0  # go's addrs_reachability_tracker.go; 15 min for v1 (autonat/options.go)
    )
    rates: ServerRates = field(default_factory=ServerRates)
    v1_rates: ServerRates = field(default_factory=_v1_rates)
    allow_private: bool = False
