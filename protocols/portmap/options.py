"""What the port mapper can be told."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from carrick.protocols.portmap.mapping import MAX_LEASE, MIN_LEASE

__all__ = ["PROTOCOLS", "PortMapperOptions"]

PROTOCOLS = ("pcp", "nat-pmp", "upnp")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortMapperOptions:
    """Times in seconds.

    Attributes:
        protocols: which to try, of `pcp`, `nat-pmp` and `upnp`; all at once.
        gateway: its IPv4 address on our network; None: the system's default route says.
        lifetime: of a mapping, as asked for; the gateway may grant another.
        check_interval: how often the gateway is asked whether the mappings are there still, and our
            own network is looked at.
        retry: after which a gateway that is gone is looked for again, and the wait after that
            twice as long, and so on up to `max_retry`, which it is from the start where there
            never was a gateway.
        release_timeout: for removing the mappings at the end.
    """

    protocols: tuple[str, ...] = PROTOCOLS
    gateway: str | None = None
    lifetime: float = 3600.0  # rust-libp2p protocols/upnp; go: 60, renewed every 20
    check_interval: float = 60.0
    retry: float = 10.0
    max_retry: float = 3600.0
    release_timeout: float = 1.5

    def __post_init__(self) -> None:
        unknown = set(self.protocols) - set(PROTOCOLS)
        if unknown or not self.protocols:
            raise ValueError(f"protocols are some of {', '.join(PROTOCOLS)}")
        if not MIN_LEASE <= self.lifetime <= MAX_LEASE:
            raise ValueError(f"a lifetime is from {MIN_LEASE:g} s to a day")
        if self.gateway is not None:
            IPv4Address(self.gateway)  # or a ValueError
