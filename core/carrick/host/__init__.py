"""The host: a network, what it knows of peers, and the services that run on it."""

from __future__ import annotations

from carrick.host.addresses import Announcement, OwnAddresses
from carrick.host.host import Host
from carrick.host.nat import (
    UNKNOWN_NAT,
    Dependence,
    Layers,
    Nat,
    NatBehaviour,
    NatChanged,
    PortDelta,
)
from carrick.host.observed import ObservedAddresses
from carrick.host.reachability import OwnAddressesChanged, Reachability, ReachabilityChanged
from carrick.host.service import OwnAddressSource, PeerSource, PunchAddressSource, Service
from carrick.host.strategies import STRATEGIES, ConnectTrace, Goal, Result, Step, Strategy

__all__ = [
    "STRATEGIES",
    "UNKNOWN_NAT",
    "Announcement",
    "ConnectTrace",
    "Dependence",
    "Goal",
    "Host",
    "Layers",
    "Nat",
    "NatBehaviour",
    "NatChanged",
    "ObservedAddresses",
    "OwnAddressSource",
    "OwnAddresses",
    "OwnAddressesChanged",
    "PeerSource",
    "PortDelta",
    "PunchAddressSource",
    "Reachability",
    "ReachabilityChanged",
    "Result",
    "Service",
    "Step",
    "Strategy",
]
