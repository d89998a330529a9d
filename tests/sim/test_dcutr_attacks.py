"""ATTACKS row 70: DCUtR with peers that lie, on the simulated internet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address

import pytest
import trio

from carrick import Connection, HostBuilder, Stream
from carrick.addressing import parse_address
from carrick.network.events import ConnectionOpened
from carrick.protocols.dcutr import DCUTR, AttemptOutcome, Dcutr, Outcome
from carrick.protocols.dcutr.messages import Connect, Sync
from carrick.protocols.dcutr.pb.dcutr_pb2 import HolePunch
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.protocols.relay import RelayClient, RelayService
from carrick.sim import Internet, run
from carrick.testing import Node, open_node
from tests.support.dcutr import LISTEN, address

PUBLIC = tuple(parse_address(f"/ip4/8.8.{n}.8/tcp/443") for n in range(40))
QUIC = tuple(parse_address(f"/ip4/9.9.{n}.9/udp/443/quic-v1") for n in range(20))
INSIDE = tuple(
    parse_address(text)
    for text in (
        "/ip4/127.0.0.1/tcp/22",
        "/ip4/192.168.1.1/tcp/80",
        "/ip4/10.0.0.1/udp/53/quic-v1",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip4/224.0.0.251/udp/5353/quic-v1",
        "/ip4/255.255.255.255/tcp/1",
        "/ip6/::1/tcp/22",
        "/ip6/fe80::1/tcp/22",
        "/dns4/router.local/tcp/80",
        "/dns4/localhost/tcp/80",
    )
)
BUILDER = (
    HostBuilder()
    .transports("tcp", "quic")
    .security("noise")
    .services(Identify, Ping, defaults=False)  # nobody dials for another reason
)


@dataclass
class Scene:
    internet: Internet
    victim: Node
    attacker: Node
    relay: Node

    async def join(self, one: Node, other: Node) -> Connection:
        """Connect `one` with `other` over the relay; returns `one`'s side."""
        await other.service(RelayClient).reserve(self.relay.addresses)
        place = f"{self.relay.addresses[0]}/p2p-circuit"
        return await one.host.swarm.connect(other.id, [address(place)])

    def targets(self, since: float) -> set[str]:
        """To which endpoints the victim has sent anything but to the relay."""
        home = self.relay.machine.address
        return {
            f"{entry.destination[0]}:{entry.destination[1]}"
            for entry in self.internet.trace
            if entry.time >= since
            and entry.sender == self.victim.machine.name
            and entry.destination[0] != str(home)
        }

    async def assert_well(self, connection: Connection) -> None:
        """The victim serves as before."""
        assert await self.attacker.service(Ping).ping_once(connection) < 1


@asynccontextmanager
async def scene(internet: Internet) -> AsyncIterator[Scene]:
    peer = BUILDER.services(RelayClient)
    listen = tuple(LISTEN.values())
    async with (
        open_node(internet.host("relay"), BUILDER.services(RelayService), listen=listen) as relay,
        open_node(
            internet.router("home").host("victim"), peer.services(Dcutr), listen=listen
        ) as victim,
        open_node(internet.host("attacker"), peer, listen=listen) as attacker,
    ):
        for node in (victim, attacker):
            for each in relay.addresses:
                await node.host.swarm.dialer.dial_address(relay.id, address(str(each)))
        await trio.sleep(2)
        yield Scene(internet, victim, attacker, relay)


async def refuses(connection: Connection) -> bool:
    """Whether the victim resets a stream on that connection."""
    try:
        stream = await connection.open_stream(DCUTR, lazy=False)
        await stream.write_frame(Connect(PUBLIC[:8]).encode())
    except trio.BrokenResourceError:
        return True
    return await reset_within(stream, 1)


async def reset_within(stream: Stream, seconds: float) -> bool:
    """Whether the victim resets the stream, which it may read from before."""
    with trio.move_on_after(seconds):
        try:
            while await stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return True
    return False


async def sync_first(stream: Stream) -> None:
    await stream.write_frame(Sync().encode())


async def two_connects(stream: Stream) -> None:
    await stream.write_frame(Connect(PUBLIC[:1]).encode())
    await stream.write_frame(Connect(PUBLIC[:1]).encode())


async def too_long(stream: Stream) -> None:
    await stream.write_frame(bytes(4097))


async def a_thousand_addresses(stream: Stream) -> None:
    message = HolePunch(type=100, addresses=[b"\x04\x08"] * 1000)
    await stream.write_frame(message.SerializeToString())


async def garbage(stream: Stream) -> None:
    await stream.write_frame(b"\xff" * 100)


async def unknown_type(stream: Stream) -> None:
    await stream.write_frame(HolePunch(type=200).SerializeToString())


Attack = Callable[[Stream], Awaitable[None]]


@pytest.mark.parametrize(
    "attack",
    [sync_first, two_connects, too_long, a_thousand_addresses, garbage, unknown_type],
    ids=lambda attack: attack.__name__,
)
def test_breaking_the_protocol_resets_the_stream(attack: Attack) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            relayed = await where.join(where.victim, where.attacker)
            start = trio.current_time()
            (there,) = [each for each in where.attacker.connections if each.is_relayed]
            stream = await there.open_stream(DCUTR)
            await attack(stream)
            assert await reset_within(stream, 1)
            assert not where.targets(start)
            (upgrade,) = where.victim.service(Dcutr).upgrades
            assert [each.outcome for each in upgrade.attempts] == [AttemptOutcome.PROTOCOL_ERROR]
            await where.assert_well(there)
            assert not relayed.closed

    run(program)


def test_no_sync_for_an_hour() -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            await where.join(where.victim, where.attacker)
            (there,) = [each for each in where.attacker.connections if each.is_relayed]
            stream = await there.open_stream(DCUTR)
            start = trio.current_time()
            await stream.write_frame(Connect(PUBLIC[:1]).encode())
            assert await reset_within(stream, 3600)
            assert trio.current_time() - start == pytest.approx(60, abs=1)

    run(program)


def test_addresses_within_and_too_many_of_them() -> None:
    """Nothing inside is dialled, and of the rest no more than eight for each of three attempts."""

    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            await where.join(where.victim, where.attacker)
            (there,) = [each for each in where.attacker.connections if each.is_relayed]
            start = trio.current_time()
            for attempt in range(4):
                stream = await there.open_stream(DCUTR)
                named = (*INSIDE, *PUBLIC[attempt * 10 :], *QUIC)
                message = HolePunch(type=100, addresses=[each.to_bytes() for each in named][:60])
                await stream.write_frame(message.SerializeToString())
                if attempt == 3:
                    assert await reset_within(stream, 1)
                    break
                await stream.read_frame(4096)
                await stream.write_frame(Sync().encode())
                await trio.sleep(6)
            targets = where.targets(start)
            assert len(targets) == 3 * 8
            assert all(each.startswith("8.8.") for each in targets)
            (upgrade,) = where.victim.service(Dcutr).upgrades
            assert upgrade.outcome is Outcome.FAILED

    run(program)


def test_who_claims_to_be_our_neighbour_has_few_of_them_dialled() -> None:
    """It shows our own public address as its own: private ones are dialled then, for that is how
    neighbours meet (CAPABILITIES C12), but no more than four at a time, and no service of ours."""

    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            await where.join(where.victim, where.attacker)
            (there,) = [each for each in where.attacker.connections if each.is_relayed]
            outside = internet.nodes["home"].address
            ours = parse_address(f"/ip4/{outside}/tcp/1")
            start = trio.current_time()
            for attempt in range(3):
                inside = [f"/ip4/192.168.1.{99 + n + 20 * attempt}/tcp/22" for n in range(20)]
                named = (ours, *INSIDE, *map(parse_address, inside), *PUBLIC)
                stream = await there.open_stream(DCUTR)
                message = HolePunch(type=100, addresses=[each.to_bytes() for each in named][:60])
                await stream.write_frame(message.SerializeToString())
                await stream.read_frame(4096)
                await stream.write_frame(Sync().encode())
                await trio.sleep(6)
            within = {each for each in where.targets(start) if is_private(each)}
            assert 0 < len(within) <= 3 * 4
            assert all(each.startswith(("192.168.", "10.")) for each in within)
            assert len(where.targets(start)) <= 3 * 8

    run(program)


def is_private(endpoint: str) -> bool:
    return not ip_address(endpoint.rpartition(":")[0]).is_global


def test_only_who_was_reached_over_a_relay_may_begin() -> None:
    """Not over a direct connection, and not whoever dialled."""

    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            direct = await where.victim.host.swarm.connect(
                where.attacker.id, [address(str(each)) for each in where.attacker.addresses]
            )
            assert not direct.is_relayed
            (there,) = [e for e in where.attacker.connections if e.peer_id == where.victim.id]
            start = trio.current_time()
            assert await refuses(there)
            await where.victim.host.disconnect(where.attacker.id)
            await trio.sleep(1)
            dialled = await where.join(where.attacker, where.victim)
            assert await refuses(dialled)
            assert not [each for each in where.targets(start) if each.startswith("8.8.")]

    run(program)


# --- the attacker dials, the victim leads ---------------------------------------------------------


async def answered_with(where: Scene, answer: bytes | None) -> None:
    """The victim leads, and gets `answer` to its CONNECT, each time."""

    async def serve(stream: Stream) -> None:
        await stream.read_frame(4096)
        if answer is None:
            await trio.sleep_forever()
        else:
            await stream.write_frame(answer)
            await reset_within(stream, 10)

    where.attacker.host.handle(DCUTR, serve, allow_limited=True)
    with where.victim.host.events.subscribe(ConnectionOpened) as opened:
        await where.join(where.attacker, where.victim)
        relayed = (await anext(opened)).connection
    await where.victim.service(Dcutr).upgrade(relayed).done.wait()


@pytest.mark.parametrize("answer", [b"\xff", Sync().encode(), bytes(5000), b""])
def test_answers_that_are_none(answer: bytes) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            where.attacker.host.own_addresses.reticent.add(where.victim.id)
            await answered_with(where, answer)
            (upgrade,) = where.victim.service(Dcutr).upgrades
            assert upgrade.outcome in (Outcome.FAILED, Outcome.NO_STREAM)
            assert [each.outcome for each in upgrade.attempts] == [AttemptOutcome.PROTOCOL_ERROR]

    run(program)


def test_no_answer() -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            where.attacker.host.own_addresses.reticent.add(where.victim.id)
            start = trio.current_time()
            await answered_with(where, None)
            (upgrade,) = where.victim.service(Dcutr).upgrades
            assert [each.outcome for each in upgrade.attempts] == [AttemptOutcome.TIMEOUT] * 3
            assert trio.current_time() - start < 60

    run(program)


def test_dialling_back_goes_to_few_public_addresses() -> None:
    """What identify names is no better than what CONNECT does."""

    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            where.attacker.host.add_own_addresses(lambda: [*INSIDE, *PUBLIC, *QUIC])
            start = trio.current_time()
            await answered_with(where, Connect(INSIDE).encode())
            named = {each for each in where.targets(start) if each.startswith(("8.8.", "9.9."))}
            others = where.targets(start) - named
            assert 0 < len(named) <= 8
            assert all(each.startswith(str(where.attacker.machine.address)) for each in others)

    run(program)


def test_upgrades_beyond_the_bound_are_not_begun() -> None:

    async def program(internet: Internet) -> None:
        async with scene(internet) as where:
            service = where.victim.service(Dcutr)
            service.options = replace(service.options, concurrency=0)
            where.attacker.host.own_addresses.reticent.add(where.victim.id)
            await answered_with(where, None)
            (upgrade,) = service.upgrades
            assert upgrade.outcome is Outcome.CANCELLED

    run(program)
