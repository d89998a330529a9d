"""What a probe concludes, and which routers can be described."""

from __future__ import annotations

from dataclasses import replace

import pytest

from interop.natlab.expected import EXPECTED, differences
from interop.natlab.kinds import KINDS, Ports, ruleset
from interop.natlab.report import (
    Allocation,
    Answer,
    Behaviour,
    Dependence,
    NatReport,
    allocation_of,
    filtering_of,
    mapping_of,
)
from interop.natlab.topology import Topology

A, A_OTHER, B = ("11.0.0.1", 1), ("11.0.0.1", 2), ("11.0.0.2", 1)


@pytest.mark.parametrize(
    ("observed", "mapping"),
    [
        ((A, A, A), Dependence.INDEPENDENT),
        ((A, A, A_OTHER), Dependence.ADDRESS),
        ((A, A, B), Dependence.ADDRESS),
        ((A, A_OTHER, B), Dependence.ADDRESS_AND_PORT),
        ((A, A_OTHER, A), Dependence.ADDRESS_AND_PORT),
    ],
)
def test_mapping(observed: tuple[tuple[str, int], ...], mapping: Dependence) -> None:
    assert mapping_of(observed) is mapping


def test_filtering() -> None:
    assert filtering_of(True, True) is Dependence.INDEPENDENT
    assert filtering_of(True, False) is Dependence.ADDRESS
    assert filtering_of(False, False) is Dependence.ADDRESS_AND_PORT


@pytest.mark.parametrize(
    ("external", "allocation", "delta"),
    [
        ([9, 4, 7, 2], Allocation.PRESERVING, None),
        ([50, 51, 52, 53], Allocation.SEQUENTIAL, 1),
        ([50, 48, 46, 44], Allocation.SEQUENTIAL, -2),
        ([50, 50, 50, 50], Allocation.RANDOM, None),
        ([50, 51, 52, 54], Allocation.RANDOM, None),
    ],
)
def test_allocation(external: list[int], allocation: Allocation, delta: int | None) -> None:
    assert allocation_of([9, 4, 7, 2], external) == (allocation, delta)


REPORT = NatReport(
    "192.168.1.2",
    Behaviour(
        True,
        Dependence.INDEPENDENT,
        Dependence.ADDRESS_AND_PORT,
        Allocation.PRESERVING,
        None,
        False,
        Answer.SILENT,
        (A, A, A),
    ),
    Behaviour(),
    (1.0, None),
)


def test_a_report_survives_json() -> None:
    assert NatReport.from_json(REPORT.to_json()) == REPORT


def test_every_difference_is_named() -> None:
    report = replace(REPORT, tcp=replace(REPORT.udp, unsolicited=Answer.REFUSED))
    assert list(differences("pr", report)) == ["pr, tcp unsolicited: refused, expected silent"]
    assert list(differences("pr-udp-blocked", report))[0].startswith("pr-udp-blocked, udp mapping")


def test_every_router_has_an_expectation_and_rules() -> None:
    assert KINDS.keys() <= EXPECTED.keys()
    for kind in KINDS.values():
        assert "11.0.113.9" not in ruleset(kind, "11.0.113.8")


def test_a_router_without_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="no rules"):
        replace(KINDS["sym"], filtering=Dependence.INDEPENDENT)
    with pytest.raises(ValueError, match="no rules"):
        replace(KINDS["pr"], ports=Ports.RANDOM)


def test_addresses_of_a_topology() -> None:
    topology = Topology()
    public = topology.public("s", addresses=2)
    provider = topology.cgnat("isp", "pr")
    home = topology.router("home", "fc", behind=provider)
    firewall = topology.router("wall", "fw")
    one, two = topology.host("one", home), topology.host("two", home)
    inside = topology.host("inside", firewall)
    assert public.outside == ("11.0.113.2", "11.0.113.3")
    assert home.address.startswith("100.64.") and home.outside_6 is None
    assert one.address != two.address and one.address.startswith(home.lan)
    assert inside.address.startswith("11.1.") and inside.outside_6 is not None


@pytest.mark.parametrize("name", ["inet", "s", "a-very-long-name", "", "a b", "../x"])
def test_a_name_that_is_taken_or_no_interface(name: str) -> None:
    topology = Topology()
    topology.public("s")
    with pytest.raises(ValueError, match="not a free name"):
        topology.public(name)
