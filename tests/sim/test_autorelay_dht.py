"""A host behind a NAT that knows a DHT's bootstrap peer and nobody else finds its relays there, and
is found (CAPABILITIES B11, C5)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from carrick import Host, HostBuilder
from carrick.addressing import is_relayed, parse_address, with_peer
from carrick.errors import InvalidAddress
from carrick.host import ConnectTrace
from carrick.host.host import Target
from carrick.identity import PrivateKey
from carrick.network.events import Event
from carrick.protocols.identify import Identify
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode, PeerInfo
from carrick.protocols.kademlia.service import _target
from carrick.protocols.ping import Ping
from carrick.protocols.relay import AutoRelay, AutoRelayOptions, RelayClient, RelayService
from carrick.sim import Internet, Link, run
from carrick.testing import Node, on_machine, open_node

if TYPE_CHECKING:
    from trio_typing import TaskStatus

HERE = Link(latency=0.01, jitter=0.004)  # else two nodes dial each other at the same instant
SERVERS = 8
RELAYS = 3


def member(mode: Mode, bootstrap: Sequence[Node] = ()) -> HostBuilder:
    """Default services, and a DHT."""
    options = KademliaOptions.local(
        mode=mode,
        bootstrap=[node.addresses[0] for node in bootstrap],
        clock=trio.current_time,
    )
    return HostBuilder().transports("tcp").observers(1).services(Kademlia(options))


async def reserved(node: Node, within: float) -> None:
    with trio.fail_after(within), node.host.events.subscribe(Event) as events:
        while not node.service(AutoRelay).reservations:
            await events.__anext__()


@pytest.mark.parametrize(
    ("nat", "direct"), [("port-restricted", True), ("symmetric", False)], ids=["cone", "symmetric"]
)
def test_b11_from_a_bootstrap_peer_to_a_relay_to_a_connection(nat: str, direct: bool) -> None:
    """Both hosts are behind NATs, and know one server that relays nothing. One of them knows
    besides only the other's peer id, and connects."""

    async def program(internet: Internet) -> None:
        async with AsyncExitStack() as exits:
            nodes: list[Node] = []
            for number in range(SERVERS):
                builder = member(Mode.SERVER, nodes[:1])
                if number >= SERVERS - RELAYS:
                    builder = builder.services(RelayService)
                nodes.append(await exits.enter_async_context(open_node(internet.host(), builder)))
            await trio.sleep(20)
            hidden: list[Node] = []
            for name in ("left", "right"):
                machine = internet.router(name, nat).host()
                builder = member(Mode.AUTO, nodes[:1])
                hidden.append(await exits.enter_async_context(open_node(machine, builder)))
            a, b = hidden
            await reserved(b, 120)
            relays = {node.id for node in nodes[-RELAYS:]}
            assert {each.relay for each in b.service(AutoRelay).reservations} <= relays
            assert any(is_relayed(each) for each in b.addresses)
            assert not b.service(Kademlia).serving
            await trio.sleep(10)  # its peers hear of the new address

            trace = ConnectTrace()
            with on_machine(a.machine):
                connection = await a.host.connect(b.id, trace=trace)
                assert connection.peer_id == b.id
                await trace.settled()
                best = a.host.swarm.connection(b.id)
                assert best is not None and best.is_relayed is not direct
                assert await a.service(Ping).ping_once(best) > 0

    run(program, access=HERE, record=False)


class _Acquaintances:
    """A service that knows some peers, as a DHT does."""

    def __init__(self, *peers: Target) -> None:
        self._peers = peers
        self.asked: list[float] = []

    async def run(
        self, host: Host, *, task_status: TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        host.add_peer_source(self._find)
        task_status.started()

    async def _find(self, count: int) -> Sequence[Target]:
        self.asked.append(trio.current_time())
        return self._peers[:count]


def test_any_service_may_know_the_relay() -> None:
    """Whoever is known not to relay is not asked."""

    async def program(internet: Internet) -> None:
        tcp = HostBuilder().transports("tcp")
        async with (
            open_node(internet.host(), tcp) as other,
            open_node(internet.host(), tcp.services(RelayService)) as relay,
        ):
            auto = AutoRelay(options=AutoRelayOptions(always=True))
            friends = _Acquaintances(other.addresses[0], relay.addresses[0])
            builder = tcp.services(Identify, RelayClient, auto, friends, defaults=False)
            async with open_node(internet.router().host(), builder) as node:
                assert node.host.finds_peers
                assert len(await node.host.find_peers(5)) == 2
                await reserved(node, 60)
                assert [each.relay for each in auto.reservations] == [relay.id]

    run(program, access=HERE)


def test_a_source_that_knows_nobody_is_asked_less_and_less() -> None:
    friends = _Acquaintances()
    asked = friends.asked

    async def program(internet: Internet) -> None:
        auto = AutoRelay(options=AutoRelayOptions(always=True))
        builder = HostBuilder().transports("tcp")
        builder = builder.services(Identify, RelayClient, auto, friends, defaults=False)
        async with open_node(internet.host(), builder):
            await trio.sleep(3600)
        pauses = [later - at for at, later in zip(asked, asked[1:], strict=False)]
        assert [round(each) for each in pauses[:6]] == [30, 60, 120, 240, 480, 600]
        assert len(pauses) < 12

    run(program, access=HERE)


def test_without_a_source_nobody_is_looked_for() -> None:
    async def program(internet: Internet) -> None:
        auto = AutoRelay(options=AutoRelayOptions(always=True))
        builder = HostBuilder().transports("tcp")
        builder = builder.services(Identify, RelayClient, auto, defaults=False)
        async with open_node(internet.host(), builder) as node:
            assert not node.host.finds_peers
            assert await node.host.find_peers(5) == []
            await trio.sleep(100)
            assert auto.candidates == ()

    run(program, access=HERE)


def test_an_address_that_ends_with_another_id_spoils_nothing() -> None:
    peer, other = (PrivateKey.generate().peer_id for _ in range(2))
    good = parse_address("/ip4/192.0.2.1/tcp/4001")
    bad = with_peer(good, other)
    with pytest.raises(InvalidAddress):
        with_peer(bad, peer)
    assert _target(PeerInfo.of(peer, [bad, good])) == [with_peer(good, peer)]
    assert _target(PeerInfo.of(peer, [bad])) == peer
