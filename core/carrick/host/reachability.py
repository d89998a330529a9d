"""What is told about our addresses on the event bus, by whatever finds it out."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.network.events import Event

if TYPE_CHECKING:
    from multiaddr import Multiaddr

__all__ = ["OwnAddressesChanged", "Reachability", "ReachabilityChanged"]


class Reachability(enum.Enum):
    """Whether strangers on the internet reach an address of ours, or this host at all."""

    UNKNOWN = "unknown"
    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class ReachabilityChanged(Event):
    """The verdict on this host, or on one of its addresses, has changed.

    Attributes:
        reachability: PUBLIC: at least at one address; PRIVATE: at none.
        addresses: the verdict on each address that was judged, without `/p2p/`.
    """

    reachability: Reachability
    addresses: Mapping[Multiaddr, Reachability]


@dataclass(frozen=True, slots=True)
class OwnAddressesChanged(Event):
    """What we advertise may have changed, by something else than listening."""
