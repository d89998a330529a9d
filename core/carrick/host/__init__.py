"""The host: a network, what it knows of peers, and the services that run on it."""

from __future__ import annotations

from carrick.host.addresses import Announcement, OwnAddresses
from carrick.host.host import Host
from carrick.host.observed import ObservedAddresses
from carrick.host.reachability import OwnAddressesChanged, Reachability, ReachabilityChanged
from carrick.host.service import OwnAddressSource, Service

__all__ = [
    "Announcement",
    "Host",
    "ObservedAddresses",
    "OwnAddressSource",
    "OwnAddresses",
    "OwnAddressesChanged",
    "Reachability",
    "ReachabilityChanged",
    "Service",
]
