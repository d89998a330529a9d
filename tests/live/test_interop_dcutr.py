"""DCUtR with go and rust through the kernel's NATs: both transports, both roles."""

from __future__ import annotations

import warnings

import pytest

from interop.natlab.lab import unavailable as no_lab
from interop.natlab.stages.kernel import open_kernel_stage
from interop.peers.driven import unavailable
from interop.peers.punch import LIBRARIES, ROLES, TRANSPORTS, punch, topology

if (missing := no_lab()) is not None:
    pytestmark = pytest.mark.skip(reason=f"NO DCUTR WITH OTHERS IS TESTED: {missing}")

DELAY = 40  # ms across the internet; without any the SYNs do not meet on the way


@pytest.mark.parametrize("carrick", ROLES)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("library", LIBRARIES)
async def test_punch(library: str, transport: str, carrick: str) -> None:
    if (absent := unavailable(library)) is not None:
        warnings.warn(f"NO DCUTR TEST WITH {library}: {absent}", stacklevel=1)
        pytest.skip(absent)
    async with open_kernel_stage(topology()) as stage, stage.delay(DELAY):
        result = await punch(stage, library, transport, carrick)
        assert result.problem is None, result
        # Through the other's router, not over the relay.
        assert f"/ip4/{stage.topology.nodes['other-r'].address}/" in result.address
        assert await stage.leaked() == 0
