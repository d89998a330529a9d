"""NAT behaviours by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from carrick.sim.nat import Dependence, NatBehaviour, Ports, Unsolicited

__all__ = ["PRESETS", "behaviour"]

EI = Dependence.ENDPOINT_INDEPENDENT
AD = Dependence.ADDRESS_DEPENDENT
APD = Dependence.ADDRESS_AND_PORT_DEPENDENT

FULL_CONE = NatBehaviour(EI, EI)
ADDRESS_RESTRICTED = NatBehaviour(EI, AD)
PORT_RESTRICTED = NatBehaviour(EI, APD)
SYMMETRIC = NatBehaviour(APD, APD, Ports.RANDOM)
# Linux keeps a connection per pair of endpoints, and its port if no other has it.
MASQUERADE = NatBehaviour(APD, APD, Ports.PRESERVE, shared_ports=True)
FIREWALL = NatBehaviour(EI, APD, Ports.NONE)

_BASE = {
    # The names of RFC 3489, with the behaviour that RFC 4787 calls them by.
    "full-cone": FULL_CONE,
    "address-restricted": ADDRESS_RESTRICTED,
    "port-restricted": PORT_RESTRICTED,
    "symmetric": SYMMETRIC,
    "symmetric-address": NatBehaviour(AD, APD, Ports.HASH),
    "symmetric-sequential": NatBehaviour(APD, APD, Ports.SEQUENTIAL),
    "udp-blocked": replace(PORT_RESTRICTED, udp=False),
    "firewall": FIREWALL,
    "open": NatBehaviour(EI, EI, Ports.NONE),
    "linux": MASQUERADE,
    # The names of the NAT lab, for the same in network namespaces.
    "fc": FULL_CONE,
    "fchash": replace(FULL_CONE, ports=Ports.HASH),
    "ar": ADDRESS_RESTRICTED,
    "pr": MASQUERADE,
    "pr-input-rst": replace(MASQUERADE, unsolicited=Unsolicited.OPEN),
    "pr-input-reject": replace(MASQUERADE, unsolicited=Unsolicited.REJECT),
    "pr-udp-blocked": replace(MASQUERADE, udp=False),
    "prhash": replace(PORT_RESTRICTED, ports=Ports.HASH),
    "sym": replace(MASQUERADE, ports=Ports.RANDOM),
    "symaddr": NatBehaviour(AD, APD, Ports.HASH),
    "symseq": replace(MASQUERADE, ports=Ports.SEQUENTIAL, delta=256),
    "symseq1": replace(MASQUERADE, ports=Ports.SEQUENTIAL),
    "fw": FIREWALL,
    "pr-hairpin": replace(PORT_RESTRICTED, hairpin=True),
}

PRESETS: Mapping[str, NatBehaviour] = MappingProxyType(
    _BASE
    | {
        f"{name}-hairpin": replace(base, hairpin=True)
        for name, base in _BASE.items()
        if base.ports is not Ports.NONE and not base.shared_ports and "hairpin" not in name
    }
)
"""Name → behaviour; each that translates has a variant `<name>-hairpin`."""


def behaviour(nat: str | NatBehaviour) -> NatBehaviour:
    """The behaviour of that name, or the one given.

    Raises:
        ValueError: no such name.
    """
    if isinstance(nat, NatBehaviour):
        return nat
    try:
        return PRESETS[nat]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise ValueError(f"no NAT is called {nat!r}; there are {known}") from None
