"""Memory: `/memory/N`, between hosts of one process, without sockets."""

from carrick.transports.memory.transport import MemoryTransport

__all__ = ["MemoryTransport"]
