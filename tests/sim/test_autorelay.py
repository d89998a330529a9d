"""AutoRelay: which relays it takes, and when (CAPABILITIES C5 and C7, issue 7 build 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from carrick import Host, HostBuilder
from carrick.addressing import host_ip, is_relayed
from carrick.errors import CarrickError, ResolutionError
from carrick.host import Reachability, ReachabilityChanged
from carrick.host.host import Target
from carrick.identity import PeerId, PrivateKey
from carrick.network.events import Event
from carrick.protocols.autonat import AutoNat, AutoNatOptions
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import (
    AutoRelay,
    AutoRelayOptions,
    Capacity,
    RelayClient,
    RelayClientOptions,
    RelayOptions,
    RelayService,
    ReservationGained,
)
from carrick.sim import Internet, Link, Router, run
from carrick.testing import PORT, Node, keep_node, open_node

TCP = HostBuilder().transports("tcp").security("noise")
HELPER = TCP.services(RelayService, partial(AutoNat, AutoNatOptions(probe=False)))
PRIVATE = TCP.services(RelayClient, AutoNat, AutoRelay)


async def until(node: Host, count: int, *, within: float) -> list[PeerId]:
    """Wait until AutoRelay keeps so many slots."""
    service = node.service(AutoRelay)
    with trio.fail_after(within), node.events.subscribe(Event) as events:
        while sum(each.active for each in service.reservations) != count:
            await events.__anext__()
    return [each.relay for each in service.reservations]


# --- behind a NAT ---------------------------------------------------------------------------------


async def helpers_on(
    internet: Internet, nursery: trio.Nursery, count: int, builder: HostBuilder = HELPER
) -> list[Node]:
    """Relays that also dial back, each a little farther away than the one before."""
    return [
        await nursery.start(
            keep_node,
            internet.host(f"relay{number}", link=Link(latency=0.01 * (number + 1))),
            builder,
        )
        for number in range(count)
    ]


def test_a_private_node_keeps_two_slots_until_it_is_public() -> None:
    """It learns that it is private, takes 2 of 5 relays, replaces the one that dies, and lets both
    go when its router forwards a port."""

    async def program(internet: Internet) -> None:
        router = internet.router("home", "port-restricted")
        async with trio.open_nursery() as nursery:
            relays = await helpers_on(internet, nursery, 5)
            by_id = {each.id: each for each in relays}
            async with open_node(router.host("bob"), PRIVATE) as bob:
                for relay in relays:
                    await bob.connect(relay)
                client = bob.service(RelayClient)
                assert bob.service(RelayClient).reservations == ()
                taken = await until(bob.host, 2, within=30)
                assert bob.service(AutoNat).reachability is Reachability.PRIVATE
                assert len(set(taken)) == 2
                assert {each.relay for each in client.reservations} == set(taken)
                assert sum(each.service(RelayService).reservations for each in relays) == 2
                told = bob.host.own_addresses.for_peer_at(relays[0].addresses[0])
                assert told and all(map(is_relayed, told))
                async with open_node(internet.host("alice"), TCP.services(RelayClient)) as alice:
                    for address in [each for each in bob.addresses if is_relayed(each)]:
                        connection = await alice.connect(address)
                        assert connection.is_limited
                        await alice.host.disconnect(bob.id)

                by_id[taken[0]].machine.crash()
                # TCP finds out when the connection's own keepalive or retransmission gives up.
                start = trio.current_time()
                while taken[0] in {each.relay for each in bob.service(AutoRelay).reservations}:
                    with bob.host.events.subscribe(Event) as events:
                        await events.__anext__()
                now_taken = await until(bob.host, 2, within=60)
                assert taken[0] not in now_taken
                assert taken[1] in now_taken
                assert trio.current_time() - start < 300

                forward(router, bob)
                with bob.host.events.subscribe(ReachabilityChanged) as changes:
                    while (await changes.__anext__()).reachability is not Reachability.PUBLIC:
                        pass
                await until(bob.host, 0, within=1)
                assert client.reservations == ()
                assert not any(map(is_relayed, bob.addresses))
            nursery.cancel_scope.cancel()

    run(program)


def forward(router: Router, node: Node) -> None:
    ip = host_ip(node.addresses[0])
    router.map_port("tcp", PORT, (str(ip), PORT))


def test_a_public_node_takes_none() -> None:
    async def program(internet: Internet) -> None:
        async with trio.open_nursery() as nursery:
            relays = await helpers_on(internet, nursery, 3)
            async with open_node(internet.host("bob"), PRIVATE) as bob:
                with bob.host.events.subscribe(ReservationGained) as gained:
                    for relay in relays:
                        await bob.connect(relay)
                    await trio.sleep(1000)
                    assert gained.get_nowait() is None
                assert bob.service(AutoNat).reachability is Reachability.PUBLIC
            nursery.cancel_scope.cancel()

    run(program)


def test_nearer_relays_are_preferred() -> None:
    async def program(internet: Internet) -> None:
        near_first = PRIVATE.services(Ping)
        async with trio.open_nursery() as nursery:
            relays = await helpers_on(internet, nursery, 5)
            async with open_node(internet.router("home").host("bob"), near_first) as bob:
                for relay in reversed(relays):
                    await bob.connect(relay)
                assert all(each.rtt is not None for each in bob.connections)
                taken = await until(bob.host, 2, within=30)
                assert set(taken) == {relays[0].id, relays[1].id}
            nursery.cancel_scope.cancel()

    run(program)


def test_without_anybody_who_dials_back() -> None:
    """Nothing is known of our reachability: after a minute we count as private."""

    async def program(internet: Internet) -> None:
        async with trio.open_nursery() as nursery:
            [relay] = await helpers_on(internet, nursery, 1, TCP.services(RelayService))
            async with open_node(internet.router("home").host("bob"), PRIVATE) as bob:
                await bob.connect(relay)
                start = trio.current_time()
                await until(bob.host, 1, within=70)
                assert trio.current_time() - start > 55
            nursery.cancel_scope.cancel()

    run(program)


def test_relays_of_the_local_network_are_of_no_use() -> None:
    """Strangers cannot reach us there; and a slot that leads nowhere is given back."""

    async def program(internet: Internet) -> None:
        home = internet.router("home")
        async with (
            open_node(home.host("neighbour"), TCP.services(RelayService)) as neighbour,
            open_node(home.host("bob"), PRIVATE) as bob,
        ):
            await bob.connect(neighbour)
            await trio.sleep(100)
            assert bob.service(AutoRelay).candidates == ()
            assert neighbour.service(RelayService).reservations == 0

    run(program)


# --- where its candidates come from ---------------------------------------------------------------

MEMORY = HostBuilder().transports("memory").security("noise")


def relay(**options: Any) -> HostBuilder:
    options.setdefault("capacity", Capacity(reservations_per_ip=128))
    options.setdefault("clock", trio.current_time)
    return MEMORY.listen("/memory/0").services(lambda: RelayService(RelayOptions(**options)))


def auto(relays: Iterable[Target] = (), source: Any = None, **options: Any) -> HostBuilder:
    given = AutoRelayOptions(**{"always": True, "allow_private": True, **options})
    return MEMORY.services(
        lambda: AutoRelay(relays, source, given),  # starts before the client that it needs
        lambda: RelayClient(options=RelayClientOptions(clock=trio.current_time)),
    )


async def open_all(exits: AsyncExitStack, builders: Sequence[HostBuilder]) -> list[Host]:
    return [await exits.enter_async_context(each.open()) for each in builders]


async def test_given_relays_come_first(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        relays = await open_all(exits, [relay() for _ in range(4)])
        given = [each.addresses[0] for each in relays[2:]]
        bob = await exits.enter_async_context(auto(given).open())
        for each in relays[:2]:
            await bob.connect(each.addresses[0])
        assert set(await until(bob, 2, within=5)) == {each.id for each in relays[2:]}


async def test_a_source_is_asked_when_there_are_too_few(autojump_clock: MockClock) -> None:
    asked: list[float] = []
    answers: list[list[Target]] = []

    async def source(count: int) -> Iterable[Target]:
        assert count == 20
        asked.append(trio.current_time())
        if not answers:
            raise ResolutionError("nothing found")
        return answers.pop(0)

    async with AsyncExitStack() as exits:
        first, second = await open_all(exits, [relay(), relay()])
        bob = await exits.enter_async_context(auto(source=source).open())
        await trio.sleep(100)
        assert asked == pytest.approx([0, 30, 60, 90])  # no more often
        answers += [[first.addresses[0], bob.id], [second.addresses[0]]]
        await until(bob, 1, within=30)
        assert set(await until(bob, 2, within=31)) == {first.id, second.id}
        count = len(asked)
        await trio.sleep(10_000)
        assert len(asked) == count  # enough is enough


async def test_a_source_that_does_not_answer(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        [rita] = await open_all(exits, [relay()])

        async def source(count: int) -> Iterable[Target]:
            await trio.sleep_forever()
            return ()

        bob = await exits.enter_async_context(auto(source=source).open())
        await trio.sleep(10)
        await bob.connect(rita.addresses[0])
        await until(bob, 1, within=1)


def test_relays_are_found_in_the_dht() -> None:
    pytest.skip("CAPABILITIES C5: AutoRelay's source is the DHT (issue 8)")


async def test_a_source_with_a_defect_ends_nothing(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        [rita] = await open_all(exits, [relay()])
        answers: list[Any] = [RuntimeError("a defect"), ["no address"], None, [rita.addresses[0]]]

        async def source(count: int) -> Iterable[Target]:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        bob = await exits.enter_async_context(auto(source=source).open())
        await until(bob, 1, within=91)


# --- relays that fail -----------------------------------------------------------------------------


async def test_a_relay_that_refuses_is_left_alone(autojump_clock: MockClock) -> None:
    asked: list[float] = []

    def refuse(*_: object) -> bool:
        asked.append(trio.current_time())
        return False

    async with AsyncExitStack() as exits:
        rude, kind = await open_all(exits, [relay(allow_reservation=refuse), relay()])
        bob = await exits.enter_async_context(auto().open())
        for each in (rude, kind):
            await bob.connect(each.addresses[0])
        assert await until(bob, 1, within=5) == [kind.id]
        await trio.sleep(2600)
        assert len(asked) == 1
        await trio.sleep(1100)  # the hour is over
        assert len(asked) == 2


async def test_a_full_relay_is_asked_again_soon(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        [rita] = await open_all(exits, [relay(capacity=Capacity(reservations=1))])
        second = await exits.enter_async_context(auto().open())
        async with auto().open() as first:
            await first.connect(rita.addresses[0])
            await until(first, 1, within=5)
            await second.connect(rita.addresses[0])
            await trio.sleep(10)
            assert second.service(AutoRelay).reservations == ()
        await until(second, 1, within=301)


async def test_slots_that_were_reserved_by_hand_count(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        relays = await open_all(exits, [relay() for _ in range(3)])
        bob = await exits.enter_async_context(auto(always=False).open())
        client = bob.service(RelayClient)
        await client.reserve(relays[0].addresses[0])
        for each in relays:
            await bob.connect(each.addresses[0])
        bob.events.publish(ReachabilityChanged(Reachability.PRIVATE, {}))
        await until(bob, 1, within=5)
        assert len(client.reservations) == 2
        bob.events.publish(ReachabilityChanged(Reachability.PUBLIC, {}))
        await until(bob, 0, within=5)
        assert [each.relay for each in client.reservations] == [relays[0].id]
        bob.events.publish(ReachabilityChanged(Reachability.UNKNOWN, {}))
        await trio.sleep(50)
        assert len(client.reservations) == 1
        await trio.sleep(20)
        assert len(client.reservations) == 2


async def test_a_verdict_that_is_lost_changes_nothing(autojump_clock: MockClock) -> None:
    async with AsyncExitStack() as exits:
        [rita] = await open_all(exits, [relay()])
        bob = await exits.enter_async_context(auto(always=False).open())
        await bob.connect(rita.addresses[0])
        bob.events.publish(ReachabilityChanged(Reachability.PRIVATE, {}))
        await until(bob, 1, within=5)
        bob.events.publish(ReachabilityChanged(Reachability.UNKNOWN, {}))
        await trio.sleep(1)
        assert len(bob.service(AutoRelay).reservations) == 1


async def test_it_needs_a_client(autojump_clock: MockClock) -> None:
    with pytest.raises(CarrickError, match="RelayClient"):
        async with MEMORY.services(Identify, AutoRelay, defaults=False).open():
            pass
    with pytest.raises(ValueError, match="/p2p/"):
        async with auto(["/memory/77"]).open():
            pass


async def test_only_the_bounded_number_is_kept(autojump_clock: MockClock) -> None:
    """A source that names thousands."""
    made = [PrivateKey.generate().peer_id for _ in range(200)]

    async def source(count: int) -> Iterable[Target]:
        return made

    async with auto(source=source).open() as bob:
        await trio.sleep(600)
        assert len(bob.service(AutoRelay).candidates) <= 100
