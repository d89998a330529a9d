"""The port mapper and its gateways on the simulated internet (CAPABILITIES B1, B2, B3)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from carrick import HostBuilder
from carrick.addressing import Reach, reach
from carrick.errors import DialError
from carrick.host import Layers
from carrick.protocols.portmap import (
    PortMapped,
    PortMapper,
    PortMapperOptions,
    PortMappingLost,
)
from carrick.sim import Internet, Router
from carrick.sim.gateways import InternetGatewayDevice, PortControlServer
from carrick.testing.nodes import Node, open_node

LISTEN = ("/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1")
Gateway = PortControlServer | InternetGatewayDevice

GATEWAYS: dict[str, Callable[[Router], Gateway]] = {
    "pcp": partial(PortControlServer, nat_pmp=False),
    "nat-pmp": partial(PortControlServer, pcp=False),
    "upnp": InternetGatewayDevice,
}
pytestmark = pytest.mark.internet(seed=5)


def builder(options: PortMapperOptions | None = None) -> HostBuilder:
    return HostBuilder().services(lambda: PortMapper(options))


async def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait until it is true; returns the seconds that it took."""
    began = trio.current_time()
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.05)
    return trio.current_time() - began


@asynccontextmanager
async def home(
    internet: Internet,
    *gateways: Callable[[Router], Gateway],
    options: PortMapperOptions | None = None,
    listen: tuple[str, ...] = LISTEN,
    router: Router | None = None,
) -> AsyncIterator[tuple[Node, Router, list[Gateway]]]:
    """A node behind a router that runs these gateways."""
    router = router or internet.router("home")
    made = [make(router) for make in gateways]
    async with trio.open_nursery() as nursery:
        for gateway in made:
            nursery.start_soon(router.run, gateway.serve)
        async with open_node(router.host("alice"), builder(options), listen=listen) as node:
            yield node, router, made
        nursery.cancel_scope.cancel()


def public(node: Node) -> list[str]:
    every = (str(address).partition("/p2p/")[0] for address in node.addresses)
    return [text for text in every if text.startswith("/ip4/11.")]


@pytest.mark.parametrize("via", GATEWAYS)
async def test_mapped_advertised_reached_and_removed(internet: Internet, via: str) -> None:
    """B1."""
    async with home(internet, GATEWAYS[via]) as (node, router, _):
        mapper = node.service(PortMapper)
        assert await until(lambda: len(mapper.mappings) == 2, 30) <= 5
        assert {each.via for each in mapper.mappings} == {via}
        outside = router.external_address
        assert public(node) == [f"/ip4/{outside}/tcp/4001", f"/ip4/{outside}/udp/4001/quic-v1"]
        assert node.host.nat.layers is Layers.ONE
        assert node.host.nat.address == outside
        for transport, address in zip(("tcp", "quic"), public(node), strict=True):
            stranger = HostBuilder().transports(transport)
            async with open_node(internet.host(), stranger, listen=()) as bob:
                connection = await bob.connect(f"{address}/p2p/{node.id}")
                assert connection.peer_id == node.id
        assert set(router.port_mappings()) == {("tcp", 4001), ("udp", 4001)}
    assert router.port_mappings() == {}


@pytest.mark.parametrize("via", GATEWAYS)
async def test_renewed_before_the_lease_ends(internet: Internet, via: str) -> None:
    """B1."""
    options = PortMapperOptions(lifetime=120)
    async with home(internet, GATEWAYS[via], options=options) as (node, router, _):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        with node.host.events.subscribe(PortMappingLost) as lost:
            for _ in range(600):
                await trio.sleep(1)
                left = [each[1] for each in router.port_mappings().values()]
                assert len(left) == 2 and min(left) > 30
            assert lost.get_nowait() is None


@pytest.mark.parametrize("via", GATEWAYS)
async def test_made_again_after_the_gateway_restarts(internet: Internet, via: str) -> None:
    """B1: the gateway forgets; PCP and NAT-PMP announce that, UPnP's list is looked at."""
    async with home(internet, GATEWAYS[via]) as (node, router, (gateway,)):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        await trio.sleep(200)
        router.crash()
        for protocol, port in router.port_mappings():
            router.unmap_port(protocol, port)
        with node.host.events.subscribe(PortMapped) as mapped:
            await trio.sleep(1)
            router.restart()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(router.run, gateway.serve)
                took = await until(lambda: len(router.port_mappings()) == 2, 90)
                assert took <= (65 if via == "upnp" else 8)
                await until(lambda: len(public(node)) == 2, 5)
                assert isinstance(await mapped.__anext__(), PortMapped)
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize("via", ["pcp", "nat-pmp"])
async def test_a_silent_restart_is_seen_by_the_epoch(internet: Internet, via: str) -> None:
    quiet = partial(GATEWAYS[via], announces=False)
    async with home(internet, quiet) as (node, router, (gateway,)):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        await trio.sleep(200)
        router.crash()
        router.restart()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.run, gateway.serve)
            await until(lambda: router.port_mappings() == {}, 1)
            assert await until(lambda: len(router.port_mappings()) == 2, 90) <= 65
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("via", ["pcp", "nat-pmp"])
async def test_an_announcement_counts_whatever_the_epoch(internet: Internet, via: str) -> None:
    """miniupnpd with `system_uptime=yes` counts on when it has restarted."""
    async with home(internet, partial(GATEWAYS[via], keeps_epoch=True)) as (node, router, made):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        await trio.sleep(200)
        router.crash()
        router.restart()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(router.run, made[0].serve)
            await until(lambda: router.port_mappings() == {}, 1)
            await until(lambda: len(router.port_mappings()) == 2, 8)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("via", GATEWAYS)
async def test_a_taken_port_gives_another_one(internet: Internet, via: str) -> None:
    router = internet.router("home")
    other = router.host("other")
    for protocol in ("tcp", "udp"):
        router.map_port(protocol, 4001, (other.address, 4001))
    async with home(internet, GATEWAYS[via], router=router) as (node, _, _):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        assert all(each.external_port != 4001 for each in mapper.mappings)
        assert router.port_mappings()["tcp", 4001][0] == (other.address, 4001)
        async with open_node(internet.host(), listen=()) as bob:
            assert (await bob.connect(f"{public(node)[0]}/p2p/{node.id}")).peer_id == node.id


@pytest.mark.parametrize("version, ppp", [(1, False), (1, True), (2, False)])
async def test_permanent_mappings_where_there_are_no_leases(
    internet: Internet, version: int, ppp: bool
) -> None:
    igd = partial(InternetGatewayDevice, version=version, ppp=ppp, permanent_only=True)
    async with home(internet, igd) as (node, router, _):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        assert [each.lifetime for each in mapper.mappings] == [float("inf")] * 2
        await trio.sleep(3600)
        assert len(router.port_mappings()) == 2
    assert router.port_mappings() == {}


async def test_all_at_once_and_one_is_used(internet: Internet) -> None:
    async with home(internet, PortControlServer, InternetGatewayDevice) as (node, router, made):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        await trio.sleep(300)
        assert len({each.via for each in mapper.mappings}) == 1
        control, igd = made
        assert isinstance(control, PortControlServer) and isinstance(igd, InternetGatewayDevice)
        assert "AddPortMapping" not in [name for _, name in igd.actions]
        assert mapper.gateway is not None and mapper.gateway.via in ("pcp", "nat-pmp")


async def test_one_that_refuses_gives_way_to_the_next(internet: Internet) -> None:
    refusing = partial(PortControlServer, authorized=False)
    async with home(internet, refusing, InternetGatewayDevice) as (node, _, _):
        mapper = node.service(PortMapper)
        assert await until(lambda: len(mapper.mappings) == 2, 10) <= 5
        assert {each.via for each in mapper.mappings} == {"upnp"}


async def test_no_gateway(internet: Internet, caplog: pytest.LogCaptureFixture) -> None:
    """Start-up is not delayed, one line is logged, and it is not asked all the time (B2)."""
    caplog.set_level(logging.INFO, "carrick.portmap")
    router = internet.router("home")
    began = trio.current_time()
    async with open_node(router.host("alice"), builder(), listen=LISTEN) as node:
        assert trio.current_time() == began
        await trio.sleep(3000)
        assert [each.getMessage() for each in caplog.records] == [
            "no gateway here maps ports (pcp, nat-pmp, upnp)"
        ]
        sent = len(internet.trace)
        assert 0 < sent < 40
        assert node.service(PortMapper).mappings == ()
        assert public(node) == []
        assert node.host.nat.layers is Layers.UNKNOWN


async def test_nothing_is_sent_for_loopback_or_public_listeners(internet: Internet) -> None:
    router = internet.router("home")
    loopback = ("/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001")
    async with (
        open_node(router.host("alice"), builder(), listen=loopback),
        open_node(internet.host("bob"), builder(), listen=LISTEN),
    ):
        await trio.sleep(7200)
    assert internet.trace == []


@pytest.mark.parametrize("via", GATEWAYS)
@pytest.mark.parametrize(
    "lan, layers", [("10.0.0.0/24", Layers.DOUBLE), ("100.64.1.0/24", Layers.CARRIER)]
)
async def test_a_gateway_behind_a_nat(
    internet: Internet, via: str, lan: str, layers: Layers
) -> None:
    """Its address outside is told, and not advertised (B3)."""
    router = internet.router("provider", lan=lan).router("home")
    async with home(internet, GATEWAYS[via], router=router) as (node, _, _):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 2, 5)
        assert node.host.nat.layers is layers
        assert mapper.addresses() == []
        assert all(reach(address) is Reach.PRIVATE for address in node.addresses)


async def test_another_network(internet: Internet) -> None:
    """The machine moves to another home: mapped there within a minute or so."""
    there = internet.router("there", lan="192.168.7.0/24")
    gateway = PortControlServer(there)
    async with home(internet, PortControlServer) as (node, here, _), trio.open_nursery() as nursery:
        nursery.start_soon(there.run, gateway.serve)
        await until(lambda: len(node.service(PortMapper).mappings) == 2, 5)
        node.machine.move(there.lan)
        assert await until(lambda: len(there.port_mappings()) == 2, 200) <= 75
        await until(lambda: public(node)[:1] == [f"/ip4/{there.external_address}/tcp/4001"], 10)
        nursery.cancel_scope.cancel()


async def test_a_new_address_of_the_gateway(internet: Internet) -> None:
    async with home(internet, InternetGatewayDevice) as (node, router, _):
        await until(lambda: len(public(node)) == 2, 5)
        old = router.external_address
        router.change_address()
        mapper = node.service(PortMapper)
        await until(lambda: old not in str(mapper.addresses()) and mapper.addresses() != [], 70)
        assert public(node)[0] == f"/ip4/{router.external_address}/tcp/4001"


async def test_a_listener_that_comes_later(internet: Internet) -> None:
    async with home(internet, PortControlServer, listen=LISTEN[:1]) as (node, router, _):
        mapper = node.service(PortMapper)
        await until(lambda: len(mapper.mappings) == 1, 5)

        async def listen() -> None:
            await node.host.listen("/ip4/0.0.0.0/tcp/4002")

        await on_its_machine(node, listen)
        await until(lambda: ("tcp", 4002) in router.port_mappings(), 5)
        assert len(mapper.mappings) == 2


async def test_a_gateway_that_vanishes(internet: Internet) -> None:
    """What it mapped is no longer advertised, and the end is not delayed."""
    async with home(internet, PortControlServer) as (node, router, _):
        await until(lambda: len(public(node)) == 2, 5)
        with node.host.events.subscribe(PortMappingLost) as lost:
            router.crash()
            assert isinstance(await lost.__anext__(), PortMappingLost)
        assert public(node) == []
        with pytest.raises((DialError, trio.TooSlowError)), trio.fail_after(1):
            await node.connect(f"/ip4/11.0.0.77/tcp/1/p2p/{node.id}")


async def test_the_end_is_bounded(internet: Internet) -> None:
    """A gateway that is gone at the end costs no more than the release timeout."""
    async with home(internet, PortControlServer) as (node, router, _):
        await until(lambda: len(public(node)) == 2, 5)
        router.crash()
        ended = trio.current_time()
    assert trio.current_time() - ended <= 1.6


async def on_its_machine(node: Node, function: Callable[[], Awaitable[None]]) -> None:
    from carrick.testing.nodes import on_machine

    with on_machine(node.machine):
        await function()
