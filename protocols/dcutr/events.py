"""What DCUtR publishes on the host's event bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.network.events import Event

if TYPE_CHECKING:
    from carrick.identity import PeerId
    from carrick.network import Connection
    from carrick.protocols.dcutr.upgrade import Outcome

__all__ = ["DirectConnectionMade", "UpgradeFailed"]


@dataclass(frozen=True, slots=True)
class DirectConnectionMade(Event):
    """There is a direct connection beside a relayed one, which new streams take from now on.

    Attributes:
        relayed: is closed after a while, when no stream is left on it.
        strategy: `reverse` (B dialled A), `punch`, or `direct` (A's own dial was late).
    """

    peer: PeerId
    connection: Connection
    relayed: Connection
    strategy: str


@dataclass(frozen=True, slots=True)
class UpgradeFailed(Event):
    """No direct connection came about; the relayed one stays.

    Attributes:
        reason: in words, such as `symmetric NAT here, port restricted cone there`.
    """

    peer: PeerId
    outcome: Outcome
    reason: str
