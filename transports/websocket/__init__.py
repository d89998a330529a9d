"""WebSocket: `/ws`, and `/wss` or `/tls/ws`, behind an IP address and a TCP port."""

from carrick.transports.websocket.certificate import self_signed
from carrick.transports.websocket.transport import WebSocketTransport

__all__ = ["WebSocketTransport", "self_signed"]
