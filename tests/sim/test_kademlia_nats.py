"""The DHT over streams, Noise, Yamux and TCP through NATs: what the model of
`benchmarks.kademlia` leaves out. `benchmarks.kademlia.streams` plays the same with more nodes."""

from __future__ import annotations

import pytest

from benchmarks.kademlia.streams import play


@pytest.mark.timeout(240)
def test_what_forty_nodes_place_is_found() -> None:
    """From random nodes, and by others, half of both behind NATs."""
    found = play(40, keys=50, seed=1)
    assert not found["failures"]
    assert found["worked"] == found["tried"] == 50
    assert found["clients_in_tables"] == 0
