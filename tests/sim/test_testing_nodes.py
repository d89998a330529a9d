"""Carrick nodes on simulated machines."""

from __future__ import annotations

from random import Random

import pytest
import trio

from carrick import HostBuilder, PrivateKey
from carrick.errors import CarrickError
from carrick.sim import Internet, run
from carrick.testing import PORT, Node, keep_node, open_node, seeded_key


def test_keys_follow_the_generator() -> None:
    assert seeded_key(Random(1)) == seeded_key(Random(1)) != seeded_key(Random(2))
    key = seeded_key(Random(1))
    key.public_key.verify(b"data", key.sign(b"data"))


def test_a_builder_keeps_its_identity() -> None:
    key = PrivateKey.generate()

    async def program(internet: Internet) -> list[Node]:
        async with (
            open_node(internet.host(), HostBuilder().identity(key)) as own,
            open_node(internet.host()) as other,
        ):
            return [own, other]

    own, other = run(program)
    assert own.id == key.peer_id
    assert other.id == run(program)[1].id  # one builder's key moves no other node


def test_calls_run_on_the_nodes_own_machine_wherever_they_come_from() -> None:
    async def program(internet: Internet) -> None:
        router = internet.router()
        async with open_node(router.host()) as inside, open_node(internet.host()) as public:
            (address,) = inside.addresses
            assert str(address) == f"/ip4/{inside.machine.address}/tcp/{PORT}/p2p/{inside.id}"
            await inside.connect(public)
            (connection,) = public.connections
            assert str(connection.remote_address).startswith(f"/ip4/{router.external_address}/")

    run(program)


def test_names_come_from_the_internet_alone() -> None:
    async def program(internet: Internet) -> None:
        machine = internet.host()
        internet.dns.add_host("node.example.com", machine)
        async with open_node(machine) as there, open_node(internet.host()) as here:
            with pytest.raises(CarrickError, match="no such name"):
                await here.connect(f"/dns4/other.example.com/tcp/{PORT}/p2p/{there.id}")
            await here.connect(f"/dns4/node.example.com/tcp/{PORT}/p2p/{there.id}")

    run(program)


def test_a_node_ends_when_its_machine_crashes() -> None:
    async def program(internet: Internet) -> None:
        machine = internet.host()
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_node, machine)
            machine.crash()
        # The nursery is done: the node was cancelled.

    run(program)
