"""What the port mapper publishes on the host's event bus."""

from __future__ import annotations

from dataclasses import dataclass

from carrick.network.events import Event
from carrick.protocols.portmap.mapping import Mapping

__all__ = ["PortMapped", "PortMappingLost"]


@dataclass(frozen=True, slots=True)
class PortMapped(Event):
    """A gateway forwards a port to us, or by another external endpoint than before."""

    mapping: Mapping


@dataclass(frozen=True, slots=True)
class PortMappingLost(Event):
    """It does so no longer, and was not asked to stop; or it was, as nobody listens any more."""

    mapping: Mapping
