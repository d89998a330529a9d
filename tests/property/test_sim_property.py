"""Properties of the simulated internet: streams are whole, NATs keep to RFC 4787, seeds decide."""

from __future__ import annotations

import hashlib
import random
from functools import partial

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from carrick.sim import Dependence, Internet, Link, NatBehaviour, Ports, run
from carrick.sim.nat import Nat
from carrick.sim.packet import TCP, UDP

few = settings(max_examples=25, deadline=None)

links = st.builds(
    Link,
    latency=st.sampled_from([0.0, 0.001, 0.05, 2.0]),
    jitter=st.sampled_from([0.0, 0.01, 1.0]),
    bandwidth=st.sampled_from([float("inf"), 1e4, 1e6]),
    loss=st.sampled_from([0.0, 0.01, 0.3]),
    duplicate=st.sampled_from([0.0, 0.2]),
)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# --- TCP ------------------------------------------------------------------------------------------


@few
@given(
    links,
    links,
    st.lists(st.integers(1, 200_000), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), max_size=3),
    st.sampled_from([1000, 65_536, 300_000]),
    st.integers(0, 100),
)
def test_streams_are_whole_whatever_the_links_do(
    near: Link,
    far: Link,
    sizes: list[int],
    cuts: list[tuple[float, float]],
    window: int,
    seed: int,
) -> None:
    """Every byte arrives once and in order, in both directions, through loss and partitions."""
    total = sum(sizes)

    async def program(internet: Internet) -> list[bytes]:
        client = internet.host(link=near, window=window)
        server = internet.host(link=far, window=window)
        received: list[bytes] = []

        async def send(stream: trio.SocketStream) -> None:
            data, start = content(total), 0
            for size in sizes:
                await stream.send_all(data[start : start + size])
                start += size
            await stream.send_eof()

        async def receive(stream: trio.SocketStream) -> None:
            received.append(b"".join([piece async for piece in stream]))

        async def cut() -> None:
            for after, duration in cuts:
                await trio.sleep(after)
                internet.partition([client], [server])
                await trio.sleep(duration)
                internet.heal()

        with server.enter():
            (listener,) = await trio.open_tcp_listeners(1, host="0.0.0.0")
        async with trio.open_nursery() as nursery:
            with client.enter():
                stream = await trio.open_tcp_stream(server.address, 1)
            accepted = await listener.accept()
            nursery.start_soon(cut)
            for end in (stream, accepted):
                nursery.start_soon(send, end)
                nursery.start_soon(receive, end)
        return received

    received = run(program, seed=seed)
    expected = content(total)
    assert [len(data) for data in received] == [total, total]
    assert received == [expected, expected]


# --- one seed -------------------------------------------------------------------------------------


async def busy_network(internet: Internet) -> str:
    """Several programs at once, over links that leave much to chance; what happened, as a hash."""
    lossy = Link(latency=0.02, jitter=0.01, loss=0.05, reorder=0.1, duplicate=0.05)
    hosts = [internet.router(nat="symmetric", link=lossy).host() for _ in range(3)]
    server = internet.host(link=lossy)

    async def serve(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        with server.enter():
            await nursery.start(partial(trio.serve_tcp, serve, 1, host="0.0.0.0"))

        async def chatter(number: int) -> None:
            with hosts[number].enter():
                stream = await trio.open_tcp_stream(server.address, 1)
                for _ in range(10):
                    await stream.send_all(bytes(internet.rng.randrange(1, 5000)))
                    await stream.receive_some()
                    await trio.sleep(random.random())

        async with trio.open_nursery() as clients:
            for number in range(3):
                clients.start_soon(chatter, number)
        nursery.cancel_scope.cancel()
    lines = [(entry.line, entry.fate, entry.arrived) for entry in internet.trace]
    return hashlib.sha256(repr(lines).encode()).hexdigest()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64))
def test_one_seed_gives_one_trace(seed: int) -> None:
    once = run(busy_network, seed=seed)
    assert run(busy_network, seed=seed) == once
    assert run(busy_network, seed=seed + 1) != once


# --- NAT ------------------------------------------------------------------------------------------

INTERNAL = [("10.0.0.1", 1000), ("10.0.0.1", 1001), ("10.0.0.2", 1000)]
REMOTE = [("11.0.0.1", 1), ("11.0.0.1", 2), ("11.0.0.2", 1)]
dependences = st.sampled_from(Dependence)
behaviours = st.builds(
    NatBehaviour,
    mapping=dependences,
    filtering=dependences,
    ports=st.sampled_from([ports for ports in Ports if ports is not Ports.NONE]),
    hairpin=st.booleans(),
)
actions = st.lists(
    st.tuples(
        st.booleans(),  # outbound
        st.sampled_from([TCP, UDP]),
        st.sampled_from(INTERNAL),
        st.sampled_from(REMOTE),
    ),
    min_size=12,
    max_size=60,
)


def relevant(dependence: Dependence, remote: tuple[str, int]) -> object:
    """The part of `remote` that RFC 4787 lets a mapping or filter depend on."""
    return {
        Dependence.ENDPOINT_INDEPENDENT: None,
        Dependence.ADDRESS_DEPENDENT: remote[0],
        Dependence.ADDRESS_AND_PORT_DEPENDENT: remote,
    }[dependence]


@settings(max_examples=150, deadline=None)
@given(behaviours, actions, st.integers(0, 9))
def test_mappings_and_filters_are_those_of_rfc_4787(
    behaviour: NatBehaviour,
    actions: list[tuple[bool, int, tuple[str, int], tuple[str, int]]],
    seed: int,
) -> None:
    nat = Nat(behaviour, "11.9.9.9", random.Random(seed))
    mapped: dict[object, tuple[str, int]] = {}
    contacted: set[object] = set()
    for outbound, protocol, internal, remote in actions:
        key = protocol, internal, relevant(behaviour.mapping, remote)
        if outbound:
            external = nat.outbound(protocol, internal, remote, 0, 0.0)
            assert external[0] == "11.9.9.9"
            assert mapped.setdefault(key, external) == external, "a mapping is reused"
            contacted.add((protocol, external, relevant(behaviour.filtering, remote)))
        elif key in mapped:
            external = mapped[key]
            may_pass = (protocol, external, relevant(behaviour.filtering, remote)) in contacted
            passed = nat.inbound(protocol, external, remote, 0, 0.0)
            assert passed == (internal if may_pass else None)
    for protocol in (TCP, UDP):
        ours = {key: external for key, external in mapped.items() if key[0] == protocol}  # type: ignore[index]
        assert len(set(ours.values())) == len(ours), "two mappings have two ports"


@settings(max_examples=100, deadline=None)
@given(
    st.floats(1, 100),
    st.floats(1, 100),
    st.booleans(),
    st.lists(st.tuples(st.booleans(), st.floats(0, 60)), max_size=10),
)
def test_udp_mappings_live_as_long_as_they_are_used(
    one_way: float, both_ways: float, refresh: bool, uses: list[tuple[bool, float]]
) -> None:
    behaviour = NatBehaviour(
        filtering=Dependence.ENDPOINT_INDEPENDENT,
        ports=Ports.RANDOM,
        udp_timeout=one_way,
        udp_stream_timeout=both_ways,
        refresh_inbound=refresh,
    )
    nat = Nat(behaviour, "11.9.9.9", random.Random(0))
    internal, remote = INTERNAL[0], REMOTE[0]
    now = 0.0
    external = nat.outbound(UDP, internal, remote, 0, now)
    ends, answered = one_way, False
    for outbound, wait in uses:
        now += wait
        alive = now < ends
        if outbound:
            same = nat.outbound(UDP, internal, remote, 0, now) == external
            assert same or not alive
            if not alive:
                return
        else:
            assert (nat.inbound(UDP, external, remote, 0, now) is not None) == alive
            if not alive:
                return
            answered = True
        if outbound or refresh:
            ends = now + (both_ways if answered else one_way)


def test_tcp_ports_are_forgotten_after_a_reset() -> None:
    nat = Nat(NatBehaviour(ports=Ports.RANDOM), "11.9.9.9", random.Random(0))
    internal, remote = INTERNAL[0], REMOTE[0]
    syn, rst = 2, 4
    external = nat.outbound(TCP, internal, remote, syn, 0.0)
    assert nat.inbound(TCP, external, remote, rst, 1.0) == internal
    assert nat.inbound(TCP, external, remote, syn, 1.0) is None
