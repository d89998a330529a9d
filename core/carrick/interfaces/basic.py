"""The small types that every interface uses."""

from __future__ import annotations

import enum
from typing import TypeAlias

__all__ = ["Buffer", "Direction", "Endpoint", "Role"]

Buffer: TypeAlias = bytes | bytearray | memoryview
Endpoint: TypeAlias = tuple[str, int]
"""An IP address as text and a port."""


class Role(enum.Enum):
    """Who speaks first in every later step. Apart from punched connections the dialer is CLIENT."""

    CLIENT = "client"
    SERVER = "server"


class Direction(enum.Enum):
    """Who opened a connection or a stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
