"""What is known of the NAT that we are behind, and what follows from it. No I/O.

Words: mapping and filtering as RFC 4787 sections 4 and 5 define them, the types of RFC 3489
section 5. UDP and TCP may differ, so each has a behaviour of its own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from carrick.network.events import Event

__all__ = ["UNKNOWN_NAT", "Dependence", "Layers", "Nat", "NatBehaviour", "NatChanged", "PortDelta"]


class Dependence(enum.Enum):
    """On what of the remote endpoint a mapping, or a filter, depends."""

    UNKNOWN = "unknown"
    NOTHING = "endpoint-independent"
    ADDRESS = "address-dependent"
    ADDRESS_AND_PORT = "address-and-port-dependent"


class PortDelta(enum.Enum):
    """How the ports outside follow from those inside."""

    UNKNOWN = "unknown"
    EQUAL = "equal"  # the port inside
    PRESERVING = "preserving"  # as far apart as the ports inside
    INDEPENDENT = "independent"  # each new mapping gets the last one's plus a step
    DEPENDENT = "dependent"  # so do the mappings of consecutive ports inside, but only those
    RANDOM = "random"


class Layers(enum.Enum):
    """How many NATs there are, and whose."""

    UNKNOWN = "unknown"
    NONE = "none"
    ONE = "nat"
    DOUBLE = "double-nat"
    CARRIER = "cgnat"


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """How a NAT treats one of UDP and TCP.

    Attributes:
        translates: addresses outside differ from those inside; None: not known.
        step: of `delta`, in ports.
        hairpin: it turns packets from inside to its own mappings round; None: not known.
        blocked: nothing gets out.
    """

    mapping: Dependence = Dependence.UNKNOWN
    filtering: Dependence = Dependence.UNKNOWN
    translates: bool | None = None
    delta: PortDelta = PortDelta.UNKNOWN
    step: int = 0
    hairpin: bool | None = None
    blocked: bool = False

    @property
    def type(self) -> str:
        """RFC 3489's name: `open`, `full cone`, `restricted cone`, `port restricted cone`,
        `symmetric`, `firewall`, `blocked`, `cone` (filtering not known), `unknown`."""
        if self.blocked:
            return "blocked"
        if self.mapping in (Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT):
            return "symmetric"
        if self.mapping is Dependence.UNKNOWN:
            return "unknown"
        if self.translates is False:
            return {Dependence.NOTHING: "open", Dependence.UNKNOWN: "unknown"}.get(
                self.filtering, "firewall"
            )
        return {
            Dependence.NOTHING: "full cone",
            Dependence.ADDRESS: "restricted cone",
            Dependence.ADDRESS_AND_PORT: "port restricted cone",
            Dependence.UNKNOWN: "cone",
        }[self.filtering]

    @property
    def is_symmetric(self) -> bool:
        """Peers are not seen from the port that other peers, or servers, see."""
        return self.mapping in (Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT)

    @property
    def is_predictable(self) -> bool:
        """The port of the next mapping follows from the last ones."""
        regular = self.delta in (PortDelta.INDEPENDENT, PortDelta.DEPENDENT)
        return self.is_symmetric and regular and self.step != 0

    def can_meet(self, other: NatBehaviour) -> bool:
        """Whether two such NATs can be punched through; what is not known is taken to be kind.

        A symmetric NAT shows the peer a port that nobody has foretold, which the peer's NAT lets
        in only if it filters by address at most: the peer has sent to another port.
        """
        if self.blocked or other.blocked:
            return False
        return self._lets_in(other) and other._lets_in(self)

    def _lets_in(self, other: NatBehaviour) -> bool:
        if not other.is_symmetric or other.is_predictable:
            return True
        return not self.is_symmetric and self.filtering is not Dependence.ADDRESS_AND_PORT


@dataclass(frozen=True, slots=True)
class Nat:
    """What is known of the way out.

    Attributes:
        address: the IP address outside, if known.
    """

    udp: NatBehaviour = NatBehaviour()
    tcp: NatBehaviour = NatBehaviour()
    layers: Layers = Layers.UNKNOWN
    address: str | None = None


UNKNOWN_NAT = Nat()


@dataclass(frozen=True, slots=True)
class NatChanged(Event):
    """More, or something else, is known of our NAT."""

    nat: Nat
