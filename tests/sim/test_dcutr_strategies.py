"""`Host.connect` with the strategies of DCUtR, on the simulated internet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from carrick import Connection
from carrick.errors import CarrickError, DialError
from carrick.host import ConnectTrace, Goal, Result, Step
from carrick.protocols.dcutr import Dcutr
from carrick.sim import Internet, Link, run
from carrick.testing.nodes import on_machine
from tests.support.dcutr import Scene, scene

HERE = Link(latency=0.01)


class Failing:
    """A strategy that fails."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def reach(self, goal: Goal, step: Step) -> Connection:
        await trio.lowlevel.checkpoint()
        raise CarrickError("made to fail")


async def connect(
    two: Scene, *strategies: str, direct: bool = False
) -> tuple[Connection | CarrickError, ConnectTrace]:
    """What A's `connect` to B comes to, once everything has settled."""
    trace = ConnectTrace()
    options: dict[str, Sequence[str]] = {"strategies": strategies} if strategies else {}
    found: Connection | CarrickError
    with on_machine(two.a.machine):
        try:
            found = await two.a.host.connect(
                [two.circuit_address], direct=direct, trace=trace, **options
            )
        except CarrickError as error:
            found = error
        await trace.settled()
    return found, trace


def told(trace: ConnectTrace) -> dict[str, Result]:
    return {step.strategy: step.result for step in trace.steps}


def test_c10_one_call_ends_direct_and_tells_everything() -> None:
    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat, link=HERE) as two:
            start = trio.current_time()
            found, trace = await connect(two)
            assert isinstance(found, Connection)
            assert found.is_relayed  # it was usable while punching went on
            assert trio.current_time() - start < 2
            assert told(trace)["relay"] is Result.OK
            assert told(trace)["punch"] is Result.OK
            assert trace.outcome == "SUCCESS"
            (step,) = [each for each in trace.steps if each.strategy == "punch"]
            (attempt,) = step.attempts
            assert attempt.result is Result.OK
            best = two.a.host.swarm.connection(two.b.id)
            assert best is not None
            assert (best.remote_address, best.is_relayed) == (step.address, False)
            for line in trace.to_json():
                assert {"strategy", "start_ms", "end_ms", "result", "reason"} <= set(line)

    run(program)


def test_c2_reverse_is_first() -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, None, "symmetric", link=HERE) as two:
            found, trace = await connect(two, direct=True)
            assert isinstance(found, Connection)
            assert not found.is_relayed
            assert told(trace)["reverse"] is Result.OK
            assert trace.outcome == "CONNECTION_REVERSED"

    run(program)


@pytest.mark.parametrize("direct", [True, False])
def test_c6_what_stays_relayed(direct: bool) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", link=HERE) as two:
            start = trio.current_time()
            found, trace = await connect(two, direct=direct)
            assert trio.current_time() - start < 5
            assert isinstance(found, DialError) if direct else found.is_relayed
            (step,) = [each for each in trace.steps if each.strategy == "punch"]
            assert step.result is Result.FAILED
            assert "symmetric NAT here, symmetric there (UDP)" in str(step.reason)
            assert trace.outcome == "FAILED"

    run(program)


def test_c11_without_reverse_the_peer_does_not_dial_back() -> None:
    """It is told no address to dial; both punch instead."""

    async def program(internet: Internet) -> None:
        async with scene(internet, None, "port-restricted", link=HERE) as two:
            _, trace = await connect(two, "punch", "relay")
            assert told(trace)["punch"] is Result.OK
            assert "reverse" not in told(trace)
            assert trace.outcome == "SUCCESS"

    run(program)


@pytest.mark.parametrize("strategies", [("relay",), ("direct", "relay")])
def test_c11_only_relayed(strategies: tuple[str, ...]) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, None, "port-restricted", link=HERE) as two:
            found, _ = await connect(two, *strategies)
            assert isinstance(found, Connection)
            await trio.sleep(20)
            assert found.is_relayed
            assert not found.closed
            assert two.a.host.swarm.connection(two.b.id) is found
            # Once that has ended, nothing is barred any more.
            await two.a.host.disconnect(two.b.id)
            await trio.sleep(1)
            await connect(two)
            best = two.a.host.swarm.connection(two.b.id)
            assert best is not None
            assert not best.is_relayed

    run(program)


def test_c11_reverse_without_punch() -> None:
    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat, link=HERE) as two:
            found, trace = await connect(two, "reverse", "relay")
            assert isinstance(found, Connection)
            assert found.is_relayed
            assert told(trace)["reverse"] is Result.FAILED
            assert two.a.host.swarm.connection(two.b.id) is found

    run(program)


@pytest.mark.parametrize(
    ("nat", "failing", "ends"),
    [
        (None, ("reverse",), "punch"),
        ("port-restricted", ("punch",), "relay"),
        (None, ("reverse", "punch"), "relay"),
    ],
)
def test_c11_a_strategy_that_fails_and_the_next(
    nat: str | None, failing: tuple[str, ...], ends: str
) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, nat, "port-restricted", link=HERE) as two:
            for name in failing:
                two.a.host.add_strategy(Failing(name))
            _, trace = await connect(two)
            for name in failing:
                assert told(trace)[name] is Result.FAILED
            assert told(trace)[ends] is Result.OK
            best = two.a.host.swarm.connection(two.b.id)
            assert best is not None
            assert best.is_relayed is (ends == "relay")

    run(program)


def test_b_may_ask_again() -> None:
    """An upgrade that failed is led anew when B itself wants a direct connection."""

    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", link=HERE) as two:
            await two.upgrade()
            (first,) = two.b.service(Dcutr).upgrades
            with on_machine(two.b.machine), pytest.raises(DialError):
                await two.b.host.connect(two.a.id, direct=True, strategies=("punch",))
            (second,) = two.b.service(Dcutr).upgrades
            assert second is not first
            assert second.reason == first.reason

    run(program)
