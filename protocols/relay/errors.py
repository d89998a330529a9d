"""What can go wrong with a relay: one error for each status that refuses."""

from __future__ import annotations

from carrick.errors import RequestRefused
from carrick.protocols.relay.messages import Status, status_name

__all__ = [
    "CircuitFailed",
    "MessageMalformed",
    "MessageUnexpected",
    "NoReservation",
    "PermissionDenied",
    "RelayRefused",
    "RelayResourcesExceeded",
    "ReservationRefused",
    "refusal",
]


class RelayRefused(RequestRefused):
    """A relay did not do what we asked for.

    Attributes:
        status: its answer, a `Status` where the number is known.
    """

    def __init__(self, status: int, *, peer: object = None, asked: str = "request") -> None:
        super().__init__(f"the relay refused our {asked}: {status_name(status)}", peer=peer)
        self.status = status


class ReservationRefused(RelayRefused):
    """It takes no reservation: it has too many."""


class RelayResourcesExceeded(RelayRefused):
    """Too many circuits of ours or of the peer, or too many requests."""


class PermissionDenied(RelayRefused):
    """Its rules forbid it."""


class CircuitFailed(RelayRefused):
    """It could not reach the peer, or the peer did not take the circuit."""


class NoReservation(RelayRefused):
    """The peer has no reservation there."""


class MessageMalformed(RelayRefused):
    """It did not understand us."""


class MessageUnexpected(RelayRefused):
    """It understood us, but did not expect that."""


_BY_STATUS: dict[int, type[RelayRefused]] = {
    Status.RESERVATION_REFUSED: ReservationRefused,
    Status.RESOURCE_LIMIT_EXCEEDED: RelayResourcesExceeded,
    Status.PERMISSION_DENIED: PermissionDenied,
    Status.CONNECTION_FAILED: CircuitFailed,
    Status.NO_RESERVATION: NoReservation,
    Status.MALFORMED_MESSAGE: MessageMalformed,
    Status.UNEXPECTED_MESSAGE: MessageUnexpected,
}


def refusal(status: int, *, peer: object = None, asked: str = "request") -> RelayRefused:
    """The error for an answer other than OK."""
    return _BY_STATUS.get(status, RelayRefused)(status, peer=peer, asked=asked)
