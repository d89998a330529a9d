"""What was seen of a NAT, before anything is concluded from it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from carrick.interfaces import Endpoint

__all__ = ["Evidence", "Findings", "PortPair", "Binding"]

PortPair: TypeAlias = tuple[int, int]
"""A port of ours, and the one that it has outside."""


@dataclass(frozen=True, slots=True)
class Binding:
    """At `remote`, what we send from `local` is seen to come from `seen`."""

    local: Endpoint
    remote: Endpoint
    seen: Endpoint


@dataclass(slots=True)
class Evidence:
    """What the tests with one of UDP and TCP brought; what was not tested stays as it is here.

    Attributes:
        asked: some server was asked something.
        bindings: from one or more local ports, in order of time.
        other_address: an answer from an address and port that we had not sent to came in.
        other_port: an answer from another port of an address that we had sent to came in.
        scattered: new mappings of random local ports, in the order in which they were made.
        consecutive: the same of consecutive local ports.
        hairpin: one port of ours reached another at its address outside.
    """

    asked: bool = False
    bindings: list[Binding] = field(default_factory=list)
    other_address: bool | None = None
    other_port: bool | None = None
    scattered: list[PortPair] = field(default_factory=list)
    consecutive: list[PortPair] = field(default_factory=list)
    hairpin: bool | None = None


@dataclass(slots=True)
class Findings:
    """All that a probe brought.

    Attributes:
        addresses: of our own interfaces.
        latencies: server → seconds to its first answer; those that did not answer are not in it.
        address6: our IPv6 address as a server sees it.
        gateway: the address outside as the gateway itself says, if it was asked.
    """

    addresses: frozenset[str] = frozenset()
    udp: Evidence = field(default_factory=Evidence)
    tcp: Evidence = field(default_factory=Evidence)
    latencies: dict[Endpoint, float] = field(default_factory=dict)
    address6: str | None = None
    gateway: str | None = None
