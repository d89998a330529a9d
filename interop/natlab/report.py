"""What a probe finds: the words of RFC 4787, and how they follow from what was seen."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Endpoint = tuple[str, int]

PORTS = (3478, 3479)  # RFC 5389 section 9, and the next one


class Dependence(enum.StrEnum):
    """On what of the remote endpoint a mapping or a filter depends (RFC 4787 sections 4.1, 5)."""

    INDEPENDENT = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"


class Allocation(enum.StrEnum):
    """How the external ports of new mappings are chosen (RFC 4787 section 4.2)."""

    PRESERVING = "preserving"
    SEQUENTIAL = "sequential"
    RANDOM = "random"


class Answer(enum.StrEnum):
    """What somebody outside gets who calls without being asked."""

    OPEN = "open"
    REFUSED = "refused"
    SILENT = "silent"


@dataclass(frozen=True)
class Servers:
    """The public side of a probe: two addresses, each with the same two ports."""

    first: str
    second: str
    ports: tuple[int, int] = PORTS

    @property
    def primary(self) -> Endpoint:
        return self.first, self.ports[0]

    @property
    def other_port(self) -> Endpoint:
        return self.first, self.ports[1]

    @property
    def other_address(self) -> Endpoint:
        return self.second, self.ports[0]


@dataclass(frozen=True)
class Behaviour:
    """What a NAT does with one protocol. Everything is None if that protocol gets no answer."""

    translated: bool | None = None  # the servers see another endpoint than ours
    mapping: Dependence | None = None
    filtering: Dependence | None = None
    allocation: Allocation | None = None
    delta: int | None = None  # between the ports of sequential allocation
    hairpin: bool | None = None  # None: nothing is translated
    unsolicited: Answer | None = None
    observed: tuple[Endpoint, ...] = ()  # one socket: primary, other port, other address


@dataclass(frozen=True)
class NatReport:
    """The result of a probe."""

    local: str
    udp: Behaviour = field(default_factory=Behaviour)
    tcp: Behaviour = field(default_factory=Behaviour)
    # Seconds: the longest silence that a UDP mapping lived through, the shortest that it did not.
    udp_lifetime: tuple[float | None, float | None] | None = None

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NatReport:
        data = json.loads(text)
        lifetime = data["udp_lifetime"]
        return cls(
            data["local"],
            _behaviour(data["udp"]),
            _behaviour(data["tcp"]),
            (lifetime[0], lifetime[1]) if lifetime else None,
        )


def _behaviour(data: dict[str, Any]) -> Behaviour:
    kinds: dict[str, type[enum.StrEnum]] = {
        "mapping": Dependence,
        "filtering": Dependence,
        "allocation": Allocation,
        "unsolicited": Answer,
    }
    values = {k: kinds[k](v) if k in kinds and v is not None else v for k, v in data.items()}
    return Behaviour(**values | {"observed": tuple((ip, port) for ip, port in data["observed"])})


def mapping_of(observed: Sequence[Endpoint]) -> Dependence:
    """From what primary, other port and other address saw of one socket."""
    primary, other_port, other_address = observed
    if primary != other_port:
        return Dependence.ADDRESS_AND_PORT
    return Dependence.INDEPENDENT if primary == other_address else Dependence.ADDRESS


def filtering_of(other_port: bool, other_address: bool) -> Dependence:
    """From whether packets of those two passed after only the primary had been talked to."""
    if not other_port:
        return Dependence.ADDRESS_AND_PORT
    return Dependence.INDEPENDENT if other_address else Dependence.ADDRESS


def allocation_of(local: Sequence[int], external: Sequence[int]) -> tuple[Allocation, int | None]:
    """From the ports of several new mappings, in the order in which they were made."""
    if list(local) == list(external):
        return Allocation.PRESERVING, None
    deltas = {after - before for before, after in itertools.pairwise(external)}
    if len(deltas) == 1 and 0 not in deltas:
        return Allocation.SEQUENTIAL, deltas.pop()
    return Allocation.RANDOM, None
