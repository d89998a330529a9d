"""Probe every type of router in one laboratory, and compare with what is expected."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import trio

from interop.natlab.expected import EXPECTED, differences
from interop.natlab.lab import Lab, open_lab
from interop.natlab.report import Behaviour, Dependence, NatReport
from interop.natlab.topology import INTERNET, Node, Topology

PROBE = (sys.executable, "-m", "interop.natlab.probe")
SERVERS = ("s1", "s2")
AT_ONCE = 8  # probes: a starved one would take its own slowness for a router's silence

_SHORT = {
    Dependence.INDEPENDENT: ("EIM", "EIF"),
    Dependence.ADDRESS: ("ADM", "ADF"),
    Dependence.ADDRESS_AND_PORT: ("APDM", "APDF"),
}
_COLUMNS = ("mapping", "filtering", "ports", "hairpin", "unsolicited")


async def measure(
    names: Sequence[str] = tuple(EXPECTED), *, delay: int = 0
) -> dict[str, NatReport]:
    """A report for each row of ``EXPECTED``; *delay* in ms, of each access link and direction.

    Raises ``LabError`` if a private address came out onto the laboratory's internet.
    """
    topology = Topology()
    for server in SERVERS:
        topology.public(server, addresses=2)
    hosts = {name: _place(topology, name, number) for number, name in enumerate(names)}
    reports: dict[str, NatReport] = {}
    limit = trio.CapacityLimiter(AT_ONCE)
    outer = [node.name for node in topology.nodes.values() if node.router is None]

    async def report(lab: Lab, name: str) -> None:
        async with limit:
            reports[name] = await ask(lab, hosts[name].name, ipv6=name == "fw6")

    async with (
        open_lab(topology) as lab,
        lab.delay(dict.fromkeys(outer, delay)),
        lab.process(SERVERS[0], serving(lab, SERVERS[0])) as one,
        lab.process(SERVERS[1], serving(lab, SERVERS[1])) as two,
    ):
        await one.line()
        await two.line()
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(report, lab, name)
        leaked = await lab.counters(INTERNET)
        if any(leaked.values()):
            raise LeakError(f"private addresses on the internet: {leaked}")
    return {name: reports[name] for name in names}


class LeakError(Exception):
    """A router let out what it should have translated or dropped."""


def serving(lab: Lab, server: str) -> list[str]:
    """The command that answers probes on public host *server*."""
    node = lab.topology.nodes[server]
    six = (node.outside_6,) if node.outside_6 else ()
    return [*PROBE, "serve", *node.outside, *six]


async def ask(
    lab: Lab, host: str, *, ipv6: bool = False, silences: Sequence[float] = ()
) -> NatReport:
    """Probe from *host*; *silences* as of ``probe``."""
    servers = [lab.topology.nodes[server] for server in SERVERS]
    addresses = [str(node.outside_6 if ipv6 else node.address) for node in servers]
    result = await lab.run(host, [*PROBE, "probe", *addresses, "--silences", *map(str, silences)])
    return NatReport.from_json(result.stdout.decode())


def _place(topology: Topology, name: str, number: int) -> Node:
    """A host behind what row *name* says."""
    kind = {"public": "open", "fw6": "fw"}.get(name, name)
    return topology.place(f"h{number}", kind)


def markdown(reports: dict[str, NatReport]) -> Iterator[str]:
    """The measured table, a row for each type."""
    columns = [f"{protocol} {column}" for protocol in ("UDP", "TCP") for column in _COLUMNS]
    rows = [[name, *_cells(report.udp), *_cells(report.tcp)] for name, report in reports.items()]
    header = ["router", *columns]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    yield _line(header, widths)
    yield _line(["-" * width for width in widths], widths)
    for row in rows:
        yield _line(row, widths)


def _line(cells: Iterable[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _cells(behaviour: Behaviour) -> Iterator[str]:
    mapping, filtering = behaviour.mapping, behaviour.filtering
    if mapping is None:
        yield from ("blocked", *("-" for _ in _COLUMNS[1:]))
        return
    yield _SHORT[mapping][0]
    yield _SHORT[filtering][1] if filtering else "-"
    delta = f" {behaviour.delta:+d}" if behaviour.delta else ""
    yield f"{behaviour.allocation}{delta}"
    yield {True: "yes", False: "no", None: "-"}[behaviour.hairpin]
    yield behaviour.unsolicited or "-"


def compare(reports: dict[str, NatReport]) -> list[str]:
    """Every difference from what is expected, in words."""
    return [words for name, report in reports.items() for words in differences(name, report)]
