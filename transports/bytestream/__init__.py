"""What all byte-stream transports (TCP, memory, …) share: the upgrade and the data path.

`upgrade` turns a `ByteSocket` into a `ByteStreamConnection`, by way of a security handshake and a
muxer. Transports differ only in how they get the socket.
"""

from carrick.transports.bytestream.connection import ByteStreamConnection
from carrick.transports.bytestream.ports import Greeting, PortListener, SharedPorts
from carrick.transports.bytestream.stream import ByteStream
from carrick.transports.bytestream.upgrade import (
    MuxerFactory,
    SecurityRefused,
    SocketWrapper,
    Upgrader,
)

__all__ = [
    "ByteStream",
    "ByteStreamConnection",
    "Greeting",
    "MuxerFactory",
    "PortListener",
    "SecurityRefused",
    "SharedPorts",
    "SocketWrapper",
    "Upgrader",
]
