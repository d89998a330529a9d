"""Whatever the network is like, and whoever starts first: peers whose NATs allow it meet."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.sim import Link, run
from tests.support.punching import ROLES, can_punch, meet

# Routers that answer RST need packets that cross, which is a matter of luck.
QUIET = ["public", "fc", "ar", "pr", "prhash", "sym", "pr/pr"]


@settings(max_examples=40, deadline=None)
@given(
    one=st.sampled_from(QUIET),
    other=st.sampled_from(QUIET),
    protocol=st.sampled_from(["tcp", "udp"]),
    roles=st.sampled_from(ROLES),
    offset=st.floats(-1.0, 1.0),
    link=st.builds(
        Link,
        latency=st.floats(0.0, 0.1),
        jitter=st.floats(0.0, 0.02),
        duplicate=st.floats(0.0, 0.05),
    ),
)
def test_who_can_meet_meets(one, other, protocol, roles, offset, link) -> None:  # type: ignore[no-untyped-def]
    program = partial(meet, one=one, other=other, protocol=protocol, roles=roles, offset=offset)
    assert run(program, access=link) == can_punch(one, other, protocol)
