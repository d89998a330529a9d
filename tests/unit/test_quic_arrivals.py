"""Which streams are new, in whatever order they come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carrick.interfaces import Role
from carrick.transports.quic.arrivals import Arrivals


@given(st.lists(st.integers(0, 63), max_size=100), st.sampled_from(Role))
def test_each_stream_of_the_peer_is_new_once(ids: list[int], role: Role) -> None:
    arrivals = Arrivals(role)
    known: set[int] = set()
    for id in ids:
        of_the_peer = id % 2 == (role is Role.CLIENT)
        assert arrivals.is_new(id) is (of_the_peer and id not in known)
        known.add(id)
