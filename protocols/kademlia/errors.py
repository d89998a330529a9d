"""What goes wrong in the DHT."""

from __future__ import annotations

from carrick.errors import CarrickError, ProtocolError

__all__ = ["InvalidRecord", "NotFound", "NothingStored"]


class InvalidRecord(ProtocolError):
    """A value must not be stored or returned under its key."""


class NotFound(CarrickError):
    """The DHT does not know what was looked for. The message says how far the lookup came."""


class NothingStored(CarrickError):
    """No peer took the record, or the provider's address."""
