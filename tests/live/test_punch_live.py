"""Hole punching with the kernel's sockets, between two addresses of the loopback interface."""

from __future__ import annotations

import random
import sys

import pytest
import trio

from carrick.addressing import parse_address
from carrick.errors import UnsupportedAddress
from carrick.identity import PrivateKey
from carrick.interfaces import Role, Transport
from carrick.lazy import LazyTransport
from carrick.network import Connection, Swarm
from carrick.transports.bytestream import Upgrader
from carrick.transports.memory import MemoryTransport
from carrick.transports.quic import QuicTransport
from carrick.transports.security.noise import Noise
from carrick.transports.tcp import TcpTransport
from tests.support.transports import MUXERS, Unlimited

linux = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is there only on Linux")


def make(protocol: str, key: PrivateKey) -> Transport:
    if protocol == "udp":
        return QuicTransport(key)
    return TcpTransport(Upgrader([Noise(key)], {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]}))


@linux
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_both_at_about_the_same_moment(protocol: str) -> None:
    """Ten times, with no latency at all, so that the first packet of one often finds the other's
    listener and no punch yet."""
    rng = random.Random(1)
    suffix = "/quic-v1" if protocol == "udp" else ""
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            swarms, addresses = [], []
            for number in (1, 2):
                key = PrivateKey.generate()
                swarm = Swarm(key.peer_id, [make(protocol, key)])
                await nursery.start(swarm.run)
                listen = parse_address(f"/ip4/127.0.0.{number}/{protocol}/0{suffix}")
                addresses.append(await swarm.listen(listen))
                swarms.append(swarm)
            for round in range(10):
                found = []

                async def punch(one: int, role: Role, wait: float, found: list = found) -> None:  # type: ignore[type-arg]
                    await trio.sleep(wait)
                    peer = swarms[1 - one].peer_id
                    found.append(await swarms[one].punch(peer, [addresses[1 - one]], role=role))

                roles = list(Role)[:: 1 if round % 2 else -1]
                async with trio.open_nursery() as punches:
                    punches.start_soon(punch, 0, roles[0], rng.choice([0, 0, 0.001, 0.02]))
                    punches.start_soon(punch, 1, roles[1], rng.choice([0, 0, 0.001, 0.02]))
                assert {each.muxed.role for each in found} == set(Role)
                await swarms[0].disconnect(swarms[1].peer_id)
                for swarm in swarms:
                    while swarm.connections():
                        await trio.sleep(0.001)
            nursery.cancel_scope.cancel()


@linux
@pytest.mark.parametrize("role", list(Role))
async def test_a_port_that_resets_is_tried_again(role: Role) -> None:
    """On loopback a closed port answers RST at once; the peer comes up later."""
    other = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    keys = [PrivateKey.generate() for _ in range(2)]
    one, two = (Swarm(key.peer_id, [make("tcp", key)]) for key in keys)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for swarm in (one, two):
                await nursery.start(swarm.run)
            here = await one.listen(parse_address("/ip4/127.0.0.1/tcp/0"))
            there = await two.listen(parse_address("/ip4/127.0.0.2/tcp/0"))
            two.unlisten(there)
            found: list[Connection] = []

            async def punch() -> None:
                found.append(await one.punch(two.peer_id, [there], role=role))

            async with trio.open_nursery() as punches:
                punches.start_soon(punch)
                await trio.sleep(0.2)
                await two.listen(there)
                found.append(await two.punch(one.peer_id, [here], role=other))
            assert {each.muxed.role for each in found} == set(Role)
            nursery.cancel_scope.cancel()


async def test_a_lazy_transport_passes_it_on() -> None:
    made: list[str] = []

    def factory(name: str, transport: Transport):  # type: ignore[no-untyped-def]
        def make() -> Transport:
            made.append(name)
            return transport

        return make

    key = PrivateKey.generate()
    upgrader = Upgrader([Noise(key)], {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]})
    tcp = LazyTransport("tcp", make=factory("tcp", TcpTransport(upgrader)))
    memory = LazyTransport("memory", make=factory("memory", MemoryTransport(upgrader)))
    address = parse_address("/ip4/127.0.0.1/tcp/9")
    assert not tcp.can_punch(parse_address("/memory/1")) and not made
    assert tcp.can_punch(address) and made == ["tcp"]  # made, so ready for the moment
    assert not memory.can_punch(parse_address("/memory/1"))
    with pytest.raises(UnsupportedAddress):
        await memory.punch(parse_address("/memory/1"), None, role=Role.CLIENT, budget=Unlimited())
    with trio.move_on_after(0.1) as scope:
        await tcp.punch(address, None, role=Role.CLIENT, budget=Unlimited())
    assert scope.cancelled_caught
