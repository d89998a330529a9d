"""What peers see of our NAT, without any server. No I/O.

A peer may lie, and another host behind the same NAT may hold the port that ours would get. So an
endpoint counts as shared when peers of two networks see it and most agree, and a NAT as symmetric
when no two see the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from carrick.host import Dependence, NatBehaviour, PortDelta
from carrick.host.observed import Sighting
from carrick.interfaces import Endpoint
from carrick.protocols.nat.delta import AGREEING, regular_step

__all__ = ["behaviour_from_peers", "outside_address"]


def outside_address(sightings: Iterable[Sighting]) -> str | None:
    """The IPv4 address at which most observers see us."""
    seen = {(each.observer, each.seen[0]) for each in sightings if ":" not in each.seen[0]}
    best = Counter(address for _, address in seen).most_common(1)
    return best[0][0] if best else None


def behaviour_from_peers(
    sightings: Sequence[Sighting],
    *,
    protocol: str,
    addresses: Collection[str],
    reachable: Collection[Endpoint] = (),
) -> NatBehaviour:
    """How the NAT treats IPv4 traffic of `protocol`, as far as that shows.

    Args:
        sightings: what peers see, in order of time.
        protocol: `udp` or `tcp`.
        addresses: of our own interfaces.
        reachable: endpoints at which strangers reached us. A peer that we had sent to at another
            port may have helped: a restricted cone can pass for a full one.
    """
    outside = outside_address(sightings)
    ours = [each for each in sightings if each.protocol == protocol and each.seen[0] == outside]
    by_port: dict[int, list[Sighting]] = {}
    for each in ours:
        by_port.setdefault(each.local[1], []).append(each)
    verdicts = {port: _mapping(group) for port, group in by_port.items()}
    known = [port for port, each in verdicts.items() if each is not Dependence.UNKNOWN]
    if not known:
        return NatBehaviour()
    # The port that most peers see; several listeners may differ by chance.
    port = max(known, key=lambda port: len({each.observer for each in by_port[port]}))
    mapping, group = verdicts[port], by_port[port]
    delta, step = _delta(group, mapping)
    lets_in = any(each.seen in reachable for each in ours)
    return NatBehaviour(
        mapping=mapping,
        filtering=Dependence.NOTHING if lets_in else Dependence.UNKNOWN,
        translates=outside not in addresses or any(each.seen[1] != port for each in group),
        delta=delta,
        step=step,
    )


def _mapping(group: Sequence[Sighting]) -> Dependence:
    """Of one local port. Peers do not show whether ports or only addresses count."""
    observers = len({each.observer for each in group})
    seen = {(each.observer, each.seen) for each in group}
    best = max(Counter(endpoint for _, endpoint in seen).values())
    if best >= 2 and 2 * best > observers:
        return Dependence.NOTHING
    return Dependence.ADDRESS_AND_PORT if best == 1 and observers >= 2 else Dependence.UNKNOWN


def _delta(group: Sequence[Sighting], mapping: Dependence) -> tuple[PortDelta, int]:
    ports = list(dict.fromkeys(each.seen[1] for each in group))
    if mapping is Dependence.NOTHING:
        equal = Counter(each.seen[1] == each.local[1] for each in group)
        return (PortDelta.EQUAL if equal[True] > equal[False] else PortDelta.UNKNOWN), 0
    step = regular_step(ports)
    if step:
        return PortDelta.INDEPENDENT, step
    return (PortDelta.RANDOM if len(ports) > AGREEING else PortDelta.UNKNOWN), 0
