"""The DHT as a service of real hosts, on the simulated internet (A3, A4, A11, B9, B11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from carrick import HostBuilder
from carrick.errors import DialError
from carrick.host import Reachability, ReachabilityChanged
from carrick.network import Stream
from carrick.protocols.identify import Identify
from carrick.protocols.kademlia import (
    LAN,
    WAN,
    Kademlia,
    KademliaOptions,
    Message,
    MessageType,
    Mode,
    NotFound,
    NothingStored,
)
from carrick.protocols.kademlia.messages import MAX_MESSAGE, decode
from carrick.protocols.kademlia.network import DhtNetwork
from carrick.protocols.relay import RelayClient, RelayService
from carrick.sim import Internet, Link, run
from carrick.testing import Node, open_node

HERE = Link(latency=0.01, jitter=0.004)  # else two nodes dial each other at the same instant
KEY = b"\x12\x20" + bytes(range(32))
UNLIMITED = replace(WAN, max_per_group=None, max_per_group_and_bucket=None)


def member(mode: Mode = Mode.SERVER, bootstrap: Sequence[Node] = (), **changes: Any) -> HostBuilder:
    """A node of one DHT for all addresses; behind NATs too."""
    options = KademliaOptions.local(
        mode=mode,
        bootstrap=[node.addresses[0] for node in bootstrap],
        clock=trio.current_time,
        **changes,
    )
    return plain().services(Kademlia(options))


def plain() -> HostBuilder:
    return HostBuilder().transports("tcp")


def dht(node: Node) -> Kademlia:
    return node.service(Kademlia)


def tables(nodes: Sequence[Node], node: Node) -> int:
    """How many have `node` in a table."""
    return sum(
        any(node.id in network.dht.table for network in dht(each).networks) for each in nodes
    )


@asynccontextmanager
async def network(internet: Internet, count: int, **changes: Any) -> AsyncIterator[list[Node]]:
    """Servers that know one of them at first, and each other soon."""
    async with AsyncExitStack() as exits:
        nodes: list[Node] = []
        for _ in range(count):
            builder = member(bootstrap=nodes[:1], **changes)
            nodes.append(await exits.enter_async_context(open_node(internet.host(), builder)))
        for node in nodes:
            await dht(node).wait_bootstrapped()
        await trio.sleep(30)
        yield nodes


async def until(condition: object, within: float) -> None:
    assert callable(condition)
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.5)


def test_a3_everybody_finds_everybody() -> None:
    """With one bootstrap address: peers, providers and values, from every node."""

    async def program(internet: Internet) -> None:
        async with network(internet, 12) as nodes:
            publisher = nodes[5]
            assert await dht(publisher).provide(KEY) == 11
            key, value = _public_key(nodes[3])
            await dht(nodes[3]).put_value(key, value)
            for number, node in enumerate(nodes):
                other = nodes[(number + 4) % len(nodes)]
                assert (await dht(node).find_peer(other.id)).addresses
                if node is not publisher:
                    found = await dht(node).find_providers(KEY)
                    assert [each.id for each in found] == [publisher.id]
                    assert found[0].addresses
                assert await dht(node).get_value(key) == value
                closest = await dht(node).closest_peers(KEY)
                assert {each.id for each in closest.closest} == {
                    each.id for each in nodes if each is not node
                }
            size = dht(nodes[0]).network_size()
            assert size is None or size.servers == 11

    run(program, access=HERE)


def _public_key(node: Node) -> tuple[bytes, bytes]:
    key = node.id.public_key()
    assert key is not None
    return b"/pk/" + node.id.to_bytes(), key.to_protobuf()


def test_a3_without_a_bootstrap_peer_it_says_so() -> None:
    async def program(internet: Internet) -> None:
        async with open_node(internet.host(), member()) as node:
            with trio.fail_after(10):
                with pytest.raises(NotFound, match="no other peer of the DHT is known"):
                    await dht(node).find_peer(node.id)
                with pytest.raises(NothingStored):
                    await dht(node).provide(KEY)

    run(program, access=HERE)


def test_a3_connect_by_peer_id() -> None:
    """A host that knows neither the peer nor its address dials it, through the DHT."""

    async def program(internet: Internet) -> None:
        async with network(internet, 8) as nodes:
            client = member(Mode.CLIENT, nodes[:1])
            async with open_node(internet.host(), client) as newcomer:
                await dht(newcomer).wait_bootstrapped()
                async with open_node(internet.host(), member(bootstrap=nodes[1:2])) as target:
                    await dht(target).wait_bootstrapped()
                    connection = await newcomer.connect(target.id)
                    assert connection.peer_id == target.id
                    gone = target.id
                    await connection.aclose()
                # It went away: the attempt ends with an error, and not never.
                with trio.fail_after(60), pytest.raises(DialError):
                    await newcomer.connect(gone)

    run(program, access=HERE)


def test_a4_b11_a_member_is_public() -> None:
    """Automatic mode: a node that strangers do not reach is in nobody's table; it serves as soon as
    they do, and stops when they no longer do. Another, in the open, finds that out by AutoNAT."""

    async def program(internet: Internet) -> None:
        automatic = KademliaOptions(networks=(UNLIMITED,), clock=trio.current_time, mode=Mode.AUTO)
        servers = replace(automatic, mode=Mode.SERVER)
        async with AsyncExitStack() as exits:
            nodes: list[Node] = []
            for _ in range(4):
                options = replace(servers, bootstrap=[each.addresses[0] for each in nodes[:1]])
                builder = plain().services(Kademlia(options))
                machine = internet.host(address=f"{12 + len(nodes)}.0.0.1")
                nodes.append(await exits.enter_async_context(open_node(machine, builder)))
            options = replace(automatic, bootstrap=[nodes[0].addresses[0]])
            quiet = plain().services(Identify, lambda: Kademlia(options), defaults=False)
            machine = internet.host(address="20.0.0.1")
            us = await exits.enter_async_context(open_node(machine, quiet))
            await dht(us).wait_bootstrapped()
            await trio.sleep(60)
            assert not dht(us).serving and tables(nodes, us) == 0

            us.host.events.publish(ReachabilityChanged(Reachability.PUBLIC, {}))
            await until(lambda: tables(nodes, us) == 4, 60)
            assert dht(us).serving

            us.host.events.publish(ReachabilityChanged(Reachability.PRIVATE, {}))
            await until(lambda: tables(nodes, us) == 0, 60)
            assert not dht(us).serving

            open_to_all = plain().services(lambda: Kademlia(options))
            machine = internet.host(address="21.0.0.1")
            other = await exits.enter_async_context(open_node(machine, open_to_all))
            await until(lambda: dht(other).serving and tables(nodes, other) == 4, 60)

    run(program, access=HERE)


def test_lan_and_wan_do_not_mix() -> None:
    """Two nodes in a home meet in its DHT; nobody of the internet hears of their addresses."""

    async def program(internet: Internet) -> None:
        router = internet.router()
        options = KademliaOptions(networks=(UNLIMITED, LAN), clock=trio.current_time)
        both = plain().services(lambda: Kademlia(options))
        public = plain().services(Kademlia(replace(options, mode=Mode.SERVER)))
        async with (
            open_node(internet.host(address="12.0.0.1"), public) as outside,
            open_node(router.host(), both) as a,
            open_node(router.host(), both) as b,
        ):
            for node in (a, b):
                await node.connect(outside)
            await a.connect(b)
            await until(lambda: all(b.id in net.dht.table for net in _lan(a)), 30)
            assert [net.serving for net in dht(a).networks] == [False, True]
            assert outside.id in dht(a).networks[0].dht.table
            assert outside.id not in dht(a).networks[1].dht.table
            assert not any(len(net.dht.table) for net in dht(outside).networks)
            # In the home they find what each provides; outside, nobody is told a private address.
            await dht(a).provide(KEY)
            assert a.id in [each.id for each in await dht(b).find_providers(KEY)]
            seen = outside.host.service(Kademlia).networks[0].describe(a.id)
            assert all("192.168" not in str(each) for each in seen.addresses)

    def _lan(node: Node) -> list[DhtNetwork]:
        return [each for each in dht(node).networks if each.settings.protocol == LAN.protocol]

    run(program, access=HERE)


def test_a11_the_relay_of_a_peer_is_learned_from_the_dht() -> None:
    """B is behind a NAT and holds a slot on a relay; A knows B's peer id and nothing else."""

    async def program(internet: Internet) -> None:
        async with network(internet, 6) as nodes, AsyncExitStack() as exits:
            relay = await exits.enter_async_context(
                open_node(internet.host(), plain().services(RelayService))
            )
            hidden = member(Mode.CLIENT, nodes[:1])
            home = internet.router(nat="symmetric")
            b = await exits.enter_async_context(open_node(home.host(), hidden))
            await b.service(RelayClient).reserve(relay.addresses[0])
            await dht(b).wait_bootstrapped()
            await trio.sleep(30)
            away = internet.router(nat="symmetric")
            a = await exits.enter_async_context(
                open_node(away.host(), member(Mode.CLIENT, nodes[1:2]))
            )
            await dht(a).wait_bootstrapped()
            found = await dht(a).find_peer(b.id)
            assert any(str(relay.id) in str(each) for each in found.addresses)
            connection = await a.connect(b.id)
            assert connection.peer_id == b.id and connection.is_relayed

    run(program, access=HERE)


def test_b9_the_address_that_is_announced_is_the_one_that_is_found() -> None:
    async def program(internet: Internet) -> None:
        gate = internet.router()
        announced = f"/ip4/{gate.external_address}/tcp/7000"
        async with network(internet, 4) as nodes:
            builder = member(bootstrap=nodes[:1]).announce(announced)
            machine = gate.host()
            gate.map_port("tcp", 7000, (machine.address, 4001))
            async with open_node(machine, builder) as hidden:
                await dht(hidden).wait_bootstrapped()
                await trio.sleep(10)
                await dht(hidden).provide(KEY)
                client = member(Mode.CLIENT, nodes[1:2])
                async with open_node(internet.host(), client) as third:
                    await dht(third).wait_bootstrapped()
                    (found,) = await dht(third).find_providers(KEY)
                    assert announced in [str(each) for each in found.addresses]
                    connection = await third.connect(hidden.id)
                    assert str(connection.remote_address) == announced

    run(program, access=HERE)


def test_the_stores_and_what_we_provide_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "dht.sqlite"

    async def program(internet: Internet) -> None:
        machine = internet.host()
        async with network(internet, 3) as nodes:
            async with open_node(machine, member(bootstrap=nodes[:1], path=path)) as node:
                await dht(node).wait_bootstrapped()
                await trio.sleep(5)
                await dht(node).provide(KEY)
                await dht(nodes[0]).provide(b"\x12\x20" + bytes(32))
                await trio.sleep(6)
            async with open_node(machine, member(bootstrap=nodes[:1], path=path)) as node:
                (net,) = dht(node).networks
                assert net.republisher.provided == 1
                held = net.dht.providers.get(b"\x12\x20" + bytes(32), trio.current_time())
                assert [each.id for each in held] == [nodes[0].id]
                assert dht(node).stop_providing(KEY) and not dht(node).stop_providing(KEY)
                assert net.republisher.provided == 0

    run(program, access=HERE)


@asynccontextmanager
async def beside(
    internet: Internet, serve: Callable[[Stream], Awaitable[None]]
) -> AsyncIterator[tuple[DhtNetwork, Node]]:
    """A client's DHT, and a server that answers as the test says."""
    server = plain().handle(WAN.protocol, serve)
    options = KademliaOptions.local(mode=Mode.CLIENT, clock=trio.current_time)
    quiet = plain().services(Identify, Kademlia(options), defaults=False)
    async with (
        open_node(internet.host(), server) as there,
        open_node(internet.host(), quiet) as here,
    ):
        await here.connect(there)
        await trio.sleep(5)  # it is looked at, and looked through
        (net,) = dht(here).networks
        yield net, there


def test_requests_share_a_stream_and_a_stale_one_is_replaced() -> None:
    """Several requests go over one stream; when the peer has closed it, there is a new one."""
    streams: list[int] = []

    async def serve(stream: Stream) -> None:
        streams.append(0)
        async for frame in stream.frames(MAX_MESSAGE):
            streams[-1] += 1
            request = decode(frame)
            await stream.write_frame(Message(request.type, request.key).encode())
            if streams == [3]:
                return  # closed after its third request

    async def program(internet: Internet) -> None:
        async with beside(internet, serve) as (net, there):
            info = net.describe(there.id)
            for _ in range(5):
                answer = await net.messenger.request(info, Message(MessageType.PING))
                assert answer.type is MessageType.PING
                await trio.sleep(0.1)
            assert streams[0] == 3
            assert len(streams) == 2 and streams[1] >= 2
            await trio.sleep(120)  # idle streams are closed
            await net.messenger.request(info, Message(MessageType.PING))
            assert len(streams) == 3

    run(program, access=HERE)


def test_keys_for_a_peer_share_a_stream() -> None:
    """ADD_PROVIDERs follow each other; a key that nobody takes keeps none of the others back."""
    streams: list[int] = []

    async def serve(stream: Stream) -> None:
        streams.append(0)
        async for frame in stream.frames(MAX_MESSAGE):
            request = decode(frame)
            if request.type is MessageType.ADD_PROVIDER:
                streams[-1] += 1
            else:
                await stream.write_frame(Message(request.type, request.key).encode())

    async def program(internet: Internet) -> None:
        async with beside(internet, serve) as (net, there):
            keys = [b"%d" % number for number in range(300)]
            told = await net.dht.tell_keys(net.describe(there.id), [bytes(81), *keys, b""])
            assert told == keys
            assert sorted(each for each in streams if each) == [44, 256]

    run(program, access=HERE)
