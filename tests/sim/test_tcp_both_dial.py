"""Two peers dial each other at the same moment, each from the port that the other dials."""

from __future__ import annotations

import pytest
import trio

from carrick import HostBuilder
from carrick.sim import Internet, run
from carrick.testing import Node, open_node


@pytest.mark.parametrize("security", ["noise", "tls"])
def test_both_reach_each_other(security: str) -> None:
    """TCP makes one connection of their two SYNs, on which both begin: they dial anew."""

    async def program(internet: Internet) -> None:
        builder = HostBuilder().security(security)
        async with (
            open_node(internet.host(), builder) as a,
            open_node(internet.host(), builder) as b,
        ):

            async def connect(here: Node, there: Node) -> None:
                connection = await here.connect(there)
                assert connection.peer_id == there.id

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, a, b)
                nursery.start_soon(connect, b, a)

    run(program, seed=3)
