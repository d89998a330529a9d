"""Hole punching over TCP and QUIC alike: who is met, who is not, and what is left behind."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from carrick.addressing import parse_address
from carrick.errors import CarrickError, DialError, PeerTimeout
from carrick.identity import PrivateKey
from carrick.interfaces import Endpoint, Role
from carrick.sim import Dependence, Internet, Link, NatBehaviour, run
from tests.support.punching import (
    KINDS,
    PORT,
    PUBLIC,
    ROLES,
    Peer,
    address,
    both,
    both_roles,
    can_punch,
    exchange,
    meet,
    observed,
    two_peers,
)

CLASSIC = [PUBLIC, "fc", "ar", "pr", "sym"]
both_protocols = pytest.mark.parametrize("protocol", ["tcp", "udp"])


def pairs(kinds: list[str]) -> list[tuple[str, str]]:
    return [(one, other) for index, one in enumerate(kinds) for other in kinds[index:]]


@both_protocols
@pytest.mark.parametrize("one", KINDS)
def test_what_can_be_met(one: str, protocol: str) -> None:
    """Whoever is the client."""
    for other in KINDS[KINDS.index(one) :]:
        for roles in ROLES:
            program = partial(meet, one=one, other=other, roles=roles, protocol=protocol)
            met = run(program, access=Link(latency=0.01))
            assert met == can_punch(one, other, protocol), (other, roles)


@both_protocols
@both_roles
@pytest.mark.parametrize("offset", [0.1, -0.1])
def test_one_starts_later_than_a_packet_travels(
    protocol: str, roles: tuple[Role, Role], offset: float
) -> None:
    """Behind routers that drop, and for peers whose first packet finds no punch there yet."""
    for one, other in pairs(CLASSIC):
        program = partial(meet, one=one, other=other, protocol=protocol, roles=roles, offset=offset)
        met = run(program, access=Link(latency=0.01))
        assert met == can_punch(one, other, protocol), (one, other)


@both_protocols
@both_roles
def test_far_away(protocol: str, roles: tuple[Role, Role]) -> None:
    """200 ms one way; one starts 100 ms later, while the packets cross."""
    for one, other in pairs(["ar", "pr", "pr-input-rst", "sym"]):
        program = partial(meet, one=one, other=other, protocol=protocol, roles=roles, offset=0.1)
        met = run(program, access=Link(latency=0.1))
        assert met == can_punch(one, other, protocol), (one, other)


# --- predicted ports ------------------------------------------------------------------------------


@both_protocols
@both_roles
def test_ports_that_were_predicted(protocol: str, roles: tuple[Role, Role]) -> None:
    """Symmetric with sequential ports: the next one is foretold, give or take a few."""

    async def program(internet: Internet) -> None:
        async with two_peers(internet, "pr", "symseq1", protocol) as (left, right):
            host, port = right.seen
            guesses = tuple((host, port + 5 - guess) for guess in range(16))
            start = trio.current_time()
            found: list[object] = []
            async with trio.open_nursery() as nursery:

                async def punch(peer: Peer, other: Peer, role: Role, at: object) -> None:
                    found.append(await peer.punch(other, role, at=at))  # type: ignore[arg-type]

                nursery.start_soon(punch, left, right, roles[0], guesses)
                nursery.start_soon(punch, right, left, roles[1], ())
            assert None not in found
            assert trio.current_time() - start < 1
            await exchange(left, right)
            assert len(left.swarm.connections()) == len(right.swarm.connections()) == 1

    run(program)


# --- the wrong peer -------------------------------------------------------------------------------


@both_protocols
@pytest.mark.parametrize("role", list(Role))
def test_another_peer_does_not_pass(protocol: str, role: Role) -> None:
    async def program(internet: Internet) -> None:
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        async with two_peers(internet, "pr", "fc", protocol) as (left, right):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(right.punch, left, other)
                expected = PrivateKey.generate().peer_id
                with pytest.raises(DialError) as caught:
                    where = parse_address(address(protocol, right.seen))
                    await left.swarm.punch(expected, [where], role=role)
            (cause,) = caught.value.causes
            assert isinstance(cause[1], PeerTimeout)
            assert trio.current_time() < 7
            # As the server, its dial has been an ordinary one to us.
            assert not left.swarm.connections(expected)
            assert role is Role.SERVER or not left.swarm.connections()

    run(program)


@both_protocols
@both_roles
def test_a_neighbour_of_the_peer_does_not_end_the_punch(
    protocol: str, roles: tuple[Role, Role]
) -> None:
    """Somebody else behind the same NAT dials us again and again, and comes first."""

    async def program(internet: Internet) -> None:
        home = internet.router(nat="prhash")
        async with (
            two_peers(internet, "fc", home.host(), protocol) as (left, right),
            trio.open_nursery() as nursery,
        ):
            neighbour = await Peer.start(nursery, home.host(), protocol, seed=3)
            where = parse_address(address(protocol, left.seen))

            async def pester() -> None:
                while True:
                    with trio.move_on_after(0.3):
                        try:
                            await neighbour.swarm.dialer.dial_address(None, where)
                        except CarrickError:
                            await trio.sleep(0.01)

            nursery.start_soon(pester)
            await trio.sleep(0.2)
            here, there = await both(left, right, roles)
            assert here is not None and there is not None
            await exchange(right, left)
            nursery.cancel_scope.cancel()

    run(program)


@both_protocols
@both_roles
def test_two_peers_behind_one_address(protocol: str, roles: tuple[Role, Role]) -> None:
    async def program(internet: Internet) -> None:
        home = internet.router(nat="prhash")
        async with (
            two_peers(internet, "pr", home.host(), protocol) as (left, right),
            trio.open_nursery() as nursery,
        ):
            third = await Peer.start(nursery, home.host(), protocol, seed=3)
            third.seen = await observed(internet.host(), third.host, protocol, 3)
            async with trio.open_nursery() as punches:
                for peer in (right, third):
                    punches.start_soon(left.punch, peer, roles[0])
                    punches.start_soon(peer.punch, left, roles[1])
            for peer in (right, third):
                await exchange(left, peer)
            nursery.cancel_scope.cancel()

    run(program)


# --- endings --------------------------------------------------------------------------------------


@both_protocols
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("after", [0.0, 0.003, 0.02, 0.05, 0.3, 5.5])
def test_nothing_is_left(protocol: str, role: Role, after: float) -> None:
    """Cancelled at any moment, or over because nobody came."""

    async def program(internet: Internet) -> None:
        other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        async with two_peers(internet, "pr", "ar", protocol) as (left, right):
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(after):
                    if after > 1:
                        nobody = (("11.254.0.1", 1), ("11.254.0.1", 2))
                        assert await left.punch(right, role, at=nobody, budget=9) is None
                    nursery.start_soon(right.punch, left, other)
                    await left.punch(right, role)
                nursery.cancel_scope.cancel()
            # A dial of the peer's that was under way may have become an ordinary connection.
            await trio.sleep(12)
            await left.swarm.disconnect(right.swarm.peer_id)
            await trio.sleep(1)
            assert not left.swarm.connections() and not right.swarm.connections()
            assert all(each.is_over for each in left.host.stack._connections.values())
            assert not waiting(left) and not waiting(right)
            # Punching once more is none the worse for it.
            here, there = await both(left, right, ROLES[0])
            assert here is not None and there is not None

    run(program)


def waiting(peer: Peer) -> bool:
    """Whether anything still waits for somebody."""
    (transport,) = peer.swarm.transports
    if peer.protocol == "tcp":
        return any(bool(port.interceptions) for port in transport.upgrader.ports._ports)
    return any(bool(each._interceptions) for each in transport.pool._listening.values())


def test_an_address_that_no_transport_punches() -> None:
    async def program(internet: Internet) -> None:
        async with two_peers(internet, PUBLIC, PUBLIC, "tcp") as (left, right):
            elsewhere = parse_address("/ip4/11.0.0.9/udp/1/quic-v1")
            assert not left.swarm.can_punch(elsewhere)
            named = parse_address(f"/ip4/11.0.0.9/tcp/1/p2p/{right.swarm.peer_id}")
            assert left.swarm.can_punch(named)
            for addresses in ([elsewhere], []):
                with pytest.raises(DialError) as caught:
                    await left.swarm.punch(right.swarm.peer_id, addresses, role=Role.CLIENT)
                assert len(caught.value.causes) == len(addresses)

    run(program)


def test_no_way_to_the_address_is_no_time_out() -> None:
    async def program(internet: Internet) -> None:
        async with two_peers(internet, PUBLIC, PUBLIC, "tcp") as (left, right):
            start = trio.current_time()
            nowhere = [parse_address("/ip6/2a00:9::1/tcp/1")]
            with pytest.raises(DialError) as caught:
                await left.swarm.punch(right.swarm.peer_id, nowhere, role=Role.CLIENT)
            assert "unreachable" in str(caught.value)
            assert trio.current_time() == start

    run(program)


# --- timing ---------------------------------------------------------------------------------------


class Steps(trio.abc.Instrument):
    """Counts the steps that tasks make."""

    number = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.number += 1


@both_protocols
@pytest.mark.parametrize("role", list(Role))
def test_the_first_packet_leaves_in_the_step_that_punches(protocol: str, role: Role) -> None:
    async def program(internet: Internet) -> None:
        async with two_peers(internet, "pr", "pr", protocol) as (left, right):
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            sent: list[tuple[int, Endpoint]] = []
            send = left.host.stack.send

            def note(packet) -> None:  # type: ignore[no-untyped-def]
                sent.append((steps.number, packet.destination))
                send(packet)

            left.host.stack.send = note
            others = tuple((right.seen[0], port) for port in range(1, 16))
            before = steps.number
            await left.punch(right, role, at=(right.seen, *others), budget=0.005)
            assert sent[0] == (before, right.seen)
            assert {end for _, end in sent} == {right.seen, *others}
            trio.lowlevel.remove_instrument(steps)

    run(program)


# --- two ways at once -----------------------------------------------------------------------------


@both_protocols
@both_roles
def test_two_addresses_of_each(protocol: str, roles: tuple[Role, Role]) -> None:
    """Both sides end with a connection that works, though several may come up at once."""

    async def program(internet: Internet) -> None:
        lan = internet.router(nat="pr-hairpin")
        left_host, right_host = lan.host(), lan.host()
        async with two_peers(internet, left_host, right_host, protocol) as (left, right):
            private = [(each.host.address, PORT) for each in (left, right)]
            found: list[object] = []
            async with trio.open_nursery() as nursery:

                async def punch(peer: Peer, other: Peer, role: Role, *at: Endpoint) -> None:
                    found.append(await peer.punch(other, role, at=at))

                nursery.start_soon(punch, left, right, roles[0], private[1], right.seen)
                nursery.start_soon(punch, right, left, roles[1], left.seen, private[0])
            assert None not in found
            await trio.sleep(1)
            await exchange(left, right)
            await exchange(right, left)

    for latency in (0.0, 0.01):
        run(program, access=Link(latency=latency))


# --- keeping the hole open ------------------------------------------------------------------------

FORGETFUL = NatBehaviour(
    Dependence.ENDPOINT_INDEPENDENT,
    Dependence.ADDRESS_AND_PORT_DEPENDENT,
    udp_timeout=10,
    udp_stream_timeout=10,
    tcp_established_timeout=60,
)


@both_protocols
def test_an_idle_hole_stays_open(protocol: str) -> None:
    """CAPABILITIES C16: UDP mappings that live 10 s, TCP ones that live 60 s; five minutes."""

    async def program(internet: Internet) -> None:
        places = [internet.router(nat=FORGETFUL).host() for _ in range(2)]
        async with two_peers(internet, places[0], places[1], protocol) as (left, right):
            here, there = await both(left, right, ROLES[0])
            assert here is not None and there is not None
            await trio.sleep(1)
            begun = len(internet.trace)
            await trio.sleep(300)
            assert not here.closed and not there.closed
            # Nothing found the hole closed.
            assert not [entry for entry in internet.trace[begun:] if entry.fate]
            # Idle is idle: each few seconds a datagram there and one back; TCP each half minute.
            assert len(internet.trace) - begun <= {"udp": 4 * 60, "tcp": 6 * 10 + 20}[protocol]
            await exchange(right, left)
            await exchange(left, right)

    run(program)


def test_a_connection_that_was_dialled_outlives_its_mapping() -> None:
    """QUIC's usual keepalive is slower than such a NAT, and QUIC survives a new mapping."""

    async def program(internet: Internet) -> None:
        home = internet.router(nat=FORGETFUL).host()
        async with two_peers(internet, home, PUBLIC, "udp") as (left, right):
            where = parse_address(address("udp", (right.host.address, PORT)))
            connection = await left.swarm.connect(right.swarm.peer_id, [where])
            await trio.sleep(300)
            assert not connection.closed
            await exchange(left, right)
            await exchange(right, left)

    run(program)
