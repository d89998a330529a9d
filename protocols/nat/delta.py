"""How the ports outside follow from those inside, and which ones will be next. No I/O.

The classes and the method are P2PD's: eight new mappings of random local ports, then eight of
consecutive ones; five must agree, because others are behind the same NAT.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

from carrick.host import PortDelta
from carrick.protocols.nat.evidence import PortPair

__all__ = ["AGREEING", "SAMPLES", "next_ports", "port_delta", "regular_step"]

SAMPLES = 8  # new mappings in each of the two series
AGREEING = 5  # of them
_PORTS = 1 << 16


def port_delta(
    scattered: Sequence[PortPair], consecutive: Sequence[PortPair]
) -> tuple[PortDelta, int]:
    """The class, and the step of the regular ones.

    Args:
        scattered: new mappings of random local ports, in the order in which they were made.
        consecutive: the same of consecutive local ports.
    """
    offsets = Counter((outside - inside) % _PORTS for inside, outside in scattered)
    if offsets[0] >= AGREEING:
        return PortDelta.EQUAL, 0
    if _most(offsets) is not None:
        return PortDelta.PRESERVING, 0
    step = regular_step([outside for _, outside in scattered])
    if step:
        return PortDelta.INDEPENDENT, step
    step = regular_step([outside for _, outside in consecutive])
    if step:
        return PortDelta.DEPENDENT, step
    enough = len(scattered) > AGREEING and len(consecutive) > AGREEING
    return (PortDelta.RANDOM if enough else PortDelta.UNKNOWN), 0


def regular_step(ports: Sequence[int]) -> int:
    """By how much successive `ports` mostly differ; 0 if they are not regular."""
    steps = Counter(after - before for before, after in itertools.pairwise(ports))
    del steps[0]
    return _most(steps) or 0


def next_ports(measured: Sequence[int], step: int, count: int) -> list[int]:
    """The ports that the next mappings will have.

    Args:
        measured: those of the last few new mappings, in the order in which they were made.
        step: from one mapping to the next.
        count: how many ports to foretell.

    Returns:
        Nothing if `measured` does not follow `step`: then the NAT counts otherwise, or is too busy.
    """
    if not measured or not step:
        return []
    for before, after in itertools.pairwise(measured):
        between = (after - before) / step
        if not (between.is_integer() and 1 <= between <= count):
            return []
    return [port for port in _after(measured[-1], step, count) if 0 < port < _PORTS]


def _after(port: int, step: int, count: int) -> Iterable[int]:
    return range(port + step, port + step * (count + 1), step)


def _most(counts: Counter[int]) -> int | None:
    """The value that `AGREEING` agree on."""
    value, count = next(iter(counts.most_common(1)), (0, 0))
    return value if count >= AGREEING else None
