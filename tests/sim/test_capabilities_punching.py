"""CAPABILITIES C3 and C4: jitter, and the moment at which both punch, on the simulated internet."""

from __future__ import annotations

import pytest

from carrick.sim import Internet, Link, run
from tests.support.dcutr import scene

CONE = "port-restricted"


@pytest.mark.parametrize("transport", ["quic", "tcp"])
@pytest.mark.parametrize("seed", range(1, 4))
def test_c3_at_the_first_attempt_with_twenty_milliseconds_of_jitter(
    seed: int, transport: str
) -> None:
    async def program(internet: Internet) -> None:
        link = Link(latency=0.025, jitter=0.02)
        async with scene(internet, CONE, CONE, transport, link=link) as two:
            for upgrade in await two.upgrade():
                assert upgrade.outcome is not None
                assert (upgrade.outcome.value, len(upgrade.attempts)) == ("SUCCESS", 1)

    run(program, seed=seed)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2])
def test_c4_both_send_at_the_same_moment(latency: float, transport: str) -> None:
    """A as SYNC arrives, B half of the round trip later that it has measured just now: not the one
    of the connection, when the way was a shorter one."""

    async def program(internet: Internet) -> None:
        async with scene(internet, CONE, CONE, transport, link=Link(latency=0.01)) as two:
            for name in ("relay", "a-router", "b-router"):
                internet.nodes[name].interface.link = Link(latency=latency)
            _, of_b = await two.upgrade()
            (attempt,) = of_b.attempts
            assert attempt.rtt == pytest.approx(8 * latency, abs=0.01)
            sides = {"a": two.a.machine, "b": two.b.machine}
            first = {
                side: next(
                    each.time
                    for each in internet.trace
                    if each.time >= attempt.started
                    and each.sender == side
                    and each.destination[0] == internet.nodes[f"{other}-router"].address
                )
                for side, other in (("a", "b"), ("b", "a"))
            }
            assert set(sides) == set(first)
            error = abs(attempt.rtt - 8 * latency) / 2  # B waits for half of what it measured
            assert first["a"] == pytest.approx(first["b"], abs=0.001 + error)

    run(program)
