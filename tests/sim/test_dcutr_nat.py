"""From a relayed connection to a direct one, between NATs, on the simulated internet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
from multiaddr import Multiaddr

from carrick import Connection, PeerId
from carrick.addressing import Reach, reach
from carrick.interfaces import Direction, Role
from carrick.protocols.dcutr import (
    Attempt,
    AttemptOutcome,
    Dcutr,
    DcutrOptions,
    DirectConnectionMade,
    Outcome,
    Upgrade,
    UpgradeFailed,
)
from carrick.protocols.dcutr.messages import Connect
from carrick.protocols.ping import Ping
from carrick.protocols.relay import RelayClient
from carrick.sim import PRESETS, Internet, Link, run
from carrick.testing import Node
from carrick.testing.nodes import on_machine
from tests.support.dcutr import Scene, scene
from tests.support.swarms import echo

TRANSPORTS = ["quic", "tcp"]
HERE = Link(latency=0.01)  # a round trip takes 40 ms, and 80 ms over the relay


def only(upgrade: Upgrade) -> Attempt:
    (attempt,) = upgrade.attempts
    return attempt


def assert_punched(*upgrades: Upgrade, attempts: int = 1) -> None:
    for upgrade in upgrades:
        assert (upgrade.outcome, upgrade.strategy) == (Outcome.SUCCESS, "punch"), upgrade.attempts
        assert len(upgrade.attempts) == attempts
        assert upgrade.attempts[-1].outcome is AttemptOutcome.SUCCESS
        assert upgrade.connection is not None
        assert not upgrade.connection.is_relayed


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_c3_port_restricted_nats_meet_at_the_first_attempt(transport: str, latency: float) -> None:
    async def program(internet: Internet) -> None:
        link = Link(latency=latency / 4)
        nat = "port-restricted"
        async with scene(internet, nat, nat, transport, link=link) as two:
            start = trio.current_time()
            of_a, of_b = await two.upgrade()
            assert_punched(of_a, of_b)
            # Relayed handshakes and the exchange: about ten round trips over the relay.
            assert trio.current_time() - start < 0.2 + 24 * latency
            assert only(of_b).rtt == pytest.approx(2 * latency, abs=0.001)
            assert await two.a.service(Ping).ping_once(of_a.connection) < latency + 0.001

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("classified", [True, False])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("address-restricted", "symmetric"),
        ("symmetric", "address-restricted"),
        ("full-cone", "symmetric"),
        ("symmetric", "full-cone"),
    ],
)
def test_c3_a_symmetric_nat_is_on_one_side(
    a: str, b: str, classified: bool, transport: str
) -> None:
    """In either role: Carrick's client also dials where the server's datagrams come from."""

    async def program(internet: Internet) -> None:
        async with scene(internet, a, b, transport, classified=classified, link=HERE) as two:
            assert_punched(*await two.upgrade())

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("a", "b"), [("symmetric", "symmetric"), ("port-restricted", "symmetric")])
def test_c6_what_cannot_be_punched_says_so_at_once(a: str, b: str, transport: str) -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, a, b, transport, link=HERE) as two:
            start = trio.current_time()
            of_a, of_b = await two.upgrade()
            assert trio.current_time() - start < 1
            names = {"symmetric": "symmetric", "port-restricted": "port restricted cone"}
            protocol = "UDP" if transport == "quic" else "TCP"
            for upgrade, here, there in ((of_a, a, b), (of_b, b, a)):
                assert upgrade.outcome is Outcome.FAILED
                said = f"{names[here]} NAT here, {names[there]} there ({protocol})"
                assert upgrade.reason == only(upgrade).reason == said
            assert not of_a.relayed.closed

    run(program)


def test_c6_unknown_nats_that_cannot_be_punched() -> None:
    """Three attempts, within ten seconds; the relay stays."""

    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", classified=False, link=HERE) as two:
            with two.b.host.events.subscribe(UpgradeFailed) as failed:
                start = trio.current_time()
                of_a, of_b = await two.upgrade()
                assert trio.current_time() - start < 10
                event = await anext(failed)
            assert (event.peer, event.outcome) == (two.a.id, Outcome.FAILED)
            for upgrade in (of_a, of_b):
                assert [each.outcome for each in upgrade.attempts] == [AttemptOutcome.FAILED] * 3
                assert not upgrade.relayed.closed

    run(program)


@pytest.mark.parametrize("latency", [0.05, 0.1])
def test_c10_far_apart_and_unknown_it_is_over_within_ten_seconds(latency: float) -> None:
    """There is no time for three attempts; nobody waits for one that does not come."""

    async def program(internet: Internet) -> None:
        link = Link(latency=latency)
        async with scene(internet, "symmetric", "symmetric", classified=False, link=link) as two:
            of_a, of_b = await two.upgrade()
            for upgrade in (of_a, of_b):
                assert upgrade.outcome is Outcome.FAILED
                assert upgrade.attempts
                assert trio.current_time() - upgrade.started <= 10.1
                assert not upgrade.relayed.closed

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_c2_a_public_peer_is_dialled_back(transport: str) -> None:
    """Within three round trips over the relay and a handshake, behind whatever NAT."""

    async def program(internet: Internet) -> None:
        async with scene(internet, None, "symmetric", transport, link=HERE) as two:
            relayed = await two.dial_over_relay()
            start = relayed.opened_at
            of_a = two.a.service(Dcutr).upgrade(relayed)
            await of_a.done.wait()
            assert (of_a.outcome, of_a.strategy) == (Outcome.CONNECTION_REVERSED, "reverse")
            assert of_a.connection is not None
            assert of_a.connection.direction is Direction.INBOUND
            handshake = 0.04 * (1 if transport == "quic" else 4)
            assert of_a.connection.opened_at - start <= 3 * 0.08 + handshake
            (of_b,) = two.b.service(Dcutr).upgrades
            assert (of_b.outcome, of_b.strategy) == (Outcome.CONNECTION_REVERSED, "reverse")
            assert not of_b.attempts

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("reserved", [True, False])
def test_a_dial_back_that_leads_nowhere(reserved: bool, transport: str) -> None:
    """A advertises where others see it, which its NAT lets nobody use: then both punch."""

    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(
            internet, nat, nat, transport, link=HERE, builder=lambda each: each.observers(1)
        ) as two:
            if reserved:  # it tells that it is private
                with on_machine(two.a.machine):
                    await two.a.service(RelayClient).reserve(two.relay.addresses)
                await trio.sleep(2)
            start = trio.current_time()
            of_a, of_b = await two.upgrade()
            assert_punched(of_a, of_b)
            assert 1 < trio.current_time() - start < 2.5

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_dial_each_other_at_once(transport: str) -> None:
    """Only one of them leads."""

    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat, transport, link=HERE) as two:
            with on_machine(two.a.machine):
                await two.a.service(RelayClient).reserve(two.relay.addresses)
            back = Scene(internet, two.relay, two.b, two.a, two.transports)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(two.dial_over_relay)
                nursery.start_soon(back.dial_over_relay)
            await trio.sleep(0.1)
            upgrades = [each for node in (two.a, two.b) for each in node.service(Dcutr).upgrades]
            assert len(upgrades) == 4
            for upgrade in upgrades:
                await upgrade.done.wait()
            outcomes = sorted(str(each.outcome) for each in upgrades if each.outcome)
            assert outcomes.count("Outcome.SUCCESS") >= 2, outcomes
            assert len([each for each in upgrades if each.initiator and each.attempts]) <= 2
            direct = [each for each in two.a.connections if not each.is_relayed]
            assert {each.peer_id for each in direct} == {two.b.id, two.relay.id}

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_c12_both_behind_one_nat(transport: str) -> None:
    """The private address, without hairpin."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "port-restricted")
        async with scene(internet, home, home, transport) as two:
            of_a, of_b = await two.upgrade()
            for upgrade in (of_a, of_b):
                assert upgrade.outcome is Outcome.CONNECTION_REVERSED
                assert only(upgrade).outcome is AttemptOutcome.DIRECT_DIAL
                assert upgrade.connection is not None
                assert reach(upgrade.connection.remote_address) is Reach.PRIVATE

    run(program)


def test_c12_only_one_of_the_two_can_be_dialled() -> None:
    """A sits behind a second NAT within the home: B's private address is the one that leads on."""

    async def program(internet: Internet) -> None:
        home = internet.router("home", "port-restricted", lan="192.168.1.0/24")
        inner = home.router("inner", "port-restricted", lan="10.0.0.0/24")
        async with scene(internet, inner, home, "tcp") as two:
            of_a, _ = await two.upgrade()
            assert of_a.connection is not None
            assert str(of_a.connection.remote_address) == f"/ip4/{two.b.machine.address}/tcp/4001"

    run(program)


def test_private_addresses_of_strangers_are_not_told_and_not_dialled() -> None:
    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", classified=False) as two:
            for upgrade in await two.upgrade():
                for attempt in upgrade.attempts:
                    assert attempt.addresses
                    assert {reach(each) for each in attempt.addresses} == {Reach.PUBLIC}
                assert not upgrade.dialled

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_networks_whose_public_addresses_are_private(transport: str) -> None:
    """The official suites' internet is 10.0.0.0/8."""

    async def program(internet: Internet) -> None:
        a = internet.router("left", "port-restricted", address="10.9.0.2")
        b = internet.router("right", "port-restricted", address="10.9.0.3")
        options = DcutrOptions(allow_private=True)
        async with scene(internet, a, b, transport, relay_at="10.9.0.1", options=options) as two:
            assert_punched(*await two.upgrade())

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_c8_streams_move_to_the_direct_connection(transport: str) -> None:
    """A protocol that refuses relays waits for it; the relayed one goes when it carries none."""

    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(
            internet,
            nat,
            nat,
            transport,
            link=HERE,
            builder=lambda each: each.handle("/direct/1", echo).handle(
                "/any/1", echo, allow_limited=True
            ),
        ) as two:
            with (
                two.a.host.events.subscribe(DirectConnectionMade) as made,
                on_machine(two.a.machine),
            ):
                relayed = await two.dial_over_relay()
                early = await two.a.open_stream(two.b.id, "/any/1", allow_limited=True)
                assert early.connection is relayed
                await early.send_all(b"early")
                stream = await two.a.open_stream(two.b.id, "/direct/1")
                event = await anext(made)
            assert (event.peer, event.relayed, event.strategy) == (two.b.id, relayed, "punch")
            assert stream.connection is event.connection
            late = await two.a.open_stream(two.b.id, "/any/1", allow_limited=True)
            assert late.connection is event.connection
            await trio.sleep(30)
            await early.send_all(b" and late")
            assert await early.read_exactly(14) == b"early and late"
            await early.aclose()
            await relayed.ended.wait()
            assert not event.connection.closed

    run(program)


def test_the_relayed_connection_ends_after_the_grace_period() -> None:
    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat, link=HERE) as two:
            of_a, _ = await two.upgrade()
            made = trio.current_time()
            await of_a.relayed.ended.wait()
            assert trio.current_time() - made == pytest.approx(10, abs=0.5)

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_c16_an_idle_connection_stays_alive(transport: str) -> None:
    """Through NATs that forget UDP after 10 s of silence, and TCP after a minute."""
    nat = replace(
        PRESETS["port-restricted"],
        udp_timeout=10.0,
        udp_stream_timeout=10.0,
        tcp_transitory_timeout=60.0,
        tcp_established_timeout=60.0,
    )

    async def program(internet: Internet) -> None:
        async with scene(internet, nat, nat, transport, link=HERE) as two:
            of_a, of_b = await two.upgrade()
            assert_punched(of_a, of_b)
            assert of_a.connection is not None
            await trio.sleep(300)
            assert not of_a.connection.closed
            assert await two.a.service(Ping).ping_once(of_a.connection) < 0.05

    run(program)


def test_no_stream_comes() -> None:
    """The peer speaks no DCUtR: A says so after 15 s."""

    async def program(internet: Internet) -> None:
        nat = "port-restricted"
        async with scene(internet, nat, nat) as two:
            two.b.host.swarm.unhandle("/none")
            two.b.service(Dcutr).upgrade = lambda _: None  # type: ignore[assignment,method-assign]
            with two.a.host.events.subscribe(UpgradeFailed) as failed:
                relayed = await two.dial_over_relay()
                start = trio.current_time()
                event = await anext(failed)
                assert trio.current_time() - start == pytest.approx(15, abs=0.1)
            assert event.outcome is Outcome.NO_STREAM
            assert two.a.service(Dcutr).upgrade(relayed).outcome is Outcome.NO_STREAM

    run(program)


@pytest.mark.parametrize("carrick", [True, False])
def test_the_roles_of_three_attempts(carrick: bool) -> None:
    """Carricks take turns. Others are always the client, and at last so are we, as go is."""

    async def program(internet: Internet) -> None:
        async with scene(internet, "symmetric", "symmetric", classified=False) as two:
            roles = {each: roles_of(each) for each in (two.a, two.b)}
            if not carrick:
                hide_extension(two.a)
                hide_extension(two.b)
            await two.upgrade()
            client, server = Role.CLIENT, Role.SERVER
            if carrick:
                assert roles[two.a] == [client, server, client]
                assert roles[two.b] == [server, client, server]
            else:
                assert roles[two.a] == [client] * 3
                assert roles[two.b] == [server, server, client]

    run(program)


def roles_of(node: Node) -> list[Role]:
    """The roles in which it punches from now on."""
    roles: list[Role] = []
    swarm = node.host.swarm
    punch = swarm.punch

    async def noted(peer: PeerId, addresses: Sequence[Multiaddr], *, role: Role) -> Connection:
        roles.append(role)
        return await punch(peer, addresses, role=role)

    swarm.punch = noted  # type: ignore[method-assign]
    return roles


def hide_extension(node: Node) -> None:
    """It says no more than go does."""
    puncher = node.service(Dcutr)._puncher
    whole = puncher.connect_message

    async def without_nat(upgrade: Upgrade, *, local: bool) -> Connect:
        return Connect((await whole(upgrade, local=local)).addresses)

    puncher.connect_message = without_nat  # type: ignore[method-assign]
