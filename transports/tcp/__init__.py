"""TCP: `/ip4/…/tcp/…` and `/ip6/…/tcp/…`."""

from carrick.transports.tcp.transport import TcpTransport

__all__ = ["TcpTransport"]
