"""QUIC hole punching: what `test_punch_swarm` does not show."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from carrick.interfaces import Role
from carrick.sim import Internet, Link, run
from carrick.transports.quic.endpoint import UdpEndpoint
from carrick.transports.quic.packets import INITIAL, parse_long
from carrick.transports.quic.punching import MAX_HANDSHAKES, MAX_REFLEXIVE
from tests.support.punching import (
    PORT,
    PUBLIC,
    ROLES,
    both,
    both_roles,
    exchange,
    two_peers,
)


@both_roles
@pytest.mark.parametrize("offset", [0.0, 0.05, 0.5, 2.0, 4.5])
def test_it_takes_no_longer_than_it_must(roles: tuple[Role, Role], offset: float) -> None:
    """The client's first packet gets lost in the server's NAT; it comes again as soon as the server
    is there: three trips for the server's datagram, the dial, and the answer, one for the end."""

    async def program(internet: Internet) -> None:
        async with two_peers(internet, "pr", "pr", "udp") as (left, right):
            start = trio.current_time() + offset
            here, there = await both(left, right, roles, offset=offset)
            assert here is not None and there is not None
            assert trio.current_time() - start < 4 * 0.02 + 0.001

    run(program, access=Link(latency=0.01))


@pytest.mark.parametrize("others", [0, 2])
def test_how_many_endpoints_a_client_dials(others: int) -> None:
    """Whoever can send from the peer's address cannot make us dial ever more of its ports."""

    async def program(internet: Internet) -> None:
        async with (
            two_peers(internet, PUBLIC, PUBLIC, "udp") as (left, right),
            trio.open_nursery() as nursery,
        ):
            dialled: set[tuple[str, int]] = set()
            sockets = [await right.host.sockets.open_udp(("0.0.0.0", 0)) for _ in range(20)]
            addresses = tuple((right.host.address, 7 + number) for number in range(1 + others))
            nursery.start_soon(partial(left.punch, right, Role.CLIENT, at=addresses, budget=1.0))
            send = left.host.stack.send

            def note(packet) -> None:  # type: ignore[no-untyped-def]
                header = parse_long(packet.payload)
                if header is not None and header.kind == INITIAL:
                    dialled.add(packet.destination)
                send(packet)

            left.host.stack.send = note
            for _ in range(3):
                await trio.sleep(0.1)
                for socket in sockets:
                    socket.send(b"x" * 64, 64, (left.host.address, PORT))
            await trio.sleep(1)
            assert len(dialled) == 1 + others + MAX_REFLEXIVE

    run(program)


@pytest.mark.parametrize("after", [False, True])
def test_dials_beyond_the_bound_are_the_listeners(after: bool) -> None:
    """Handshakes that stand still do not keep the peer out."""

    async def program(internet: Internet) -> None:
        async with (
            two_peers(internet, PUBLIC, PUBLIC, "udp") as (left, right),
            trio.open_nursery() as nursery,
        ):
            # Nothing gets back to these: they stand still half-way.
            for _ in range(MAX_HANDSHAKES + 1):
                nursery.start_soon(dial_and_vanish, right, left)
            if not after:
                await trio.sleep(0.1)
            here, there = await both(left, right, ROLES[1])
            assert here is not None and there is not None
            await exchange(right, left)
            nursery.cancel_scope.cancel()

    run(program)


async def dial_and_vanish(right, left) -> None:  # type: ignore[no-untyped-def]
    (transport,) = right.swarm.transports
    socket = await right.host.sockets.open_udp(("0.0.0.0", 0))
    endpoint = UdpEndpoint(socket, transport.pool.settings)
    connection = endpoint.dial((left.host.address, PORT), transport._identity.profile(None))
    with trio.move_on_after(0.01):
        await connection.establish()
    socket.close()
