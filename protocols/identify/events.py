"""What identify publishes on the host's event bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrick.network.events import Event

if TYPE_CHECKING:
    from carrick.addressing import Multiaddr
    from carrick.network import Connection
    from carrick.protocols.identify.messages import Info

__all__ = ["IdentifyFailed", "ObservedAddress", "PeerIdentified", "PeerUpdated"]


@dataclass(frozen=True, slots=True)
class PeerIdentified(Event):
    """A peer answered who it is; the peerstore has it."""

    connection: Connection
    info: Info


@dataclass(frozen=True, slots=True)
class PeerUpdated(Event):
    """A peer told what has changed with it; `info` has only what it sent."""

    connection: Connection
    info: Info


@dataclass(frozen=True, slots=True)
class IdentifyFailed(Event):
    """A peer did not answer, or not as it must."""

    connection: Connection
    cause: Exception


@dataclass(frozen=True, slots=True)
class ObservedAddress(Event):
    """A peer says that it sees us at `address`, which has no `/p2p/`. Others may lie."""

    connection: Connection
    address: Multiaddr
