"""Two Carrick nodes behind kernel NATs: three pairs of the matrix, and the other scenarios."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from interop.natlab.lab import unavailable
from interop.natlab.matrix import QUICK, TRANSPORTS, Played, everything, jobs, play_in_kernel
from interop.natlab.node import Description, NodeError
from interop.natlab.results import cells, told
from interop.natlab.scenarios import natcheck
from interop.natlab.scenarios.special import SPECIAL
from interop.natlab.stages.kernel import open_kernel_stage
from interop.natlab.topology import Topology

ROOT = Path(__file__).resolve().parents[2]

missing = unavailable()
if missing is not None:
    pytestmark = pytest.mark.skip(reason=f"NO HOLE IS PUNCHED IN A KERNEL NAT: {missing}")


@pytest.mark.timeout(240)
async def test_three_pairs() -> None:
    """Reversed, punched, relayed; over TCP and QUIC, both directions (C2, C3, C6)."""
    played: list[Played] = []
    await play_in_kernel(jobs(QUICK, TRANSPORTS, everything(1, (50,))), 3, played.append)
    wrong = [f"{cell}: {words}" for cell in cells(played) for words in cell.wrong()]
    traces = [line for each in played for line in told(each, True)]
    assert not wrong, "\n".join((*wrong, *traces))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["same-lan tcp", "ipv6-firewall quic", "udp-blocked"])
async def test_a_scenario(name: str) -> None:
    special = SPECIAL[name]
    async with open_kernel_stage(special.topology()) as stage:
        report = await special(stage)
    assert not report.wrong, report


@pytest.mark.timeout(120)
async def test_nat_check_names_every_type() -> None:
    """B7 and B8, with coturn."""
    if (reason := natcheck.unavailable()) is not None:
        pytest.skip(f"NO STUN SERVER BUT OURS IS TESTED: {reason}")
    checked = await natcheck.play()
    assert [words for each in checked for words in each.wrong()] == []
    assert {each.kind for each in checked} == natcheck.EXPECTED.keys()


async def test_what_a_node_cannot_do_it_says() -> None:
    topology = Topology()
    topology.public("s")
    async with open_kernel_stage(topology) as stage, stage.node("s", Description()) as node:
        assert any("/ip4/11.0.113.2/" in address for address in node.addresses)
        with pytest.raises(NodeError, match="not connected"):
            await node.do("ping", peer=node.id)
        with pytest.raises(NodeError, match="runs no NatDetector"):
            await node.do("classify")
        assert (await node.do("status"))["peers"] == {}


async def test_nodes_end_with_whoever_opened_the_stage() -> None:
    program = (
        "import trio\n"
        "from interop.natlab.node import Description\n"
        "from interop.natlab.stages.kernel import open_kernel_stage\n"
        "from interop.natlab.topology import Topology\n"
        "async def main():\n"
        "    topology = Topology()\n"
        "    topology.public('s')\n"
        "    async with open_kernel_stage(topology) as stage:\n"
        "        async with stage.node('s', Description()):\n"
        "            print(stage.lab.pid, flush=True)\n"
        "            await trio.sleep_forever()\n"
        "trio.run(main)\n"
    )
    argv = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'core'}"}
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        holder = int(await trio.to_thread.run_sync(owner.stdout.readline))
        descriptor = os.pidfd_open(holder)  # it ends only after everything in the laboratory
        try:
            owner.kill()
            ended, _, _ = await trio.to_thread.run_sync(select.select, [descriptor], [], [], 20)
        finally:
            os.close(descriptor)
    assert ended
