"""What the probe must report behind each type of router: one table for kernel and simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from interop.natlab.report import Allocation, Answer, Behaviour, Dependence, NatReport

EI, AD, APD = Dependence.INDEPENDENT, Dependence.ADDRESS, Dependence.ADDRESS_AND_PORT
KEEPS, RANDOM = Allocation.PRESERVING, Allocation.RANDOM
SILENT, REFUSED = Answer.SILENT, Answer.REFUSED


@dataclass(frozen=True)
class Expected:
    """The columns that are compared; the same words as in ``Behaviour``."""

    mapping: Dependence | None
    filtering: Dependence | None
    allocation: Allocation | None
    hairpin: bool | None = False
    unsolicited: Answer | None = SILENT
    delta: int | None = None
    translated: bool | None = True


_BLOCKED = Expected(None, None, None, None, None, None, None)
_FULL, _RESTRICTED = Expected(EI, EI, KEEPS), Expected(EI, APD, KEEPS)
_FULL_HASHED, _RESTRICTED_HASHED = Expected(EI, EI, RANDOM), Expected(EI, APD, RANDOM)
_SYMMETRIC = Expected(APD, APD, RANDOM)
_REFUSING = Expected(EI, APD, KEEPS, unsolicited=REFUSED)
_FIREWALL = Expected(EI, APD, KEEPS, hairpin=None, translated=False)


def _sequential(delta: int) -> Expected:
    return Expected(APD, APD, Allocation.SEQUENTIAL, delta=delta)


# By the names of ``kinds.KINDS``; "isp/home" is one router behind another. UDP, TCP.
EXPECTED: dict[str, tuple[Expected, Expected]] = {
    name: row if isinstance(row, tuple) else (row, row)
    for name, row in {
        "public": Expected(EI, EI, KEEPS, None, REFUSED, translated=False),
        "fc": _FULL,
        "fchash": _FULL_HASHED,
        "ar": Expected(EI, AD, KEEPS),
        "pr": _RESTRICTED,
        "prhash": _RESTRICTED_HASHED,
        "pr-input-rst": _REFUSING,
        "pr-input-reject": _REFUSING,
        "pr-udp-blocked": (_BLOCKED, _RESTRICTED),
        "sym": _SYMMETRIC,
        "symaddr": Expected(AD, APD, RANDOM),
        "symseq": _sequential(256),
        "symseq1": _sequential(1),
        "fc-hairpin": Expected(EI, EI, KEEPS, hairpin=True),
        "fchash-hairpin": Expected(EI, EI, RANDOM, hairpin=True),
        "pr-hairpin": Expected(EI, APD, KEEPS, hairpin=True),
        "prhash-hairpin": Expected(EI, APD, RANDOM, hairpin=True),
        "fw": _FIREWALL,
        "fw6": _FIREWALL,
        "pr/pr": _RESTRICTED,
        "sym/pr": _SYMMETRIC,
        "fc/fc": _FULL,
        "fchash/pr": _RESTRICTED_HASHED,
        "pr/fc": _RESTRICTED,
    }.items()
}


def differences(name: str, report: NatReport) -> Iterator[str]:
    """What *report* says otherwise than the table's row *name*, in words."""
    for protocol, expected in zip(("udp", "tcp"), EXPECTED[name], strict=True):
        behaviour: Behaviour = getattr(report, protocol)
        for column in fields(Expected):
            want, got = getattr(expected, column.name), getattr(behaviour, column.name)
            if want != got:
                yield f"{name}, {protocol} {column.name}: {got}, expected {want}"
