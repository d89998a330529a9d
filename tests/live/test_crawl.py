"""Crawls of real nodes: everybody is found, and every contact in every table."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio

from carrick import Host, HostBuilder, PeerId
from carrick.addressing import parse_address
from carrick.protocols.identify import Identify, IdentifyOptions
from carrick.protocols.kademlia import Kademlia, KademliaOptions, Mode
from carrick.protocols.kademlia.crawler import (
    AddressKind,
    CrawlFiles,
    CrawlOptions,
    CrawlReader,
    Visit,
    VisitSettings,
    bootstrap_peer,
    crawl,
    crawl_limits,
)

ANY = VisitSettings(dial=AddressKind.ANY, dial_timeout=5.0)
KAD = "/ipfs/kad/1.0.0"
NOBODY = PeerId(b"\x12\x20" + bytes(32))


@asynccontextmanager
async def servers(
    count: int, *, protocol: str = KAD, mode: Mode = Mode.SERVER
) -> AsyncGenerator[list[Host], None]:
    """Nodes over the memory transport, with empty tables."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                HostBuilder()
                .transports("memory")
                .listen("/memory/0")
                .services(Kademlia(KademliaOptions.local(protocol, mode=mode)))
                .open()
            )
            for _ in range(count)
        ]


@asynccontextmanager
async def crawler(workers: int = 16) -> AsyncGenerator[Host, None]:
    agent = Identify(IdentifyOptions(agent_version="carrick-crawler/test"))
    builder = HostBuilder().transports("memory").services(agent)
    async with builder.limits(**crawl_limits(workers)).open() as host:
        yield host


def introduce(host: Host, *others: Host) -> None:
    """`host` has them in its table from now on, as far as there is room."""
    table = host.service(Kademlia).networks[0].dht.table
    for other in others:
        if other is not host and table.answered(other.id, (), trio.current_time()):
            host.peerstore.add_addresses(other.id, other.swarm.listen_addresses, 3600.0)


def contacts(host: Host) -> set[PeerId]:
    return {contact.peer for contact in host.service(Kademlia).networks[0].dht.table}


async def visits(host: Host, start: Host, **options: object) -> dict[PeerId, Visit]:
    chosen = CrawlOptions(**{"workers": 16, "visits": ANY, **options})  # type: ignore[arg-type]
    found: dict[PeerId, Visit] = {}
    async with crawl(host, [bootstrap_peer(start.addresses[0])], chosen) as rows:
        async for visit in rows:
            assert visit.peer not in found
            found[visit.peer] = visit
        assert rows.tally.crawled == len(found)
        assert rows.frontier.finished
    return found


async def test_everybody_and_every_contact_is_found() -> None:
    """E2, with fewer nodes; `python -m benchmarks.crawl` has 200 and more."""
    async with servers(40) as nodes, crawler() as host:
        for node in nodes:
            introduce(node, *nodes)
        before = {node.id: contacts(node) for node in nodes}
        found = await visits(host, nodes[0])
        assert set(found) == set(before)
        for node in nodes:
            visit = found[node.id]
            assert {each.id for each in visit.neighbors} == before[node.id] == contacts(node)
            assert (visit.connect_error, visit.crawl_error, visit.error_bits) == (None, None, 0)
            assert visit.agent_version.startswith("carrick/")
            assert KAD in visit.protocols
            assert visit.connect_address in node.swarm.listen_addresses
            assert visit.requests <= 16
        assert sum(len(visit.discovered) for visit in found.values()) == 39
        assert host.id not in {peer for table in map(contacts, nodes) for peer in table}
        assert not host.connections


async def test_those_who_are_gone_are_seen_but_not_dialable() -> None:
    """E2: peers that tables have, and that do not answer, are told apart."""
    async with servers(2) as nodes, servers(1) as gone, crawler() as host:
        introduce(nodes[0], nodes[1], gone[0])
        table = nodes[0].service(Kademlia).networks[0].dht.table
        table.answered(NOBODY, (), trio.current_time())
        behind = parse_address(f"/memory/9/p2p/{nodes[1].id}/p2p-circuit")
        nodes[0].peerstore.add_addresses(NOBODY, [behind], 3600.0)
        gone[0].swarm.unlisten(gone[0].swarm.listen_addresses[0])
        found = await visits(host, nodes[0])
        assert {peer for peer, visit in found.items() if visit.dialable} == {
            each.id for each in nodes
        }
        assert found[gone[0].id].connect_error == "connection_refused"
        assert found[gone[0].id].dial_errors == ("connection_refused",)
        assert found[NOBODY].connect_error == "no_ip_address"  # only over a relay
        assert found[NOBODY].filtered == (behind,)


async def test_another_peer_than_the_table_said() -> None:
    async with servers(2) as nodes, crawler() as host:
        table = nodes[0].service(Kademlia).networks[0].dht.table
        table.answered(NOBODY, (), trio.current_time())
        nodes[0].peerstore.add_addresses(NOBODY, nodes[1].swarm.listen_addresses, 3600.0)
        found = await visits(host, nodes[0])
        assert found[NOBODY].connect_error == "peer_id_mismatch"


async def test_who_does_not_speak_the_protocol() -> None:
    async with servers(1, mode=Mode.CLIENT) as nodes, crawler() as host:
        (visit,) = (await visits(host, nodes[0])).values()
        assert visit.dialable
        assert visit.crawl_error == "protocol_not_supported"
        assert visit.error_bits
        assert visit.agent_version.startswith("carrick/")


async def test_another_network_is_another_protocol() -> None:
    async with servers(3, protocol="/mine/kad/1.0.0") as nodes, crawler() as host:
        introduce(nodes[0], *nodes)
        mine = VisitSettings(protocol="/mine/kad/1.0.0", dial=AddressKind.ANY)
        assert len(await visits(host, nodes[0], visits=mine)) == 3


async def test_a_limit_and_going_on(tmp_path: Path) -> None:
    async with servers(12) as nodes, crawler() as host:
        for node in nodes:
            introduce(node, *nodes)
        start = bootstrap_peer(nodes[0].addresses[0])
        options = CrawlOptions(workers=4, visits=ANY, limit=5)
        with CrawlFiles(tmp_path / "x", neighbors=True) as files:
            files.note_seen([start])
            async with crawl(host, [start], options) as rows:
                async for visit in rows:
                    files.write(visit)
        reader = CrawlReader(tmp_path / "x")
        frontier, tally = reader.frontier()
        assert (tally.crawled, frontier.pending) == (5, 7)
        with CrawlFiles(tmp_path / "x", neighbors=True, resume=True) as files:
            async with crawl(host, [start], CrawlOptions(visits=ANY), frontier=frontier) as rows:
                async for visit in rows:
                    files.write(visit)
        visited = [row["PeerID"] for row in reader.visits()]
        assert sorted(visited) == sorted(str(node.id) for node in nodes)
        tables = {row["PeerID"]: set(row["NeighborIDs"]) for row in reader.neighbors()}
        assert tables == {str(node.id): set(map(str, contacts(node))) for node in nodes}


async def test_an_error_of_the_block_ends_the_crawl_as_it_is() -> None:
    async with servers(3) as nodes, crawler() as host:
        introduce(nodes[0], *nodes)
        with pytest.raises(KeyError):
            async with crawl(
                host, [bootstrap_peer(nodes[0].addresses[0])], CrawlOptions(visits=ANY)
            ) as rows:
                async for _ in rows:
                    raise KeyError
