"""What goes wrong while two peers try for a direct connection, on the simulated internet: no host
ends, no task stays, and who can meet does so the next time."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

import pytest
import trio

from carrick import HostBuilder
from carrick.addressing import is_relayed
from carrick.errors import CarrickError
from carrick.host import ConnectTrace
from carrick.network import AllowAll
from carrick.protocols.dcutr import Dcutr
from carrick.protocols.relay import RelayClient, RelayService
from carrick.sim import Host as Machine
from carrick.sim import Internet, Link, Router, run
from carrick.sim.host import _host
from carrick.testing import Node, open_node
from carrick.testing.nodes import on_machine
from tests.support.dcutr import Scene, scene

HERE = Link(latency=0.01)  # a round trip takes 40 ms, and 80 ms over the relay
CONE = "port-restricted"
TRANSPORTS = ["tcp", "quic"]
# s after the start: in the handshakes over the relay, CONNECT, SYNC, after the punch
MOMENTS = (0.1, 0.35, 0.4, 0.6)


def tasks(machine: Machine) -> Counter[str]:
    """Those that run on a machine, by name."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    waiting, found = [root], Counter[str]()
    while waiting:
        task = waiting.pop()
        if task.context.get(_host) is machine:
            found[task.name] += 1
        for nursery in task.child_nurseries:
            waiting += nursery.child_tasks
    return found


def at_rest(*nodes: Node) -> bool:
    """Nothing is being tried, and no packet is waited for."""
    for node in nodes:
        upgrades = node.service(Dcutr).upgrades
        if node.host._connector._races or not all(each.done.is_set() for each in upgrades):
            return False
        for transport in node.host.swarm.transports:
            places = (
                [each.interceptions for each in transport.upgrader.ports._ports]
                if hasattr(transport, "can_punch") and hasattr(transport, "upgrader")
                else [each._interceptions for each in transport.pool._listening.values()]
                if hasattr(transport, "pool")
                else []
            )
            if any(map(bool, places)):
                return False
    return True


async def try_to_connect(two: Scene) -> object:
    """The direct connection, or why there is none."""
    try:
        return await two.a.connect([two.circuit_address], direct=True)
    except CarrickError as error:
        return error


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_relay_dies_meanwhile(moment: float, transport: str) -> None:
    """Once SYNC is on its way, the relay is needed no more."""

    async def program(internet: Internet) -> None:
        async with scene(internet, CONE, CONE, transport, link=HERE) as two:
            outcomes: list[object] = []
            start = trio.current_time()

            async def connect() -> None:
                outcomes.append(await try_to_connect(two))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect)
                await trio.sleep(moment)
                two.relay.machine.crash()
            assert trio.current_time() - start < 30.1
            assert isinstance(outcomes[0], CarrickError) == (moment < 0.4)
            await trio.sleep(90)
            assert at_rest(two.a, two.b)

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("nat", ["address-restricted", CONE, "symmetric"])
def test_a_router_that_forgets(nat: str, transport: str) -> None:
    """Its mappings gone, the relay does not get through to us: the signs of life that connections
    give by themselves, every 15 s, open the way again."""

    async def program(internet: Internet) -> None:
        async with scene(internet, None, nat, transport, link=HERE) as two:
            await trio.sleep(120)  # nobody says anything any more
            router = internet.nodes["b-router"]
            assert isinstance(router, Router)
            router.forget()
            await trio.sleep(20)
            with trio.fail_after(1):
                assert (await two.dial_over_relay()).is_relayed

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_who_connects_changes_its_mind(moment: float, transport: str) -> None:
    """Cancelled in the middle, `connect` leaves nothing, and the next one succeeds."""

    async def program(internet: Internet) -> None:
        async with scene(internet, CONE, CONE, transport, link=HERE) as two:
            await trio.sleep(120)  # until both have what slots they want
            before = [tasks(each.machine) for each in (two.a, two.b)]
            with trio.move_on_after(moment) as cancelled:
                await two.a.connect([two.circuit_address], direct=True)
            if moment < 0.4:
                assert cancelled.cancelled_caught
            await trio.sleep(60)
            assert at_rest(two.a, two.b)
            for node, other in ((two.a, two.b), (two.b, two.a)):
                await node.host.disconnect(other.id)
            await trio.sleep(15)
            assert [tasks(each.machine) for each in (two.a, two.b)] == before
            connection = await two.a.connect([two.circuit_address], direct=True)
            assert not connection.is_relayed

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("moment", [0.25, 0.4])
def test_the_address_changes_meanwhile(moment: float, who: str, transport: str) -> None:
    """The router gets another one, as after a provider's nightly break: what was said of the old
    one leads nowhere, and nobody waits for it for ever."""

    async def program(internet: Internet) -> None:
        async with scene(internet, CONE, CONE, transport, link=HERE) as two:
            router = internet.nodes[f"{who}-router"]
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(try_to_connect, two)
                await trio.sleep(moment)
                router.change_address()  # type: ignore[attr-defined]
            assert trio.current_time() - start < 30.1
            await trio.sleep(300)  # by then every connection over the old address has ended
            assert at_rest(two.a, two.b)
            with on_machine(two.b.machine):
                slots = [each for each in two.b.service(RelayClient).reservations if each.active]
            assert slots
            connection = await two.a.connect([two.circuit_address], direct=True)
            assert not connection.is_relayed

    run(program)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_both_connect_to_each_other_at_once(transport: str) -> None:
    """By `Host.connect`, over relays, with all strategies: both end with a direct connection."""

    async def program(internet: Internet) -> None:
        async with scene(internet, CONE, CONE, transport, link=HERE) as two:
            with on_machine(two.a.machine):
                await two.a.service(RelayClient).reserve(two.relay.addresses)
            back = Scene(internet, two.relay, two.b, two.a, two.transports)
            traces: list[ConnectTrace] = []

            async def connect(scene: Scene) -> None:
                traces.append(trace := ConnectTrace())
                found = await scene.a.connect([scene.circuit_address], direct=True, trace=trace)
                assert not found.is_relayed
                await trace.settled()

            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, two)
                nursery.start_soon(connect, back)
            assert trio.current_time() - start < 10
            await trio.sleep(60)
            assert at_rest(two.a, two.b)
            for node, other in ((two.a, two.b), (two.b, two.a)):
                assert not [e for e in node.host.swarm.connections(other.id) if e.is_relayed]

    run(program)


class Defective(AllowAll):
    """Fails as a program does that has a defect."""

    def __init__(self) -> None:
        self.asked = 0

    def allow_dial(self, peer: object, address: object) -> bool:
        if not is_relayed(address) and "11.0.0.1/" not in str(address):  # type: ignore[arg-type]
            self.asked += 1
            raise RuntimeError("a defect")
        return True


def test_a_defect_in_an_upgrade_ends_no_host(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong there costs that upgrade."""
    gater = Defective()

    async def program(internet: Internet) -> None:
        relay_at = "11.0.0.1"
        async with scene(
            internet,
            CONE,
            CONE,
            "tcp",
            link=HERE,
            relay_at=relay_at,
            builder=lambda each: each.gater(gater),
        ) as two:
            of_a, of_b = await two.upgrade()
            assert gater.asked
            assert of_a.connection is None and of_b.connection is None
            await trio.sleep(60)
            assert at_rest(two.a, two.b)
            assert not of_a.relayed.closed

    run(program)
    assert "a defect" in caplog.text


# --- at rest --------------------------------------------------------------------------------------


class Steps(trio.abc.Instrument):
    """Counts the steps that the tasks of one machine make."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.by_task: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.context.get(_host) is self.machine:
            self.by_task[task.name] += 1


def test_an_idle_node_behind_a_nat_hardly_wakes() -> None:
    """A default host with slots on two relays, for ten minutes."""

    async def program(internet: Internet) -> None:
        both = ("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1")
        serving = HostBuilder().services(RelayService)
        async with AsyncExitStack() as exits:
            relays = [
                await exits.enter_async_context(
                    open_node(internet.host(f"relay{number}"), serving, listen=both)
                )
                for number in range(4)
            ]
            machine = internet.router("home", CONE).host("bob")
            bob = await exits.enter_async_context(open_node(machine, HostBuilder(), listen=both))
            for number, relay in enumerate(relays):
                await bob.connect(relay)
                for other in relays[:number]:
                    await relay.connect(other)
            await trio.sleep(900)
            assert len([e for e in bob.service(RelayClient).reservations if e.active]) == 2
            steps, packets = Steps(machine), len(internet.trace)
            trio.lowlevel.add_instrument(steps)
            await trio.sleep(600)
            trio.lowlevel.remove_instrument(steps)
            sent = [each for each in internet.trace[packets:] if each.sender == machine.name]
            # Four QUIC connections that stay open, each by a ping and its answer every 15 s; and
            # the look every 5 s whether the peerstore has to be written.
            assert sum(steps.by_task.values()) <= 500, steps.by_task
            assert len(sent) <= 200

    run(program)
