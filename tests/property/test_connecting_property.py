"""Any strategies, in any order, ending in any way: `connect` does what its order says."""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick import Connection, HostBuilder
from carrick.errors import CarrickError, DialError, PeerTimeout
from carrick.host import STRATEGIES, ConnectTrace, Goal, Result, Step

HEAD_START = 0.5
TIMEOUT = 8.0


@dataclass(frozen=True)
class Script:
    """How long a strategy takes, in seconds, and whether it succeeds then."""

    name: str
    takes: float
    succeeds: bool


@dataclass
class Scripted:
    script: Script
    result: Connection
    started: float | None = None
    ended: bool = False

    @property
    def name(self) -> str:
        return self.script.name

    async def reach(self, goal: Goal, step: Step) -> Connection:
        self.started = trio.current_time()
        try:
            await trio.sleep(self.script.takes)
        finally:
            self.ended = True
        if not self.script.succeeds:
            raise CarrickError("as the script says")
        return self.result


def expected(scripts: list[Script]) -> tuple[dict[str, float], float | None]:
    """When each strategy starts that does, and when one succeeds (None: none does)."""
    starts: dict[str, float] = {}
    ends: list[tuple[float, bool]] = []
    now = 0.0
    for script in scripts:
        if any(end <= now and good for end, good in ends):
            break
        starts[script.name] = now
        ends.append((now + script.takes, script.succeeds))
        idle = max((end for end, _ in ends), default=now)
        now = min(now + HEAD_START, idle)
    wins = [end for end, good in ends if good]
    won = min(wins, default=None)
    if won is not None:
        starts = {name: at for name, at in starts.items() if at < won}
        ends = ends[: len(starts)]
    return starts, won


# No two ends or starts at the same moment: quarters are for head starts.
times = st.integers(0, 60).map(lambda tenth: tenth / 10 + 0.03)
scripts = st.permutations(STRATEGIES[:3]).flatmap(
    lambda names: st.tuples(
        *(st.builds(Script, st.just(n), times | st.just(math.inf), st.booleans()) for n in names)
    )
)


@settings(max_examples=25, deadline=None)
@given(scripts, st.integers(1, 3))
def test_any_scripts(chosen: tuple[Script, ...], count: int) -> None:
    plan = list(chosen[:count])
    starts, won = expected(plan)

    async def program() -> None:
        node = HostBuilder().transports("memory").services(defaults=False)
        async with node.listen("/memory/0").open() as server, node.open() as client:
            # A connection that is direct, and not there for `connect` to take.
            address = server.swarm.listen_addresses[0]
            result = await client.swarm.dialer.dial_address(server.id, address)
            made = [Scripted(script, result) for script in plan]
            for each in made:
                client.add_strategy(each)
            await result.aclose()
            await result.ended.wait()
            trace, begun = ConnectTrace(), trio.current_time()
            failure: Exception | None = None
            try:
                await client.connect(
                    server.id,
                    strategies=[each.name for each in plan],
                    timeout=TIMEOUT,
                    trace=trace,
                )
            except (DialError, PeerTimeout) as error:
                failure = error
            took = trio.current_time() - begun
            await trace.settled()
            told = {each.name: each.started - begun for each in made if each.started is not None}
            if won is not None and won < TIMEOUT:
                assert told == starts
                assert abs(took - won) < 1e-6
                assert [step.result for step in trace.steps].count(Result.OK) == 1
                # It has ended long ago, and `connect` says so.
                assert "ended at once" in str(failure)
            elif any(script.takes == math.inf for script in plan):
                assert isinstance(failure, PeerTimeout)
                assert abs(took - TIMEOUT) < 1e-6
            else:
                assert isinstance(failure, DialError)
                assert [name for name, _ in failure.causes] == [each.name for each in plan]
            assert all(each.ended for each in made if each.started is not None)
            assert all(step.result is not Result.RUNNING for step in trace.steps)
            assert [step.strategy for step in trace.steps] == list(told)

    trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
