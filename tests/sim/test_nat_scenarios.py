"""The scenarios of the NAT laboratory, in the simulator: CAPABILITIES B6, B12, C2, C3, C6, C10, C12
and C16. `python -m interop.natlab matrix --simulated` plays the whole matrix."""

from __future__ import annotations

import pytest
import trio

from interop.natlab.matrix import CLASSIC, REGULAR, TRANSPORTS, Job, simulate
from interop.natlab.results import cells, told
from interop.natlab.scenarios.meeting import cast, topology
from interop.natlab.scenarios.special import SPECIAL
from interop.natlab.stages import Stage, play


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("pair", (*CLASSIC, *REGULAR), ids="-".join)
def test_a_pair_of_routers(pair: tuple[str, str], transport: str) -> None:
    """Direct wherever that is possible, else relayed; both directions."""
    (played,) = simulate([Job(pair, transport, {50: 1})], 1)
    wrong = [words for cell in cells([played]) for words in cell.wrong()]
    assert not wrong, "\n".join((*wrong, *told(played, True)))


@pytest.mark.parametrize("name", SPECIAL)
def test_a_scenario(name: str) -> None:
    special = SPECIAL[name]
    report = play("simulated", special.topology(), special)
    assert not report.wrong, report


def test_a_node_does_only_what_it_is_told() -> None:
    """Between runs routers forget their mappings: a slot that a node has got by itself meanwhile is
    out of reach, and the next run fails."""

    async def scenario(stage: Stage) -> None:
        async with cast(stage, "quic") as nodes:
            await nodes.a.do("dial", addresses=nodes.relay.addresses)
            await trio.sleep(120)
            assert "p2p-circuit" not in str(await nodes.a.do("status"))

    play("simulated", topology("ar", "symseq1"), scenario)
