"""Circuit relay v2: peers that cannot reach each other meet at a third one.

`RelayService` relays for others. `RelayClient` reserves slots on relays and brings the transport
`/p2p-circuit`, by which peers are reached over theirs. `AutoRelay` finds relays, and has the client
keep slots on a few of them while strangers cannot reach us directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick.protocols.relay.auto import AutoRelay, AutoRelayOptions, RelaySource
from carrick.protocols.relay.client import RelayClient, RelayClientOptions, Reservation
from carrick.protocols.relay.errors import (
    CircuitFailed,
    MessageMalformed,
    MessageUnexpected,
    NoReservation,
    PermissionDenied,
    RelayRefused,
    RelayResourcesExceeded,
    ReservationRefused,
)
from carrick.protocols.relay.events import (
    CircuitClosed,
    CircuitOpened,
    RelayRequestRefused,
    ReservationGained,
    ReservationGiven,
    ReservationLost,
)
from carrick.protocols.relay.messages import HOP, STOP, Limit, Status
from carrick.protocols.relay.state import Capacity
from carrick.protocols.relay.transport import circuit_address, split_relay
from carrick.protocols.relay.voucher import Voucher

if TYPE_CHECKING:
    from carrick.protocols.relay.service import RelayOptions, RelayService

__all__ = [
    "HOP",
    "STOP",
    "AutoRelay",
    "AutoRelayOptions",
    "Capacity",
    "CircuitClosed",
    "CircuitFailed",
    "CircuitOpened",
    "Limit",
    "MessageMalformed",
    "MessageUnexpected",
    "NoReservation",
    "PermissionDenied",
    "RelayClient",
    "RelayClientOptions",
    "RelayOptions",
    "RelayRefused",
    "RelayRequestRefused",
    "RelayResourcesExceeded",
    "RelayService",
    "RelaySource",
    "Reservation",
    "ReservationGained",
    "ReservationGiven",
    "ReservationLost",
    "ReservationRefused",
    "Status",
    "Voucher",
    "circuit_address",
    "split_relay",
]


def __getattr__(name: str) -> Any:
    # Every host is a client of relays; few are relays.
    if name not in ("RelayOptions", "RelayService"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from carrick.protocols.relay import service

    return getattr(service, name)
