"""`Host.connect` with all strategies, between NATs, on the simulated internet (CAPABILITIES C2, C6,
C10)."""

from __future__ import annotations

from functools import partial
from itertools import combinations_with_replacement

import pytest
import trio

from carrick import HostBuilder
from carrick.errors import DialError
from carrick.host import ConnectTrace, Result
from carrick.sim import Internet, Link, run
from tests.support.dcutr import Scene, scene
from tests.support.swarms import echo, exchange
from tests.support.waiting import until

HERE = Link(latency=0.01)  # a round trip takes 40 ms, and 80 ms over the relay
NATS = (None, "full-cone", "address-restricted", "port-restricted", "symmetric")
PAIRS = list(combinations_with_replacement(NATS, 2))
RELAYED = {("port-restricted", "symmetric"), ("symmetric", "symmetric")}


def serving(builder: HostBuilder) -> HostBuilder:
    return builder.handle("/echo/1", echo, allow_limited=True)


def targets(two: Scene) -> list[object]:
    """What B advertises: where the relay sees it, and the relay."""
    place = str(two.b.host.observed.candidates(two.b.host.swarm.listen_addresses, 0.0)[0])
    return [f"{place}/p2p/{two.b.id}", two.circuit_address]


def results(trace: ConnectTrace) -> dict[str, Result]:
    return {step.strategy: step.result for step in trace.steps}


@pytest.mark.parametrize("transport", ["quic", "tcp"])
@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_c10_every_pair_of_nats_ends_connected(
    a: str | None, b: str | None, transport: str
) -> None:
    """13 pairs directly, 2 over the relay, each within 10 s, and data flows from the first round
    trips on."""

    async def program(internet: Internet) -> None:
        async with scene(internet, a, b, transport, link=HERE, builder=serving) as two:
            trace, start = ConnectTrace(), trio.current_time()
            first = await two.a.connect(targets(two), trace=trace)
            took = trio.current_time() - start
            assert took < 1.2  # half a second of it is the head start of the direct dial
            stream = await two.a.open_stream(two.b.id, "/echo/1", allow_limited=True)
            assert await exchange(stream, b"from the first round trip on") != b""
            await trace.settled()
            assert trio.current_time() - start < 10
            best = two.a.host.swarm.connection(two.b.id)
            assert best is not None
            assert best.is_relayed == ((a, b) in RELAYED)
            ok = [name for name, result in results(trace).items() if result is Result.OK]
            if first.is_relayed:
                assert "relay" in ok
                assert trace.outcome in ("SUCCESS", "CONNECTION_REVERSED", "FAILED")
            if best is not first:
                assert {"reverse", "punch"}.intersection(ok)
            for step in trace.to_json():
                assert step.keys() >= {"strategy", "start_ms", "end_ms", "result", "reason"}
                assert step["end_ms"] >= step["start_ms"] >= 0

    run(program)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_direct_is_asked_for_and_punched(transport: str) -> None:
    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat, transport, link=HERE) as two:
            trace, start = ConnectTrace(), trio.current_time()
            connection = await two.a.connect(targets(two), direct=True, trace=trace)
            assert not connection.is_relayed
            assert trio.current_time() - start < 2
            await trace.settled()
            told = results(trace)
            if transport == "tcp" and told["direct"] is Result.OK:
                return  # our own dial was still on, and met the peer's in the middle
            assert trace.outcome == "SUCCESS"
            assert told["punch"] is told["relay"] is Result.OK
            assert told["direct"] is not Result.OK
            (punch,) = [step for step in trace.steps if step.strategy == "punch"]
            assert punch.address == connection.remote_address
            assert [each.result for each in punch.attempts] == [Result.OK]

    run(program)


@pytest.mark.parametrize("transport", ["quic", "tcp"])
def test_c2_a_public_peer_is_dialled_back(transport: str) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, None, "symmetric", transport, link=HERE) as two:
            trace, start = ConnectTrace(), trio.current_time()
            connection = await two.a.connect(two.circuit_address, direct=True, trace=trace)
            assert not connection.is_relayed
            assert trio.current_time() - start < 1
            await trace.settled()
            assert trace.outcome == "CONNECTION_REVERSED"
            assert results(trace)["reverse"] is Result.OK

    run(program)


@pytest.mark.parametrize("classified", [True, False])
def test_c6_two_symmetric_nats_stay_relayed(classified: bool) -> None:
    """Within 5 s, marked as relayed, and data flows within the relay's limits."""

    async def program(internet: Internet) -> None:
        nat = "symmetric"
        async with scene(
            internet, nat, nat, link=HERE, builder=serving, classified=classified
        ) as two:
            trace, start = ConnectTrace(), trio.current_time()
            connection = await two.a.connect(targets(two), trace=trace)
            assert trio.current_time() - start < 5
            assert connection.is_relayed
            assert connection.is_limited
            stream = await two.a.open_stream(two.b.id, "/echo/1", allow_limited=True)
            assert await exchange(stream, bytes(40_000)) == bytes(40_000)
            await trace.settled()
            assert trace.outcome == "FAILED"
            assert trio.current_time() - start < 10
            assert not connection.closed

    run(program)


def test_c6_two_symmetric_nats_and_direct_is_asked_for() -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", link=HERE) as two:
            trace = ConnectTrace()
            with pytest.raises(DialError, match="symmetric NAT here, symmetric there"):
                await two.a.connect(targets(two), direct=True, trace=trace)
            await trace.settled()
            assert results(trace)["relay"] is Result.OK  # but a means
            await until(lambda: two.a.host.swarm.connection(two.b.id) is None)

    run(program)


def test_c8_streams_that_do_not_allow_a_relay_wait_for_the_upgrade() -> None:
    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        build = partial(HostBuilder.handle, protocol="/echo/1", handler=echo)
        async with scene(internet, nat, nat, link=HERE, builder=lambda each: build(each)) as two:
            stream = await two.a.open_stream(targets(two), "/echo/1")
            assert not stream.connection.is_relayed
            assert await exchange(stream, b"data") == b"data"

    run(program)
