"""Deadlines, gathering and rates of identify, in virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from carrick.builder import HostBuilder
from carrick.errors import PeerTimeout
from carrick.network import Stream
from carrick.protocols.identify import (
    ID,
    ID_PUSH,
    Identify,
    IdentifyFailed,
    IdentifyOptions,
    PeerIdentified,
    PeerUpdated,
)

MEMORY = HostBuilder().transports("memory").listen("/memory/0")
BARE = MEMORY.services(defaults=False)


async def nothing(stream: Stream) -> None: ...


async def test_a_silent_peer_is_connected_after_five_seconds(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:
        bob.handle(ID, lambda stream: trio.sleep_forever())
        started = trio.current_time()
        with alice.events.subscribe(IdentifyFailed) as failures:
            connection = await alice.connect(bob.addresses[0])
            event = await failures.__anext__()
        assert isinstance(event.cause, PeerTimeout)
        assert 4.9 < trio.current_time() - started < 5.1
        assert not connection.closed


async def test_an_answer_that_drips_has_the_same_deadline(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, BARE.open() as bob:

        async def drip(stream: Stream) -> None:
            await stream.send_all(b"\x40")
            while True:
                await trio.sleep(1)
                await stream.send_all(b"\x32")

        bob.handle(ID, drip)
        connection = await alice.connect(bob.addresses[0])
        started = trio.current_time()
        with pytest.raises(PeerTimeout):
            await alice.service(Identify).identify(connection)
        assert trio.current_time() - started == pytest.approx(5)


async def test_changes_are_gathered_and_pushed_once(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        await alice.connect(bob.addresses[0])
        await trio.sleep(10)
        with alice.events.subscribe(PeerUpdated) as updates:
            for number in range(5):
                bob.handle(f"/early/{number}", nothing)
                await trio.sleep(0.1)
            await trio.sleep(5)
            first = updates.get_nowait()
            assert first is not None and "/early/4" in first.info.protocols
            assert updates.get_nowait() is None
            bob.handle("/late/1", nothing)
            await trio.sleep(5)
            second = updates.get_nowait()
            assert second is not None and "/late/1" in second.info.protocols
            bob.swarm.unhandle("/late/1")
            bob.handle("/late/1", nothing)  # all as it was
            await trio.sleep(5)
            assert updates.get_nowait() is None


async def test_pushes_keep_to_the_rate_that_go_hears(autojump_clock: MockClock) -> None:
    """Of what changes all the time, the peers hear the latest now and then."""
    async with MEMORY.open() as alice, MEMORY.open() as bob:
        await alice.connect(bob.addresses[0])
        await trio.sleep(30)
        with alice.events.subscribe(PeerUpdated) as updates:
            for number in range(60):
                bob.handle(f"/new/{number}", nothing)
                await trio.sleep(1)
            await trio.sleep(20)
            heard = []
            while (update := updates.get_nowait()) is not None:
                heard.append(update.info.protocols)
        assert 5 + 60 / 5 - 2 <= len(heard) <= 5 + 60 / 5 + 2
        assert "/new/59" in heard[-1]


async def test_who_knows_already_is_not_told(autojump_clock: MockClock) -> None:
    """The one that asks just when something has changed."""
    async with MEMORY.open() as alice, MEMORY.open() as bob, MEMORY.open() as carol:
        await alice.connect(bob.addresses[0])
        await trio.sleep(10)
        with (
            alice.events.subscribe(PeerUpdated) as of_alice,
            carol.events.subscribe(PeerUpdated) as of_carol,
        ):
            bob.handle("/new/1", nothing)
            await carol.connect(bob.addresses[0])
            assert "/new/1" in (carol.peerstore.protocols(bob.id) or ())
            await trio.sleep(10)
            assert of_alice.get_nowait() is not None
            assert of_carol.get_nowait() is None


async def test_one_deaf_peer_does_not_keep_pushes_from_others(autojump_clock: MockClock) -> None:
    async with MEMORY.open() as alice, MEMORY.open() as bob, BARE.open() as deaf:
        deaf.handle(ID, nothing)
        deaf.handle(ID_PUSH, lambda stream: trio.sleep_forever())
        await alice.connect(deaf.addresses[0])
        await alice.connect(bob.addresses[0])
        await trio.sleep(10)
        with bob.events.subscribe(PeerUpdated) as updates, trio.fail_after(2):
            alice.handle("/new/1", nothing)
            await updates.__anext__()


async def test_options() -> None:
    options = IdentifyOptions(agent_version="mine/2", protocol_version="net/3", clock=lambda: 7)
    async with MEMORY.services(Identify(options)).open() as alice, MEMORY.open() as bob:
        with bob.events.subscribe(PeerIdentified) as identified, trio.fail_after(5):
            await alice.connect(bob.addresses[0])
            info = (await identified.__anext__()).info
        assert (info.agent_version, info.protocol_version) == ("mine/2", "net/3")
