"""The interfaces between the floors of the house: what a part may expect of its neighbours.

Nothing here does anything. Implementations are on the floors above and satisfy these types
structurally, so anybody can put in their own. The parts, from the wire upwards::

    ByteSocket        bytes in and out, without awaiting       kernel, memory, simulated
    Handshake         proves who the other side is             noise, tls               (no I/O)
    Records           plaintext <-> sealed records             noise, tls               (no I/O)
    Muxer             many streams over one byte stream        yamux, mplex             (no I/O)
    MuxedConnection   authenticated and multiplexed            what a Transport makes
    Service           a protocol, wired into a host            identify, ping, kademlia, …
"""

from __future__ import annotations

from carrick.interfaces.basic import Buffer, Direction, Endpoint, Role
from carrick.interfaces.connections import (
    InboundConnection,
    Listener,
    MuxedConnection,
    MuxedStream,
    PunchingTransport,
    Transport,
)
from carrick.interfaces.muxers import Budget, Muxer, MuxerStream
from carrick.interfaces.security import Handshake, Records, Security, Session
from carrick.interfaces.sockets import (
    ByteListener,
    ByteSocket,
    DatagramSocket,
    IPInterface,
    SocketOpener,
)

__all__ = [
    "Budget",
    "Buffer",
    "ByteListener",
    "ByteSocket",
    "DatagramSocket",
    "Direction",
    "Endpoint",
    "Handshake",
    "IPInterface",
    "InboundConnection",
    "Listener",
    "MuxedConnection",
    "MuxedStream",
    "Muxer",
    "MuxerStream",
    "PunchingTransport",
    "Records",
    "Role",
    "Security",
    "Session",
    "SocketOpener",
    "Transport",
]
