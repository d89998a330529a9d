"""What the relay's services publish on the host's event bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.network.events import Event

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.protocols.relay.client import Reservation

__all__ = [
    "CircuitClosed",
    "CircuitOpened",
    "RelayRequestRefused",
    "ReservationGained",
    "ReservationGiven",
    "ReservationLost",
]


@dataclass(frozen=True, slots=True)
class ReservationGained(Event):
    """A relay serves us; `reservation.addresses` are advertised now."""

    reservation: Reservation


@dataclass(frozen=True, slots=True)
class ReservationLost(Event):
    """A relay no longer serves us; it is asked again unless the reservation was released."""

    reservation: Reservation
    cause: BaseException | None


@dataclass(frozen=True, slots=True)
class ReservationGiven(Event):
    """We, a relay, gave `peer` a slot, or renewed it."""

    peer: PeerId
    renewed: bool


@dataclass(frozen=True, slots=True)
class RelayRequestRefused(Event):
    """We, a relay, refused a request of `peer` with `status`."""

    peer: PeerId
    status: int


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """We, a relay, carry a circuit."""

    source: PeerId
    target: PeerId


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """A circuit that we carried has ended.

    Attributes:
        forward: bytes from `source` to `target`.
        backward: bytes the other way.
        reason: why it was reset; empty if both sides had ended it.
    """

    source: PeerId
    target: PeerId
    forward: int
    backward: int
    reason: str
