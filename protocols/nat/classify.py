"""From what was seen to the behaviour of a NAT (RFC 5780 sections 4.3 and 4.4). No I/O."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace

from carrick.addressing import Reach, ip_reach
from carrick.host import Dependence, Layers, Nat, NatBehaviour, PortDelta
from carrick.host.observed import Sighting
from carrick.interfaces import Endpoint
from carrick.protocols.nat.delta import port_delta
from carrick.protocols.nat.evidence import Binding, Evidence, Findings
from carrick.protocols.nat.peers import behaviour_from_peers, outside_address

__all__ = ["behaviour_of", "combine", "filtering_of", "layers_of", "mapping_of", "nat_of"]


def nat_of(
    findings: Findings,
    observed: Sequence[Sighting] = (),
    reachable: Collection[Endpoint] = (),
) -> Nat:
    """What a probe's findings, and what peers see, amount to; where they differ, the findings.

    Args:
        observed: what peers see, in order of time.
        reachable: endpoints at which strangers reached us.
    """
    addresses = findings.addresses
    udp, tcp = (behaviour_of(each, addresses) for each in (findings.udp, findings.tcp))
    # Silence alone may be a server that is not there.
    if findings.udp.asked and not findings.udp.bindings and findings.tcp.bindings:
        udp = replace(udp, blocked=True)
    udp, tcp = (
        combine(
            first,
            behaviour_from_peers(
                observed, protocol=protocol, addresses=addresses, reachable=reachable
            ),
        )
        for protocol, first in (("udp", udp), ("tcp", tcp))
    )
    seen = [each.seen[0] for each in (*findings.udp.bindings, *findings.tcp.bindings)]
    address = seen[0] if seen else outside_address(observed)
    translates = udp.translates if udp.translates is not None else tcp.translates
    layers = layers_of(addresses, address, translates, findings.gateway)
    return Nat(udp=udp, tcp=tcp, layers=layers, address=address)


def behaviour_of(evidence: Evidence, addresses: Collection[str]) -> NatBehaviour:
    """How UDP or TCP is treated.

    Args:
        addresses: of our own interfaces: what is seen there was not translated.
    """
    if not evidence.bindings:
        return NatBehaviour()
    delta, step = port_delta(evidence.scattered, evidence.consecutive)
    translates = any(
        each.seen[0] not in addresses or each.seen[1] != each.local[1] for each in evidence.bindings
    )
    return NatBehaviour(
        mapping=mapping_of(evidence.bindings) if translates else Dependence.NOTHING,
        filtering=filtering_of(evidence.other_address, evidence.other_port),
        translates=translates,
        delta=delta,
        step=step,
        hairpin=evidence.hairpin if translates else None,
    )


def mapping_of(bindings: Iterable[Binding]) -> Dependence:
    """On what of the remote endpoint the mapping of a local port depends (RFC 5780 section 4.3).

    Where ports of one remote address were not compared, the stricter of two answers is given.
    """
    by_port: dict[int, list[Binding]] = {}
    for each in bindings:
        by_port.setdefault(each.local[1], []).append(each)
    by_address: set[bool] = set()  # whether two remote addresses see the same
    by_remote_port: set[bool] = set()  # whether two ports of a remote address do
    for group in by_port.values():
        for one, other in itertools.combinations(group, 2):
            same = one.seen == other.seen
            if one.remote[0] != other.remote[0]:
                by_address.add(same)
            elif one.remote[1] != other.remote[1]:
                by_remote_port.add(same)
    if False in by_remote_port:
        return Dependence.ADDRESS_AND_PORT
    if False in by_address:
        return Dependence.ADDRESS if by_remote_port else Dependence.ADDRESS_AND_PORT
    return Dependence.NOTHING if by_address else Dependence.UNKNOWN


def filtering_of(other_address: bool | None, other_port: bool | None) -> Dependence:
    """On what the filter depends, by what it let in (RFC 5780 section 4.4); None: not tested."""
    if other_address:
        return Dependence.NOTHING
    if other_address is None or other_port is None:
        return Dependence.UNKNOWN
    return Dependence.ADDRESS if other_port else Dependence.ADDRESS_AND_PORT


def layers_of(
    addresses: Collection[str],
    outside: str | None,
    translates: bool | None,
    gateway: str | None,
) -> Layers:
    """How many NATs there are, as far as that shows; where it may be otherwise, UNKNOWN.

    Args:
        addresses: of our own interfaces.
        outside: where others see us.
        gateway: the address outside as our gateway says; kubo's rule: a private or carrier's one
            that is not on an interface of ours is behind another NAT.
    """
    if translates is False:
        return Layers.NONE
    if gateway is not None and gateway not in addresses:
        reach = _reach(gateway)
        if reach is Reach.CGNAT:
            return Layers.CARRIER
        if reach is Reach.PRIVATE:
            return Layers.DOUBLE
        if gateway == outside:
            return Layers.ONE
    if translates and any(_reach(address) is Reach.CGNAT for address in addresses):
        return Layers.CARRIER
    return Layers.UNKNOWN


def combine(first: NatBehaviour, second: NatBehaviour) -> NatBehaviour:
    """`first`, and what only `second` knows."""
    unknown = NatBehaviour()
    gained = {
        name: getattr(second, name)
        for name in (each.name for each in fields(NatBehaviour))
        if name not in ("delta", "step", "blocked")
        and getattr(first, name) == getattr(unknown, name)
    }
    if first.delta is PortDelta.UNKNOWN:
        gained |= {"delta": second.delta, "step": second.step}
    if second.mapping is not Dependence.UNKNOWN:
        gained["blocked"] = False  # something got out
    return replace(first, **gained)


def _reach(address: str) -> Reach | None:
    try:
        return ip_reach(ipaddress.ip_address(address))
    except ValueError:
        return None
