"""WebTransport: `/ip4|ip6/…/udp/…/quic-v1/webtransport/certhash/…`, for browsers above all."""

from __future__ import annotations

from carrick.transports.webtransport.transport import WebTransportTransport

__all__ = ["WebTransportTransport"]
