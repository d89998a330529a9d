"""Kernel NATs in network namespaces: they behave as the table says, and leave nothing behind."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from interop.natlab.expected import EXPECTED, differences
from interop.natlab.lab import LabError, open_lab, unavailable
from interop.natlab.scenarios.direct import play
from interop.natlab.table import SERVERS, ask, compare, measure, serving
from interop.natlab.topology import Topology

ROOT = Path(__file__).resolve().parents[2]

missing = unavailable()
if missing is not None:
    pytestmark = pytest.mark.skip(reason=f"NO KERNEL NAT IS TESTED: {missing}")


@pytest.mark.timeout(240)
async def test_every_router_behaves_as_the_table_says() -> None:
    reports = await measure()
    assert compare(reports) == []
    assert reports.keys() == EXPECTED.keys()
    # The comparison can fail: no router passes for another one.
    for name, report in reports.items():
        for other, row in EXPECTED.items():
            assert any(differences(other, report)) == (row != EXPECTED[name]), (name, other)


@pytest.mark.timeout(120)
async def test_a_router_changes_its_type_and_forgets_and_counts() -> None:
    topology = Topology()
    for server in SERVERS:
        topology.public(server)
    topology.host("h", topology.router("r", "pr"))
    async with (
        open_lab(topology) as lab,
        lab.process("s1", serving(lab, "s1")) as one,
        lab.process("s2", serving(lab, "s2")) as two,
    ):
        await one.line()
        await two.line()
        assert list(differences("pr", await ask(lab, "h"))) == []
        assert (await lab.counters("r"))["unsolicited"] > 0
        await lab.set_kind("r", "symseq1")
        assert (await lab.counters("r"))["unsolicited"] == 0
        await lab.set_udp_lifetime("r", 2)
        report = await ask(lab, "h", silences=(0.5, 4))
        assert list(differences("symseq1", report)) == []
        assert report.udp_lifetime == (0.5, 4)
        assert list(differences("fw6", await ask(lab, "h", ipv6=True))) == []


async def test_a_killed_laboratory_ends_with_everything_in_it() -> None:
    argv = [sys.executable, "-m", "interop.natlab", "hold"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        holder = int(await trio.to_thread.run_sync(owner.stdout.readline))
        inside = os.readlink(f"/proc/{holder}/ns/pid_for_children")
        assert processes_in(inside)
        # Ends only after the first process of the laboratory, and that only after all others.
        descriptor = os.pidfd_open(holder)
        try:
            owner.kill()
            ended, _, _ = await trio.to_thread.run_sync(select.select, [descriptor], [], [], 20)
        finally:
            os.close(descriptor)
    assert ended
    assert not processes_in(inside)


def processes_in(namespace: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "ns/pid") == namespace:
                    found.append(int(entry.name))
            except OSError:  # ended meanwhile
                continue
    return found


async def test_what_fails_inside_says_so_and_nothing_is_visible_outside() -> None:
    before = Path("/proc/net/dev").read_text().count(":")
    topology = Topology()
    topology.public("s")
    topology.host("h", topology.router("r", "pr"))
    async with open_lab(topology) as lab:
        assert not Path("/run/netns/inet").exists()
        with pytest.raises(LabError, match="status 3: what I say"):
            await lab.run("s", ["sh", "-c", "echo what I say; exit 3"])
        async with lab.process("s", ["sh", "-c", "exit 4"]) as process:
            with pytest.raises(LabError, match="status 4"):
                await process.line()
        with pytest.raises(LabError, match="not a router"):
            await lab.set_kind("s", "pr")
        with pytest.raises(LabError, match="no link"):
            await lab.delay({"h": 5}).__aenter__()
        # No way leads out.
        routes = await lab.run("inet", ["ip", "route", "show", "default"])
        assert routes.stdout == b""
        assert Path("/proc/net/dev").read_text().count(":") == before


@pytest.mark.timeout(120)
async def test_carrick_through_routers_without_traversal() -> None:
    outcomes = await play(["pr-input-rst", "sym"], delay=10)
    assert [outcome.router for outcome in outcomes] == ["pr-input-rst", "sym"]
    for outcome in outcomes:
        assert min(outcome.rtts) >= 40  # 10 ms, two links, both directions
    errors = [(outcome.error, outcome.status) for outcome in outcomes]
    assert errors == [("connection_refused", 5), ("timeout", 4)]
