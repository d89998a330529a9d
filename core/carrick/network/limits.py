"""Every limit of the network, by name, with its default."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Limits", "default_memory"]

MIB = 1 << 20
_UNITS = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def default_memory() -> int:
    """The memory budget in bytes: an eighth of the machine's RAM, at least 128 MiB.

    go-libp2p takes the same share (`p2p/host/resource-manager/limit_defaults.go`).
    """
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        total = 0
    return max(128 * MIB, total // 8)


def _protocol_defaults() -> Mapping[str, int]:
    # go: ping 2 in per peer, identify 16 (p2p/host/resource-manager/limits.go)
    return MappingProxyType(
        {"/ipfs/ping/1.0.0": 2, "/ipfs/id/1.0.0": 16, "/ipfs/id/push/1.0.0": 16}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What strangers, and we, may take. Counts are of things at one time; times are in seconds.

    `with_overrides(name=value)` gives a changed copy. The names are those of `HostBuilder.limits`
    and of the command's `--limit NAME=VALUE`, and each refusal names the one that it met.
    """

    # Connections. Pending means: not yet authenticated and multiplexed.
    connections: int = 512
    connections_inbound: int = 384  # 75 %; the rest is for dials and protected peers
    connections_per_peer: int = 8  # go the same
    connections_per_address: int = 64  # an IPv4 address or an IPv6 /56; go 8
    connections_per_private_address: int = 256
    connections_per_site: int = 64  # an IPv6 /48; go the same
    connections_pending: int = 128
    connections_pending_per_address: int = 16
    connection_rate_per_address: float = 8.0  # per second
    connection_burst_per_address: int = 64
    count_loopback: bool = False  # loopback counts as a public address

    # Streams. Pending means: the protocol is not negotiated yet. The first three leave each
    # connection eight inbound streams, so that a flood on others cannot shut it out.
    streams: int = 16384
    streams_inbound: int = 8192
    streams_pending: int = 4096
    streams_inbound_per_peer: int = 1024
    streams_outbound_per_peer: int = 2048
    streams_inbound_per_connection: int = 512  # rust-yamux the same
    streams_per_connection: int = 1000  # both directions together
    streams_pending_per_connection: int = 256  # go-yamux's accept backlog
    streams_inbound_per_protocol: int = 2048
    streams_inbound_per_protocol_and_peer: int = 64  # go the same
    streams_inbound_per_service: int = 2048
    streams_inbound_per_service_and_peer: int = 128  # go the same
    protocol_streams_per_peer: Mapping[str, int] = field(default_factory=_protocol_defaults)
    """Inbound streams of one protocol and peer, where it is not the number above."""
    violations_per_connection: int = 1000
    """Streams of a peer that we refused or that it reset at once, before the connection ends.

    Ten a second are forgiven.
    """

    # Memory, in bytes.
    memory: int = field(default_factory=default_memory)
    memory_per_peer: int = 64 * MIB  # go the same
    memory_per_connection: int = 32 * MIB  # go the same

    # Dialling.
    dials: int = 160  # at once, in all; go the same
    dials_per_peer: int = 8  # at once; go the same
    addresses_per_dial: int = 100
    dial_timeout: float = 15.0  # one address; go the same
    dial_timeout_private: float = 5.0  # go the same

    # Deadlines.
    upgrade_timeout: float = 10.0  # of an inbound connection, in all
    negotiation_timeout: float = 10.0  # of a stream's protocol; go the same
    stream_timeout: float = 15.0  # open_stream's wait for a direct connection; go the same
    step_timeout: float = 5.0  # all steps of a new connection together
    close_timeout: float = 1.0  # graceful close, then abort

    # The connection manager; go the same.
    low_water: int = 160
    high_water: int = 192
    grace_period: float = 60.0
    silence_period: float = 10.0

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                if any(number < 0 for number in value.values()):
                    raise ValueError(f"limit {entry.name}: a number must not be negative")
            elif not math.isfinite(value) or value < 0:
                raise ValueError(f"limit {entry.name} must be a number from 0 up, not {value}")
        if self.low_water > self.high_water:
            raise ValueError("limit low_water must not be above high_water")

    def with_overrides(self, **overrides: Any) -> Limits:
        """A copy with other values.

        Raises:
            ValueError: an unknown name (the message suggests near ones), or a senseless value.
        """
        for name in overrides:
            if name not in self.names():
                near = difflib.get_close_matches(name, self.names(), n=3)
                hint = f"; did you mean {' or '.join(near)}?" if near else ""
                raise ValueError(f"there is no limit {name!r}{hint}")
        return dataclasses.replace(self, **overrides)

    def with_settings(self, settings: Iterable[str]) -> Limits:
        """A copy changed by texts such as `connections=1000`, `memory=512MiB` or `/echo/1=8`.

        A name that begins with a slash is a protocol id: its inbound streams per peer.

        Raises:
            ValueError: no such limit, or the value is no such number.
        """
        overrides: dict[str, Any] = {}
        protocols = dict(self.protocol_streams_per_peer)
        for setting in settings:
            name, equals, text = setting.rpartition("=")
            if not equals:
                raise ValueError(f"a limit is set by NAME=VALUE, not {setting!r}")
            if name.startswith("/"):
                protocols[name] = _number(name, text, 0)
                overrides["protocol_streams_per_peer"] = MappingProxyType(protocols)
            else:
                overrides[name] = _number(name, text, getattr(self, name, 0))
        return self.with_overrides(**overrides)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all limits."""
        return tuple(entry.name for entry in dataclasses.fields(cls))


def _number(name: str, text: str, like: object) -> Any:
    """`text` as a number of the type of `like`."""
    lowered = text.strip().lower()
    if isinstance(like, bool):
        if lowered in ("true", "yes", "1", "false", "no", "0"):
            return lowered in ("true", "yes", "1")
        raise ValueError(f"limit {name} is true or false, not {text!r}")
    try:
        if isinstance(like, float):
            return float(lowered)
        for unit, factor in _UNITS.items():
            if lowered.endswith(unit):
                return int(lowered.removesuffix(unit)) * factor
        return int(lowered)
    except ValueError:
        raise ValueError(f"limit {name} must be a number, not {text!r}") from None
