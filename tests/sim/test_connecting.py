"""`Host.connect` and its strategies, over the memory transport, in virtual time (CAPABILITIES C10,
C11)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from carrick import Connection, Host, HostBuilder, PrivateKey
from carrick.addressing import with_peer
from carrick.errors import CarrickError, DialError, NoAddresses, PeerTimeout
from carrick.host import STRATEGIES, ConnectTrace, Goal, Result, Step, connecting
from carrick.host.alarms import Alarms
from carrick.network.events import ConnectionOpened, DialFailed
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import CircuitOpened, RelayClient, RelayService
from tests.support.swarms import echo, exchange
from tests.support.waiting import until

NOBODY = PrivateKey.generate().peer_id
NOWHERE = "/memory/4242"


@dataclass
class People:
    """Rita relays; Bob has a slot with her, and Alice none."""

    alice: Host
    bob: Host
    rita: Host

    @property
    def bob_direct(self) -> str:
        return str(with_peer(self.bob.swarm.listen_addresses[0], self.bob.id))

    @property
    def bob_relayed(self) -> str:
        (address,) = self.bob.service(RelayClient).addresses()
        return str(with_peer(address, self.bob.id))

    async def dial_bob(self) -> Connection:
        """Another way to a direct connection."""
        address = self.bob.swarm.listen_addresses[0]
        return await self.alice.swarm.dialer.dial_address(self.bob.id, address)


@pytest.fixture
async def people() -> AsyncIterator[People]:
    node = HostBuilder().transports("memory").listen("/memory/0")
    node = node.services(Identify, Ping, defaults=False)  # no strategies but those of a test
    peer = node.services(RelayClient).handle("/echo/1", echo)
    async with node.services(RelayService).open() as rita, peer.open() as bob, peer.open() as alice:
        await bob.service(RelayClient).reserve(rita.addresses[0])
        yield People(alice, bob, rita)


@dataclass
class Fake:
    """A strategy that does as it is told, and notes when."""

    name: str
    act: Callable[[Goal], Awaitable[Connection]] | None = None
    delay: float = math.inf
    started: list[float] = field(default_factory=list)
    cancelled: bool = False

    async def reach(self, goal: Goal, step: Step) -> Connection:
        self.started.append(trio.current_time())
        try:
            await trio.sleep(self.delay)
        except trio.Cancelled:
            self.cancelled = True
            raise
        if self.act is None:
            raise CarrickError(f"{self.name} was told to fail")
        return await self.act(goal)


def fakes(host: Host, *names: str, delay: float = math.inf) -> dict[str, Fake]:
    made = {name: Fake(name, delay=delay) for name in names or STRATEGIES}
    for fake in made.values():
        host.add_strategy(fake)
    return made


def results(trace: ConnectTrace) -> dict[str, Result]:
    return {step.strategy: step.result for step in trace.steps}


# --- order and head starts ------------------------------------------------------------------------


async def test_each_strategy_has_a_head_start(autojump_clock, people: People) -> None:
    made, trace, start = fakes(people.alice), ConnectTrace(), trio.current_time()
    with pytest.raises(PeerTimeout):
        await people.alice.connect(NOBODY, timeout=5, trace=trace)
    assert trio.current_time() == start + 5
    assert [made[name].started for name in STRATEGIES] == [
        [start],
        [start + 0.5],
        [start + 1.0],
        [start + 1.5],
    ]
    await trace.settled()
    assert all(fake.cancelled for fake in made.values())
    assert set(results(trace).values()) == {Result.CANCELLED}


async def test_the_next_one_starts_when_those_before_have_failed(
    autojump_clock, people: People
) -> None:
    made, trace, start = fakes(people.alice, delay=0.125), ConnectTrace(), trio.current_time()
    with pytest.raises(DialError) as caught:
        await people.alice.connect(NOBODY, trace=trace)
    assert [made[name].started for name in STRATEGIES] == [
        [start + 0.125 * index] for index in range(4)
    ]
    assert [name for name, _ in caught.value.causes] == list(STRATEGIES)
    assert set(results(trace).values()) == {Result.FAILED}
    assert trace.steps[2].reason == "punch was told to fail"
    assert trace.to_json()[1] == {
        "strategy": "reverse",
        "start_ms": 125.0,
        "end_ms": 250.0,
        "result": "failed",
        "reason": "reverse was told to fail",
        "address": None,
        "attempts": [],
    }


async def test_it_waits_for_the_head_start_if_one_before_still_runs(
    autojump_clock, people: People
) -> None:
    made, start = fakes(people.alice), trio.current_time()
    made["reverse"].delay = 0.1  # fails at 0.6 s, while `direct` goes on
    with pytest.raises(PeerTimeout):
        await people.alice.connect(NOBODY, timeout=2)
    assert made["punch"].started == [start + 1.0]


@pytest.mark.parametrize("failing", range(4))
async def test_c11_when_strategies_fail_the_next_one_is_used(
    autojump_clock, people: People, failing: int
) -> None:
    async def reach(goal: Goal) -> Connection:
        assert (await goal.relayed()).is_relayed
        return await people.dial_bob()

    if failing:
        fakes(people.alice, *STRATEGIES[:failing], delay=0.01)
    for name in ("reverse", "punch"):
        if name not in STRATEGIES[:failing]:
            people.alice.add_strategy(Fake(name, reach, delay=0.1))
    trace = ConnectTrace()
    target = [people.bob_direct, people.bob_relayed]
    connection = await people.alice.connect(target, trace=trace)
    winner = STRATEGIES[failing]
    assert connection.is_relayed == (winner != "direct")  # it is usable meanwhile
    await trace.settled()
    assert results(trace)[winner] is Result.OK
    assert all(results(trace)[name] is Result.FAILED for name in STRATEGIES[:failing])
    best = people.alice.swarm.connection(people.bob.id)
    assert best is not None
    assert best.is_relayed == (winner == "relay")
    assert trace.outcome == {"reverse": "CONNECTION_REVERSED", "punch": "SUCCESS"}.get(
        winner, "FAILED" if winner == "relay" else None
    )


async def test_c11_the_order_given_is_obeyed(autojump_clock, people: People) -> None:
    made, trace = fakes(people.alice, "reverse", "punch", delay=0.25), ConnectTrace()
    start = trio.current_time()
    with people.alice.events.subscribe(DialFailed, ConnectionOpened) as events:
        with pytest.raises(DialError):
            await people.alice.connect(
                people.bob_direct, strategies=("punch", "reverse"), trace=trace
            )
        assert events.get_nowait() is None  # nothing was dialled
    assert made["punch"].started == [start]
    assert made["reverse"].started == [start + 0.25]
    assert [step.strategy for step in trace.steps] == ["punch", "reverse"]


async def test_a_strategy_that_no_service_brings_is_skipped(autojump_clock, people: People) -> None:
    trace = ConnectTrace()
    await people.alice.connect(people.bob_relayed, trace=trace)
    await trace.settled()
    assert results(trace)["reverse"] is results(trace)["punch"] is Result.SKIPPED
    assert trace.steps[1].reason == "no service of this host brings it"
    with pytest.raises(DialError, match="punch: no service of this host brings it"):
        await people.alice.connect(NOBODY, strategies=["punch"])


@pytest.mark.parametrize("names", [["tunnel"], [], ["direct", "direct"]])
async def test_strategies_that_nobody_knows(
    autojump_clock, people: People, names: list[str]
) -> None:
    with pytest.raises(ValueError, match="direct, reverse, punch, relay"):
        await people.alice.connect(people.bob_direct, strategies=names)


async def test_a_defect_of_a_strategy_ends_nothing(autojump_clock, people: People, caplog) -> None:
    async def defect(goal: Goal) -> Connection:
        raise RuntimeError("a defect")

    people.alice.add_strategy(Fake("direct", defect, delay=0))
    connection = await people.alice.connect([people.bob_direct, people.bob_relayed])
    assert connection.is_relayed
    assert "the strategy direct failed" in caplog.text


# --- direct, relayed ------------------------------------------------------------------------------


async def test_the_attempts_of_a_dial(autojump_clock, people: People) -> None:
    """C9."""
    trace = ConnectTrace()
    connection = await people.alice.connect([NOWHERE, people.bob_direct], trace=trace)
    (step,) = trace.steps
    assert (step.strategy, step.result) == ("direct", Result.OK)
    assert step.address == connection.remote_address
    told = {str(each.address): each.result for each in step.attempts}
    assert told[NOWHERE] is not Result.RUNNING
    assert told[str(people.bob.swarm.listen_addresses[0])] is Result.OK
    assert trace.outcome is None
    again = ConnectTrace()
    assert await people.alice.connect(people.bob.id, trace=again) is connection
    assert again.steps[0].reason == "it was there already"


async def test_the_attempts_of_a_dial_that_fails(autojump_clock, people: People) -> None:
    """C9: every candidate is told, and what came of it."""
    trace = ConnectTrace()
    wrong = str(with_peer(people.rita.swarm.listen_addresses[0], NOBODY))
    with pytest.raises(DialError) as caught:
        await people.alice.connect([f"{NOWHERE}/p2p/{NOBODY}", wrong], trace=trace)
    assert len(caught.value.causes) == 2
    direct, *others = trace.steps
    assert [each.result for each in direct.attempts] == [Result.FAILED] * 2
    assert {each.reason for each in direct.attempts} == {
        cause.message for _, cause in caught.value.causes
    }
    assert [each.strategy for each in others] == ["reverse", "punch", "relay"]
    assert others[-1].result is Result.FAILED
    assert others[-1].reason == "no relay is known to lead to it"


async def test_a_peer_that_is_on_no_relay(autojump_clock, people: People) -> None:
    async def reach(goal: Goal) -> Connection:
        return await goal.relayed()

    for name in ("reverse", "punch"):
        people.alice.add_strategy(Fake(name, reach, delay=0))
    trace = ConnectTrace()
    with pytest.raises(DialError) as caught:
        await people.alice.connect(f"{NOWHERE}/p2p/{NOBODY}", trace=trace)
    assert [str(address) for address, _ in caught.value.causes] == [NOWHERE]
    assert trace.outcome == "NO_CONNECTION"
    assert [step.strategy for step in trace.steps] == ["direct", "reverse", "relay", "punch"]


async def test_callers_at_once_share_a_dial(autojump_clock, people: People) -> None:
    found: list[Connection] = []

    async def connect() -> None:
        found.append(await people.alice.connect(people.bob_direct))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(connect)
    assert len(set(found)) == len(people.alice.swarm.connections(people.bob.id)) == 1
    assert not people.alice._connector._races  # nothing is left behind


async def test_whoever_answers(autojump_clock, people: People) -> None:
    trace = ConnectTrace()
    address = people.bob.swarm.listen_addresses[0]
    assert (await people.alice.connect(address, trace=trace)).peer_id == people.bob.id
    assert results(trace) == {"direct": Result.OK}
    await trace.settled()
    with pytest.raises(NoAddresses, match="/p2p/"):
        await people.alice.connect(address, strategies=("relay",), trace=(trace := ConnectTrace()))
    await trace.settled()
    with pytest.raises(DialError, match="this host itself"):
        await people.alice.connect(people.alice.id, trace=(trace := ConnectTrace()))
    await trace.settled()
    with pytest.raises(DialError):
        await people.alice.connect(NOWHERE, trace=(trace := ConnectTrace()))
    assert results(trace) == {"direct": Result.FAILED}
    await trace.settled()


async def test_only_over_a_relay(autojump_clock, people: People) -> None:
    target = [people.bob_direct, people.bob_relayed]
    direct = await people.alice.connect(target)
    assert not direct.is_relayed
    relayed = await people.alice.connect(target, strategies=("relay",))
    assert relayed.is_relayed
    assert await people.alice.connect(people.bob.id) is direct


async def test_over_a_relay_that_both_are_on(autojump_clock, people: People) -> None:
    with pytest.raises(NoAddresses):
        await people.alice.connect(people.bob.id)
    await people.alice.service(RelayClient).reserve(people.rita.addresses[0])
    connection = await people.alice.connect(people.bob.id)
    assert connection.is_relayed


async def test_a_relayed_address_alone_is_dialled_at_once(autojump_clock, people: People) -> None:
    asked = trio.Event()

    async def slow(peer: object) -> list[object]:
        asked.set()
        await trio.sleep(3)
        return []

    people.alice.add_address_source(slow)
    start = trio.current_time()
    connection = await people.alice.connect(people.bob_relayed)
    assert connection.is_relayed
    assert trio.current_time() == start
    assert asked.is_set()


async def test_a_source_is_asked_once(autojump_clock, people: People) -> None:
    asked: list[object] = []

    async def source(peer: object) -> list[object]:
        asked.append(peer)
        await trio.sleep(2)
        return [*people.bob.swarm.listen_addresses, *people.bob.service(RelayClient).addresses()]

    people.alice.add_address_source(source)
    start = trio.current_time()
    connection = await people.alice.connect(people.bob.id)
    assert asked == [people.bob.id]
    assert trio.current_time() == start + 2
    assert connection.peer_id == people.bob.id


async def test_direct_is_asked_for_and_not_had(autojump_clock, people: People) -> None:
    """The relayed connection is but a means, and goes again."""

    async def reach(goal: Goal) -> Connection:
        await goal.relayed()
        raise CarrickError("nobody was met")

    for name in ("reverse", "punch"):
        people.alice.add_strategy(Fake(name, reach, delay=0.1))
    trace = ConnectTrace()
    with pytest.raises(DialError) as caught:
        await people.alice.connect(
            [f"{NOWHERE}/p2p/{people.bob.id}", people.bob_relayed], direct=True, trace=trace
        )
    await trace.settled()
    assert [str(name) for name, _ in caught.value.causes] == [NOWHERE, "reverse", "punch"]
    assert results(trace)["relay"] is Result.OK
    assert trace.outcome == "FAILED"
    await until(lambda: not people.alice.swarm.connections(people.bob.id))


async def test_a_means_that_was_there_before_stays(autojump_clock, people: People) -> None:
    relayed = await people.alice.connect(people.bob_relayed)

    async def reach(goal: Goal) -> Connection:
        assert await goal.relayed() is relayed
        raise CarrickError("nobody was met")

    people.alice.add_strategy(Fake("punch", reach, delay=0.1))
    with pytest.raises(DialError):
        await people.alice.connect(people.bob.id, direct=True)
    await trio.testing.wait_all_tasks_blocked()
    assert people.alice.swarm.connections(people.bob.id) == (relayed,)


async def test_a_means_that_somebody_else_got_stays(autojump_clock, people: People) -> None:
    """Two callers at once: one takes what is relayed, and the other does not."""
    got: list[Connection] = []

    async def reach(goal: Goal) -> Connection:
        await goal.relayed()
        await trio.sleep(1)
        raise CarrickError("nobody was met")

    people.alice.add_strategy(Fake("punch", reach, delay=0))

    async def content() -> None:
        got.append(await people.alice.connect(people.bob_relayed))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(content)
        with pytest.raises(DialError):
            await people.alice.connect(people.bob_relayed, direct=True)
    await trio.testing.wait_all_tasks_blocked()
    assert people.alice.swarm.connections(people.bob.id) == tuple(got)


async def test_direct_is_asked_for_while_a_relayed_dial_is_on(
    autojump_clock, people: People
) -> None:
    """The two share no dial."""
    found: dict[bool, Connection] = {}

    async def connect(direct: bool) -> None:
        found[direct] = await people.alice.connect(
            people.bob_direct if direct else people.bob_relayed, direct=direct
        )

    async with trio.open_nursery() as nursery:
        for direct in (False, True):
            nursery.start_soon(connect, direct)
    assert not found[True].is_relayed


async def test_a_peer_that_came_by_itself_will_do(autojump_clock, people: People) -> None:
    await people.rita.swarm.dialer.dial_address(  # a stranger's dial disturbs nothing
        people.alice.id, people.alice.swarm.listen_addresses[0]
    )

    async def reach(goal: Goal) -> Connection:
        await people.bob.connect(people.alice.addresses[0])
        raise CarrickError("not by me")

    people.alice.add_strategy(Fake("punch", reach, delay=0.1))
    connection = await people.alice.connect(people.bob.id, strategies=("direct", "punch"))
    assert not connection.is_relayed


# --- in the background ----------------------------------------------------------------------------


async def test_c10_the_relayed_connection_is_usable_meanwhile(
    autojump_clock, people: People
) -> None:
    """One relayed dial for all; streams move to the direct connection as soon as it is there."""

    async def reverse(goal: Goal) -> Connection:
        await goal.relayed()
        await trio.sleep(0.3)
        raise CarrickError("it cannot dial us")

    async def punch(goal: Goal) -> Connection:
        await goal.relayed()
        await trio.sleep(2)
        return await people.dial_bob()

    people.alice.add_strategy(Fake("reverse", reverse, delay=0))
    people.alice.add_strategy(Fake("punch", punch, delay=0))
    people.bob.handle("/echo/2", echo, allow_limited=True)
    trace = ConnectTrace()
    start = trio.current_time()
    with people.rita.events.subscribe(CircuitOpened) as circuits:
        relayed = await people.alice.connect(people.bob_relayed, trace=trace)
        assert trio.current_time() == start
        assert relayed.is_relayed
        stream = await people.alice.open_stream(people.bob.id, "/echo/2", allow_limited=True)
        assert stream.connection is relayed
        assert await exchange(stream, b"data") == b"data"
        assert [step.result for step in trace.steps if step.strategy == "punch"] != [Result.OK]

        stream = await people.alice.open_stream(people.bob.id, "/echo/1")  # waits for it
        assert not stream.connection.is_relayed
        await trace.settled()
        assert trio.current_time() == start + 2.3
        assert results(trace) == {
            "direct": Result.FAILED,
            "reverse": Result.FAILED,
            "relay": Result.OK,
            "punch": Result.OK,
        }
        assert circuits.get_nowait() is not None
        assert circuits.get_nowait() is None
    assert not relayed.closed


async def test_the_background_ends_with_the_deadline(autojump_clock, people: People) -> None:
    made, trace = fakes(people.alice, "reverse", "punch"), ConnectTrace()
    start = trio.current_time()
    await people.alice.connect(people.bob_relayed, timeout=4, trace=trace)
    assert trio.current_time() <= start + 1
    await trace.settled()
    assert trio.current_time() == start + 4
    assert made["punch"].cancelled
    assert results(trace)["punch"] is Result.CANCELLED
    assert trace.outcome == "CANCELLED"


async def test_the_background_ends_with_the_host(autojump_clock, people: People) -> None:
    trace = ConnectTrace()
    node = HostBuilder().transports("memory").services(RelayClient)
    async with node.open() as carol:
        made = fakes(carol, "reverse", "punch")
        await carol.connect(people.bob_relayed, trace=trace)
        await trio.testing.wait_all_tasks_blocked()
    await trace.settled()
    assert made["reverse"].cancelled
    assert results(trace)["reverse"] is Result.CANCELLED


async def test_the_background_is_bounded(
    autojump_clock, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "MAX_BACKGROUND", 1)
    fakes(people.alice, "reverse", "punch")
    await people.alice.connect(people.bob_relayed)
    await people.alice.service(RelayClient).reserve(people.rita.addresses[0])
    async with HostBuilder().transports("memory").services(RelayClient).open() as carol:
        await carol.service(RelayClient).reserve(people.rita.addresses[0])
        trace = ConnectTrace()
        await people.alice.connect(carol.id, trace=trace)
        await trace.settled()  # at once
        assert results(trace)["reverse"] is Result.CANCELLED
        assert trace.steps[1].reason == "too many races go on in the background"


async def test_a_caller_that_leaves_ends_it_all(autojump_clock, people: People) -> None:
    made, trace = fakes(people.alice), ConnectTrace()
    with trio.move_on_after(0.7):
        await people.alice.connect(people.bob_direct, trace=trace)
    await trace.settled()
    assert made["direct"].cancelled
    assert made["reverse"].cancelled
    assert not made["punch"].started


async def test_open_stream_has_the_same_ways(autojump_clock, people: People) -> None:
    await people.alice.service(RelayClient).reserve(people.rita.addresses[0])

    async def punch(goal: Goal) -> Connection:
        await goal.relayed()
        return await people.dial_bob()

    people.alice.add_strategy(Fake("punch", punch, delay=1))
    stream = await people.alice.open_stream(people.bob.id, "/echo/1")
    assert not stream.connection.is_relayed
    assert await exchange(stream, b"data") == b"data"


# --- alarms ---------------------------------------------------------------------------------------


async def test_alarms(autojump_clock) -> None:
    alarms, heard = Alarms(), []
    async with trio.open_nursery() as nursery:
        await nursery.start(alarms.run)
        start = trio.current_time()
        for wait in (3, 1, 2):
            alarms.call_at(start + wait, lambda: heard.append(trio.current_time() - start))
        alarms.call_at(start + 1.5, lambda: heard.append(-1.0)).cancel()
        await trio.sleep(2.5)
        assert heard == [1, 2]
        await trio.sleep(2.5)
        assert heard == [1, 2, 3]
        alarms.call_at(start, lambda: heard.append(math.inf))  # late already
        await trio.testing.wait_all_tasks_blocked()
        assert heard[-1] == math.inf
        nursery.cancel_scope.cancel()
