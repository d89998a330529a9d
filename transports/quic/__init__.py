"""QUIC v1: `/ip4|ip6/…/udp/…/quic-v1`."""

from __future__ import annotations

from carrick.transports.quic.pool import EndpointPool
from carrick.transports.quic.settings import EngineSettings
from carrick.transports.quic.transport import QuicTransport

__all__ = ["EndpointPool", "EngineSettings", "QuicTransport"]
