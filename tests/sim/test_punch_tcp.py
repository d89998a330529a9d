"""TCP hole punching: what `test_punch_swarm` does not show."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from carrick.addressing import parse_address
from carrick.interfaces import Endpoint, Role
from carrick.sim import Host, Internet, Link, run
from carrick.transports.tcp.punching import MAX_UPGRADES_AT_ONCE
from carrick.transports.websocket import WebSocketTransport
from tests.support.punching import (
    PORT,
    PUBLIC,
    ROLES,
    both,
    both_roles,
    exchange,
    meet,
    two_peers,
)


@both_roles
@pytest.mark.parametrize("offset", [0.1, 1.2])
def test_routers_that_reset(roles: tuple[Role, Role], offset: float) -> None:
    """A RST closes the hole; by chance two later SYNs cross."""
    for one, other in [("pr-input-rst", "pr-input-rst"), ("pr-input-reject", "pr-input-rst")]:
        program = partial(meet, one=one, other=other, roles=roles, protocol="tcp", offset=offset)
        assert run(program, access=Link(latency=0.01))


def test_a_lost_syn_is_sent_again_soon() -> None:
    """What the address-restricted side dropped before it punched itself comes again each second or
    so, not after 1, 3 and 7 s."""
    for offset in (0.1, 0.7, 1.2, 2.2, 3.4):

        async def program(internet: Internet, offset: float = offset) -> None:
            async with two_peers(internet, "sym", "ar", "tcp") as (left, right):
                start = trio.current_time() + offset
                here, there = await both(left, right, ROLES[0], offset=offset)
                assert here is not None and there is not None
                assert trio.current_time() - start < 1.15

        run(program, access=Link(latency=0.01))


# --- what is accepted -----------------------------------------------------------------------------


@both_roles
@pytest.mark.parametrize("offset", [0.0, 0.1, -0.1])
def test_a_port_shared_with_websocket(roles: tuple[Role, Role], offset: float) -> None:
    """There the first bytes tell who is meant, but in a punch it may be us who must speak."""

    async def program(internet: Internet) -> None:
        async with two_peers(internet, PUBLIC, "sym", "tcp") as (left, right):
            (tcp,) = left.swarm.transports
            ws = WebSocketTransport(tcp.upgrader, sockets=left.host.sockets)
            left.swarm.add_transport(ws)
            listen = parse_address(f"/ip4/0.0.0.0/tcp/{PORT}/ws")
            assert await left.swarm.listen(listen) == listen
            here, there = await both(left, right, roles, offset=offset)
            assert here is not None and there is not None
            await exchange(left, right)

    run(program)


def silent(host: Host, to: Endpoint, nursery: trio.Nursery) -> None:
    """Connects, and says nothing."""

    async def connect() -> None:
        socket = await host.sockets.connect_tcp(to)
        await socket.wait_readable()

    nursery.start_soon(connect)


def test_connections_that_lead_nowhere_give_way() -> None:
    async def program(internet: Internet) -> None:
        async with (
            two_peers(internet, PUBLIC, "sym", "tcp") as (left, right),
            trio.open_nursery() as nursery,
        ):
            to = left.host.address, PORT
            left.seen = to[0], 9  # so the sym side does not get through before its second punch
            (transport,) = left.swarm.transports
            (port,) = transport.upgrader.ports._ports
            found: list[object] = []

            async def punch() -> None:
                found.append(await left.punch(right, Role.CLIENT))

            nursery.start_soon(punch)
            await trio.sleep(0.01)
            for _ in range(MAX_UPGRADES_AT_ONCE + 2):
                silent(right.host, to, nursery)
            await trio.sleep(0.1)
            assert len(port.unheard) == 2  # those beyond the bound are the listener's
            left.seen = to
            await trio.sleep(1.5)
            found.append(await right.punch(left, Role.SERVER))
            await trio.sleep(0.1)
            assert len(found) == 2 and None not in found
            await exchange(left, right)
            nursery.cancel_scope.cancel()

    run(program)


def test_what_a_punch_takes_over_is_not_refused_by_the_listener() -> None:
    """Somebody connects, says nothing yet, and a punch begins: the listener lets go of it."""

    async def program(internet: Internet) -> None:
        async with (
            two_peers(internet, PUBLIC, PUBLIC, "tcp") as (left, right),
            trio.open_nursery() as nursery,
        ):
            (transport,) = left.swarm.transports
            (port,) = transport.upgrader.ports._ports
            silent(right.host, (left.host.address, PORT), nursery)
            await trio.sleep(0.1)
            assert len(port.unheard) == 1
            with trio.move_on_after(1):
                await left.punch(right, Role.CLIENT)
                assert not port.unheard
            # Then it is an ordinary listener again.
            silent(right.host, (left.host.address, PORT), nursery)
            await trio.sleep(0.1)
            assert len(port.unheard) == 1
            nursery.cancel_scope.cancel()

    run(program)
