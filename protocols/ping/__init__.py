"""Ping (`/ipfs/ping/1.0.0`): is a peer there, and how far away."""

from __future__ import annotations

from carrick.protocols.ping.service import ID, PAYLOAD_SIZE, Ping, PingOptions

__all__ = ["ID", "PAYLOAD_SIZE", "Ping", "PingOptions"]
