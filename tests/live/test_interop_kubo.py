"""The DHT with kubo: it finds what Carrick provides, and the other way round, in both networks.

As root, in a network namespace without a way out, where nodes have public addresses too. Without
root on loopback, and in the local network's DHT alone.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from carrick import Host, HostBuilder, PeerId, PrivateKey
from carrick.addressing import Cid, parse_address
from carrick.errors import CarrickError
from carrick.identity import KeyType
from carrick.protocols.identify import PeerIdentified
from carrick.protocols.kademlia import (
    LAN,
    WAN,
    IpnsRecord,
    Kademlia,
    KademliaOptions,
    Mode,
    NetworkSettings,
    ipns_key,
)
from carrick.protocols.kademlia.keyspace import peer_key
from carrick.protocols.ping import Ping
from carrick.transports.security.pnet import encode_swarm_key
from interop.gotools.build import find
from interop.gotools.daemon import Kubo, Refused, kubo
from interop.runner.network import own_namespace
from tests.support.commands import environment

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
CONTENT = Cid.parse(CID).multihash
LOOPBACK = "127.0.0.1"
# Public ones; each in a network of its own, as the table has few of one.
THEIRS = ("11.1.0.1", "11.2.0.1")
OURS = ("11.11.0.1", "11.12.0.1", "11.13.0.1", "11.14.0.1", "11.15.0.1")
PATIENCE = 30.0  # s

T = TypeVar("T")


# --- who plays ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Two nodes of kubo that know each other, and where Carrick's can be.

    Attributes:
        settings: of the DHT that they meet in.
        ips: Carrick's.
    """

    settings: NetworkSettings
    kubos: tuple[Kubo, Kubo]
    ips: tuple[str, ...]

    @property
    def number(self) -> int:
        """Of the DHT among `Kademlia.networks`."""
        return (WAN, LAN).index(self.settings)

    async def contacts(self, node: Kubo) -> set[str]:
        """Whom a node of kubo has in its table."""
        name = self.settings.scope.value
        (table,) = [json.loads(line) for line in (await node.run(*STATS, name)).splitlines()]
        return {peer["ID"] for bucket in table["Buckets"] or () for peer in bucket["Peers"] or ()}


STATS = ("stats", "dht", "--enc=json")


@pytest.fixture(scope="module", params=["lan", "wan"])
def place(request: pytest.FixtureRequest) -> Iterator[str]:
    if find("kubo") is None:
        missing = "not built: python -m interop.gotools.build kubo"
    elif request.param == "wan" and os.geteuid():
        missing = "public addresses need a network namespace, and that root"
    else:
        missing = ""
    if missing:
        warnings.warn(f"NO DHT TEST WITH kubo: {missing}", stacklevel=1)
        pytest.skip(missing)
    with nullcontext() if os.geteuid() else own_namespace([*THEIRS, *OURS]):
        yield request.param


@pytest.fixture
async def world(place: str) -> AsyncIterator[World]:
    wide = place == "wan"
    theirs = THEIRS if wide else (LOOPBACK,) * len(THEIRS)
    async with kubo(theirs[0]) as first, kubo(theirs[1], bootstrap=first.addresses) as second:
        yield World(WAN if wide else LAN, (first, second), OURS if wide else (LOOPBACK,) * 5)


@asynccontextmanager
async def node(
    world: World, number: int, *known: Kubo | Host, mode: Mode = Mode.SERVER
) -> AsyncIterator[Host]:
    """One of Carrick, which has these in its table."""
    where = [parse_address(address(each)) for each in known]
    ip = world.ips[number]
    builder = (
        HostBuilder()
        .transports("tcp", "quic")
        .listen(f"/ip4/{ip}/tcp/0", f"/ip4/{ip}/udp/0/quic-v1")
        .services(Kademlia(KademliaOptions(mode=mode, bootstrap=where)))
    )
    async with builder.open() as host:
        for each in known:
            await knows(world, host, each)
        yield host


def dht(host: Host) -> Kademlia:
    return host.service(Kademlia)


def address(of: Kubo | Host) -> str:
    return of.addresses[0] if isinstance(of, Kubo) else str(of.addresses[0])


def peer_id(of: Kubo | Host) -> PeerId:
    return PeerId.parse(of.id) if isinstance(of, Kubo) else of.id


async def knows(world: World, host: Host, other: Kubo | Host) -> None:
    table = dht(host).networks[world.number].dht.table

    async def ask() -> bool:
        return peer_id(other) in table

    await until(ask)


async def until(ask: Callable[[], Awaitable[T | None]]) -> T:
    """What comes of it as soon as that is something: nobody tells when others have learnt it."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                if said := await ask():
                    return said
            except (Refused, CarrickError):
                pass
            await trio.sleep(0.05)


async def is_known(world: World, to: Kubo, host: Host) -> None:
    async def ask() -> bool:
        return str(host.id) in await world.contacts(to)

    await until(ask)


# --- content --------------------------------------------------------------------------------------


async def test_kubo_provides_and_carrick_finds(world: World) -> None:
    """Of a server of Carrick, which knows kubo, and which the seeker knows alone."""
    provider = world.kubos[0]
    async with node(world, 0, provider) as server, node(world, 1, server) as seeker:
        await is_known(world, provider, server)
        content = os.urandom(100)
        cid = (await provider.run("add", "--quieter", "--cid-version=1", stdin=content)).strip()
        await provider.run("routing", "provide", cid)
        key = Cid.parse(cid).multihash
        (found,) = await until(lambda: dht(seeker).find_providers(key))
        assert str(found.id) == provider.id
        told = {f"{each}/p2p/{found.id}" for each in found.addresses}
        assert told == set(provider.addresses)
        connection = await seeker.connect(found.id)
        assert connection.peer_id == found.id


async def test_carrick_provides_and_kubo_finds(world: World) -> None:
    """The second node of kubo, which asks others: it may not know the provider."""
    first, second = world.kubos
    async with node(world, 0, first) as provider:
        assert await dht(provider).provide(CONTENT) >= 1

        async def ask() -> bool:
            said = await second.run("routing", "findprovs", CID)
            return str(provider.id) in said.split()

        await until(ask)
        # It fetches nothing, as we have nothing to fetch; but it can come to us.
        await second.run("ping", "--count=1", str(provider.id))


async def test_carrick_finds_what_carrick_provides_by_kubo_alone(world: World) -> None:
    first, second = world.kubos
    async with (
        node(world, 0, first, mode=Mode.CLIENT) as provider,
        node(world, 1, second, mode=Mode.CLIENT) as seeker,
    ):
        await until(lambda: dht(provider).provide(CONTENT[:-1] + b"\0"))

        async def ask() -> list[Any]:
            return await dht(seeker).find_providers(CONTENT[:-1] + b"\0")

        (found,) = await until(ask)
        assert found.id == provider.id
        assert (await seeker.connect(found.id)).peer_id == provider.id


# --- peers ----------------------------------------------------------------------------------------


async def test_finding_peers(world: World) -> None:
    first, second = world.kubos
    async with node(world, 0, first) as host, node(world, 1, host) as seeker:
        await is_known(world, first, host)

        async def theirs() -> list[str]:
            return (await second.run("routing", "findpeer", str(host.id))).split()

        said = await until(theirs)
        assert {f"{each}/p2p/{host.id}" for each in said} >= {str(each) for each in host.addresses}
        found = await dht(seeker).find_peer(PeerId.parse(second.id))
        assert {f"{each}/p2p/{second.id}" for each in found.addresses} == set(second.addresses)
        assert str((await seeker.connect(found.id)).peer_id) == second.id


async def test_all_agree_about_the_closest(world: World) -> None:
    """Two of kubo, five of Carrick; each entered by way of another."""
    first, second = world.kubos
    async with AsyncExitStack() as stack:
        everybody: list[Kubo | Host] = [first, second]
        hosts: list[Host] = []
        for number in range(len(world.ips)):
            host = await stack.enter_async_context(node(world, number, everybody[number]))
            hosts.append(host)
            everybody.append(host)
        for host in hosts:
            await is_known(world, first, host)
            await is_known(world, second, host)
            for each in everybody:
                if each is not host:
                    await knows(world, host, each)
        target = PrivateKey.generate().peer_id
        nearest = sorted(map(peer_id, everybody), key=lambda id: peer_key(id) ^ peer_key(target))
        for host in hosts:
            found = await dht(host).networks[world.number].dht.closest_peers(target.to_bytes())
            assert [each.id for each in found.closest] == [id for id in nearest if id != host.id]
        for each in world.kubos:
            said = (await each.run("dht", "query", str(target))).split()
            assert sorted(said) == sorted(str(id) for id in nearest if str(id) != each.id)


async def test_clients_are_in_no_table_of_kubo(world: World) -> None:
    first = world.kubos[0]
    async with (
        node(world, 0, first, mode=Mode.CLIENT) as client,
        node(world, 1, first) as server,
    ):
        await dht(client).closest_peers(CONTENT)
        await is_known(world, first, server)
        assert str(client.id) not in await world.contacts(first)


async def test_a_client_of_kubo_is_in_no_table_of_ours(world: World) -> None:
    """It finds what is provided all the same."""
    async with node(world, 0, world.kubos[0]) as host:
        assert await dht(host).provide(CONTENT[:-1] + b"\1") >= 1
        cid = f"f0155{CONTENT[:-1].hex()}01"  # version 1, raw, in base16
        ip = world.ips[1]
        async with kubo(ip, bootstrap=[address(host)], routing="dhtclient") as client:

            async def ask() -> bool:
                return str(host.id) in (await client.run("routing", "findprovs", cid)).split()

            await until(ask)
            assert peer_id(client) not in dht(host).networks[world.number].dht.table
            assert str(host.id) in await world.contacts(client)


async def test_kubo_enters_by_carrick(world: World) -> None:
    async with (
        node(world, 0) as host,
        kubo(world.ips[1], bootstrap=[address(host)]) as newcomer,
    ):
        await is_known(world, newcomer, host)
        await knows(world, host, newcomer)


# --- names ----------------------------------------------------------------------------------------


async def test_kubo_publishes_a_name_and_carrick_reads_it(world: World) -> None:
    first, second = world.kubos
    async with node(world, 0, first) as server, node(world, 1, server) as seeker:
        await is_known(world, first, server)
        name = ipns_key(peer_id(first))
        for cid in (CID, "bafkqaaa"):
            await first.run("name", "publish", "--resolve=false", f"/ipfs/{cid}")

            async def newest(cid: str = cid) -> IpnsRecord | None:
                record = IpnsRecord.parse(await dht(seeker).get_value(name, quorum=0))
                return record if record.value == f"/ipfs/{cid}".encode() else None

            record = await until(newest)
        record.verify(peer_id(first), time.time())
        assert record.sequence >= 1


@pytest.mark.parametrize("words", [("--type=rsa",), ("--type=ed25519", "--v1compat=false")])
async def test_names_of_other_keys_and_without_version_1(
    world: World, words: tuple[str, ...]
) -> None:
    first, second = world.kubos
    type, *more = words
    said = await first.run("key", "gen", type, "--ipns-base=b58mh", "other")
    name = PeerId.parse(said.strip())
    await first.run("name", "publish", "--resolve=false", "--key=other", *more, f"/ipfs/{CID}")
    async with node(world, 0, second, mode=Mode.CLIENT) as seeker:
        record = IpnsRecord.parse(await dht(seeker).get_value(ipns_key(name)))
    record.verify(name, time.time())
    assert record.value == f"/ipfs/{CID}".encode()


@pytest.mark.parametrize("type", KeyType, ids=[each.name for each in KeyType])
async def test_carrick_publishes_a_name_and_kubo_resolves_it(world: World, type: KeyType) -> None:
    first, second = world.kubos
    key = PrivateKey.generate(type)
    async with node(world, 0, first) as host:
        for sequence, cid in ((1, CID), (2, "bafkqaaa")):
            record = IpnsRecord.create(key, f"/ipfs/{cid}", now=time.time(), sequence=sequence)
            assert await dht(host).put_value(ipns_key(key.peer_id), record.encoded) >= 1

            async def resolved(cid: str = cid) -> bool:
                said = await second.run("name", "resolve", "--nocache", f"/ipns/{key.peer_id}")
                return said.strip() == f"/ipfs/{cid}"

            await until(resolved)


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "quic-v1"])
async def test_ping_identify_and_swarm(world: World, transport: str) -> None:
    first = world.kubos[0]
    async with node(world, 0) as host:
        (where,) = [str(each) for each in host.addresses if f"/{transport}" in str(each)]
        await first.run("swarm", "connect", where)
        assert "Average latency" in await first.run("ping", "--count=1", str(host.id))
        said = await first.ask("id", str(host.id))
        assert said["ID"] == str(host.id)
        assert said["AgentVersion"].startswith("carrick/")
        assert set(said["Addresses"]) >= {str(each) for each in host.addresses}
        assert {world.settings.protocol, "/ipfs/ping/1.0.0", "/ipfs/id/1.0.0"} <= set(
            said["Protocols"]
        )
        peers = (await first.ask("swarm", "peers"))["Peers"]
        assert [each["Addr"] for each in peers if each["Peer"] == str(host.id)] == [
            where.partition("/p2p/")[0]
        ]

    async with node(world, 0) as host:
        (where,) = [each for each in first.addresses if f"/{transport}" in each]
        with host.events.subscribe(PeerIdentified) as events:
            await host.connect(where)
            async for event in events:
                assert isinstance(event, PeerIdentified)
                break
        assert (event.info.agent_version or "").startswith("kubo/")
        assert {WAN.protocol, LAN.protocol, "/ipfs/bitswap/1.2.0"} <= set(event.info.protocols)
        assert await host.service(Ping).ping_once(peer_id(first)) < PATIENCE


@pytest.mark.parametrize("place", ["lan"], indirect=True)
async def test_a_private_network(place: str) -> None:
    """Of those who have its key: as kubo reads the file, and as it ciphers."""
    psk = os.urandom(32)
    alike = HostBuilder().transports("tcp").listen(f"/ip4/{LOOPBACK}/tcp/0")
    async with kubo(LOOPBACK, swarm_key=encode_swarm_key(psk)) as member:
        where = parse_address(address(member))
        service = Kademlia(KademliaOptions(mode=Mode.SERVER, bootstrap=[where]))
        async with alike.private_network(psk).services(service).open() as host:
            world = World(LAN, (member, member), ())
            await knows(world, host, member)
            await is_known(world, member, host)
            await dht(host).provide(CONTENT)
            assert str(host.id) in (await member.run("routing", "findprovs", CID)).split()
            await member.run("ping", "--count=1", str(host.id))
        for stranger in (alike, alike.private_network(bytes(32))):
            async with stranger.open() as host:
                with pytest.raises(CarrickError):
                    await host.connect(where, timeout=2.0)


# --- the command ----------------------------------------------------------------------------------


async def carrick(home: Path, *words: str) -> Any:
    """What the command answers; it runs in the namespace of this thread."""
    process = subprocess.Popen(
        [sys.executable, "-m", "carrick", *words, "--json"],
        env=environment(home),
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 0, out
    return json.loads(out)


async def test_the_command_asks_kubo(world: World, tmp_path: Path) -> None:
    first, second = world.kubos
    cid = (await first.run("add", "--quieter", "--cid-version=1", stdin=b"by hand")).strip()
    await first.run("routing", "provide", cid)
    await first.run("name", "publish", "--resolve=false", f"/ipfs/{cid}")
    by = ("--protocol", world.settings.protocol, "--bootstrap", second.addresses[0])
    found = await carrick(tmp_path, "dht", "findprovs", cid, *by)
    assert [each["id"] for each in found["providers"]] == [first.id]
    found = await carrick(tmp_path, "dht", "findpeer", first.id, *by)
    assert {f"{each}/p2p/{first.id}" for each in found["addresses"]} == set(first.addresses)
    found = await carrick(tmp_path, "dht", "get", f"/ipns/{first.id}", *by)
    record = IpnsRecord.parse(base64.b64decode(found["value"]))
    assert record.value == f"/ipfs/{cid}".encode()


async def test_a_crawl_of_both(world: World, tmp_path: Path) -> None:
    first, second = world.kubos
    async with node(world, 0, first) as one, node(world, 1, one, second) as two:
        for host in (one, two):
            await is_known(world, first, host)
        folder = tmp_path / "out"
        by = ("--protocol", world.settings.protocol, "--bootstrap", address(one))
        await carrick(tmp_path, "crawl", "--neighbors", "--json-out", str(folder), *by)
        visits = rows(folder, "visits")
        for each in world.kubos:
            assert visits[each.id]["AgentVersion"].startswith("kubo/")
            spoken = set(visits[each.id]["Protocols"])
            assert {world.settings.protocol, "/ipfs/bitswap/1.2.0"} <= spoken
        for host in (one, two):
            assert visits[str(host.id)]["AgentVersion"].startswith("carrick/")
        contacts = set(rows(folder, "neighbors")[first.id]["NeighborIDs"])
        assert contacts == await world.contacts(first)


def rows(folder: Path, name: str) -> dict[str, Any]:
    """Of a file of the crawl, by peer."""
    (file,) = folder.glob(f"*_{name}.ndjson")
    return {row["PeerID"]: row for row in map(json.loads, file.read_text().splitlines())}
