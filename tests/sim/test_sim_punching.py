"""Hole punching meets the limits that were measured in network namespaces.

Both sides know each other's observed endpoint and start at the same instant, 20 ms apart.
"""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import trio

from carrick.sim import Host, Internet, Link, run
from carrick.sim.tcp import TcpConnection
from tests.support.punching import KINDS, PORT, PUBLIC, can_punch, observed, place


async def punch_tcp(host: Host, to: tuple[str, int], done: trio.Event) -> None:
    listener = await host.sockets.listen_tcp(("0.0.0.0", PORT))

    async def accept() -> None:
        finish(await listener.accept())

    def finish(connection: TcpConnection) -> None:
        done.set()
        nursery.cancel_scope.cancel()

    with trio.move_on_after(4):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            while True:
                try:
                    finish(await host.sockets.connect_tcp(to, local=("0.0.0.0", PORT)))
                except OSError:
                    await trio.sleep(0.03)


async def punch_udp(host: Host, to: tuple[str, int], done: trio.Event) -> None:
    """Send each 50 ms, to where the peer was seen, or is heard from."""
    socket = await host.sockets.open_udp(("0.0.0.0", PORT))
    buffer = memoryview(bytearray(9))
    with trio.move_on_after(2.5):
        while True:
            heard = bytes(buffer[:1]) == b"!"
            socket.send(b"!", 1, to)
            with trio.move_on_after(0.05):
                await socket.wait_readable()
            while received := socket.recv_into(buffer):
                to = received[2]
                if heard:
                    done.set()


async def punch(internet: Internet, one: str, other: str, protocol: str) -> bool:
    server = internet.host()
    left, right = place(internet, one), place(internet, other)
    to_right = await observed(server, right, protocol, 1)
    to_left = await observed(server, left, protocol, 2)
    program = punch_tcp if protocol == "tcp" else punch_udp
    done = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program, left, to_right, done[0])
        nursery.start_soon(program, right, to_left, done[1])
    return done[0].is_set() and done[1].is_set()


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("one", KINDS)
def test_what_can_be_punched(one: str, protocol: str) -> None:
    found = {}
    for other in KINDS[KINDS.index(one) :]:
        program = partial(punch, one=one, other=other, protocol=protocol)
        found[other] = run(program, access=Link(latency=0.01))
    assert found == {other: can_punch(one, other, protocol) for other in found}


def test_thirteen_of_fifteen_classic_pairs() -> None:
    classic = [PUBLIC, "fc", "ar", "pr", "sym"]
    pairs = list(itertools.combinations_with_replacement(classic, 2))
    direct = [pair for pair in pairs if can_punch(*pair, "udp")]
    assert (len(pairs), len(direct)) == (15, 13)
