"""Connections and streams: dial, listen, admit, serve, limit, trim. `Swarm` puts it together."""

from __future__ import annotations

from carrick.network.codes import ConnectionCode, StreamCode
from carrick.network.connection import Connection
from carrick.network.events import EventBus, Subscription
from carrick.network.gater import AllowAll, BlockList, ConnectionGater
from carrick.network.handlers import StreamHandler
from carrick.network.limits import Limits
from carrick.network.manager import ConnectionManager
from carrick.network.pathfinder import AddressSource, Pathfinder, Search, Way
from carrick.network.resources import ResourceManager
from carrick.network.serving import ConnectionStep
from carrick.network.stream import Stream
from carrick.network.swarm import Swarm
from carrick.network.writer import BufferedWriter

__all__ = [
    "AddressSource",
    "AllowAll",
    "BlockList",
    "BufferedWriter",
    "Connection",
    "ConnectionCode",
    "ConnectionGater",
    "ConnectionManager",
    "ConnectionStep",
    "EventBus",
    "Limits",
    "Pathfinder",
    "ResourceManager",
    "Search",
    "Stream",
    "StreamCode",
    "StreamHandler",
    "Subscription",
    "Swarm",
    "Way",
]
