"""STUN: ask a server at which address it sees us (RFC 8489, RFC 5780)."""

from __future__ import annotations

from carrick.protocols.stun.client import PORT, Answer, StunClient, StunError, UdpPort, UdpQuery
from carrick.protocols.stun.messages import MAX_MESSAGE, Kind, Message, decode, encode, size_of

__all__ = [
    "MAX_MESSAGE",
    "PORT",
    "Answer",
    "Kind",
    "Message",
    "StunClient",
    "StunError",
    "UdpPort",
    "UdpQuery",
    "decode",
    "encode",
    "size_of",
]
