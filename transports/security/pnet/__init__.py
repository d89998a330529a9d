"""Private networks by a pre-shared key (libp2p/specs, `pnet/Private-Networks-PSK-V1.md`)."""

from __future__ import annotations

from carrick.transports.security.pnet.network import PrivateNetwork
from carrick.transports.security.pnet.swarm_key import (
    encode_swarm_key,
    load_swarm_key,
    parse_swarm_key,
)

__all__ = ["PrivateNetwork", "encode_swarm_key", "load_swarm_key", "parse_swarm_key"]
