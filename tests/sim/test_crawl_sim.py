"""A DHT that came about by itself, behind NATs and not, and its crawl, in virtual time."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from carrick import HostBuilder
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode
from carrick.protocols.kademlia.crawler import (
    AddressKind,
    Crawl,
    CrawlOptions,
    Visit,
    VisitSettings,
    bootstrap_peer,
    crawl,
    crawl_limits,
)
from carrick.sim import Internet, Link, open_internet
from carrick.testing import Node, open_node
from carrick.testing.nodes import on_machine

NODES, NATED = 8, 2


def server(*bootstrap: Node) -> HostBuilder:
    targets = [str(each.addresses[0]) for each in bootstrap]
    return HostBuilder().services(
        Kademlia(KademliaOptions.local(mode=Mode.SERVER, bootstrap=targets))
    )


def contacts(node: Node) -> set[object]:
    return {contact.peer for contact in node.service(Kademlia).networks[0].dht.table}


async def crawled(
    internet: Internet, start: Node, options: CrawlOptions
) -> tuple[list[Visit], Crawl]:
    found = []
    builder = HostBuilder().limits(**crawl_limits(options.workers))
    async with open_node(internet.host("crawler"), builder, listen=()) as node:
        with on_machine(node.machine):
            async with crawl(node.host, [bootstrap_peer(start.addresses[0])], options) as rows:
                async for visit in rows:
                    found.append(visit)
    return found, rows


@pytest.mark.timeout(120)
async def test_a_network_that_came_about_by_itself(autojump_clock: MockClock) -> None:
    """E2: all servers are found, every bucket edge is in the node's own table, and peers behind
    NATs are listed as seen, but not dialable."""
    link = Link(latency=0.02, jitter=0.005)
    async with (
        open_internet(seed=2, access=link, record=False) as internet,
        AsyncExitStack() as opened,
    ):
        first = await opened.enter_async_context(open_node(internet.host(), server()))
        nodes = [first]
        for _ in range(NODES - 1):
            nodes.append(
                await opened.enter_async_context(open_node(internet.host(), server(first)))
            )
        hidden = []
        for number in range(NATED):
            router = internet.router(f"home{number}")
            # It believes that it is reached at its router's address, which is not so.
            builder = server(first).announce(f"/ip4/{router.external_address}/tcp/4001")
            hidden.append(await opened.enter_async_context(open_node(router.host(), builder)))
        await trio.sleep(60)
        options = CrawlOptions(
            workers=8, rate=20, visits=VisitSettings(dial=AddressKind.PUBLIC, dial_timeout=4)
        )
        started = trio.current_time()
        visits, rows = await crawled(internet, first, options)
        took = trio.current_time() - started
        tables = {node.id: contacts(node) for node in nodes}
        reached = {visit.peer: visit for visit in visits if visit.dialable}
        assert set(reached) == set(tables)
        for peer, visit in reached.items():
            assert {each.id for each in visit.neighbors} == tables[peer]
        behind = [visit for visit in visits if not visit.dialable]
        assert {visit.peer for visit in behind} == {node.id for node in hidden}
        assert {visit.connect_error for visit in behind} <= {"io_timeout", "connection_refused"}
        assert rows.tally.undialable == len(behind)
        assert took >= (len(visits) - 1) / 20  # the rate is kept
