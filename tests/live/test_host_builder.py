"""`HostBuilder`: each part that it takes, and what a host made of them does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from carrick import Host, HostBuilder, Limits, PrivateKey, defaults
from carrick.addressing import parse_address
from carrick.errors import (
    CarrickError,
    DialError,
    InvalidAddress,
    KeyFileError,
    PrivateNetworkRequired,
    ProtocolNotSupported,
)
from carrick.identity import save_key
from carrick.network import BlockList, Stream
from carrick.peerstore import MemoryPeerstore, SqlitePeerstore, Ttl
from carrick.protocols.autonat import AutoNat
from carrick.protocols.dcutr import Dcutr
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping, PingOptions
from carrick.protocols.relay import AutoRelay, RelayClient
from carrick.transports.memory import MemoryTransport
from carrick.transports.security.tls import Tls
from tests.support.plaintext import Plaintext
from tests.support.swarms import echo, exchange
from tests.support.transports import MUXERS

MEMORY = HostBuilder().transports("memory")
LISTENING = MEMORY.listen("/memory/0")


async def meet(dialer: HostBuilder, listener: HostBuilder) -> tuple[str, str]:
    """Connect two such hosts; returns the security and the muxer that they agreed on."""
    async with listener.open() as there, dialer.open() as here:
        connection = await here.connect(there.addresses[0])
        await here.service(Ping).ping_once(connection)
        return connection.security, connection.muxer


# --- the description ------------------------------------------------------------------------------


async def test_each_method_returns_a_changed_copy() -> None:
    builder = HostBuilder()
    before = repr(builder)
    changed = [
        builder.identity(PrivateKey.generate()),
        builder.listen("/memory/0"),
        builder.announce("/ip4/192.0.2.1/tcp/1"),
        builder.transports("memory"),
        builder.security("tls"),
        builder.muxers("mplex"),
        builder.services(defaults=False),
        builder.handle("/echo/1", echo),
        builder.limits(connections=3),
        builder.gater(BlockList()),
        builder.peerstore(MemoryPeerstore()),
        builder.private_network(bytes(32)),
        builder.key_log(print),
        builder.trace_frames(print),
        builder.seed(1),
    ]
    assert all(copy != builder for copy in changed)
    assert repr(builder) == before


def test_a_description_shows_nothing_secret() -> None:
    key, psk = PrivateKey.generate(), random.Random(1).randbytes(32)
    text = repr(HostBuilder().identity(key).private_network(psk))
    assert str(psk) not in text
    assert psk.hex() not in text
    assert key.to_protobuf().hex() not in text
    assert repr(key.to_protobuf()) not in text


async def test_a_description_opened_twice_gives_two_hosts() -> None:
    async with LISTENING.open() as alice, LISTENING.open() as bob:
        assert alice.id != bob.id
        assert alice.addresses != bob.addresses
        assert alice.service(Ping) is not bob.service(Ping)
        assert alice.peerstore is not bob.peerstore
        await alice.connect(bob.addresses[0])


async def test_a_host_with_nothing_set() -> None:
    async with HostBuilder().open() as host:
        assert host.addresses == []
        for service in (Identify, Ping, AutoNat, RelayClient, AutoRelay, Dcutr):
            assert host.has_service(service)
        assert set(host.protocols) == {
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
            "/libp2p/autonat/1.0.0",
            "/libp2p/autonat/2/dial-request",
            "/libp2p/autonat/2/dial-back",
            "/libp2p/circuit/relay/0.2.0/stop",
            "/libp2p/dcutr",
        }
        assert not host.has_service(int)
        with pytest.raises(CarrickError, match="runs no int"):
            host.service(int)


# --- who and where --------------------------------------------------------------------------------


async def test_identity_from_a_key_and_from_a_file(tmp_path: Path) -> None:
    key = PrivateKey.generate()
    save_key(tmp_path / "key", key)
    for given in (key, tmp_path / "key", str(tmp_path / "key")):
        async with MEMORY.identity(given).open() as host:
            assert host.id == key.peer_id
            assert host.key == key
    with pytest.raises(KeyFileError):
        HostBuilder().identity(tmp_path / "nothing")


async def test_listening_on_several_addresses() -> None:
    builder = HostBuilder().transports("memory", "tcp").listen("/memory/0", "/ip4/127.0.0.1/tcp/0")
    async with builder.listen(parse_address("/memory/77")).open() as host:
        texts = [str(address) for address in host.addresses]
        assert [text.split("/")[1] for text in texts] == ["memory", "ip4", "memory"]
        assert texts[2] == f"/memory/77/p2p/{host.id}"
        assert "/tcp/0/" not in texts[1]
        assert await host.listen("/memory/78") == parse_address("/memory/78")
        assert len(host.addresses) == 4
    with pytest.raises(InvalidAddress):
        HostBuilder().listen("/nonsense")


async def test_announcing() -> None:
    told = "/dns4/node.example/tcp/4001"
    async with LISTENING.announce(told, append=["/ip4/192.0.2.9/tcp/1"]).open() as host:
        assert [str(address) for address in host.addresses] == [
            f"{told}/p2p/{host.id}",
            f"/ip4/192.0.2.9/tcp/1/p2p/{host.id}",
        ]
    with pytest.raises(ValueError, match="appear to be"):
        HostBuilder().announce(withhold=["ten slash eight"])


# --- transports, security, muxers -----------------------------------------------------------------


@pytest.mark.parametrize("security", ["noise", "tls"])
@pytest.mark.parametrize("muxer", ["yamux", "mplex"])
async def test_security_and_muxer_by_name(security: str, muxer: str) -> None:
    chosen = await meet(MEMORY.security(security).muxers(muxer), LISTENING.muxers("yamux", "mplex"))
    assert chosen == (
        {"noise": "/noise", "tls": "/tls/1.0.0"}[security],
        {"yamux": "/yamux/1.0.0", "mplex": "/mplex/6.7.0"}[muxer],
    )


async def test_parts_of_ones_own() -> None:
    parts = (
        HostBuilder()
        .transports(MemoryTransport)
        .security(Plaintext)
        .muxers(("/yamux/1.0.0", MUXERS["/yamux/1.0.0"]))
    )
    assert await meet(parts, parts.listen("/memory/0")) == ("/plaintext/2.0.0", "/yamux/1.0.0")


async def test_no_common_security() -> None:
    with pytest.raises(DialError) as caught:
        await meet(MEMORY.security("noise"), LISTENING.security("tls"))
    ((_, cause),) = caught.value.causes
    assert isinstance(cause, ProtocolNotSupported)
    assert "security" in str(cause)


@pytest.mark.parametrize("part", ["transports", "security", "muxers"])
async def test_unknown_names(part: str) -> None:
    with pytest.raises(CarrickError, match=r"unknown .* 'carrots'; there are "):
        async with getattr(HostBuilder(), part)("carrots").open():
            pass


# --- services and handlers ------------------------------------------------------------------------


class Note:
    """A service that keeps its host."""

    def __init__(self, text: str = "class") -> None:
        self.text = text
        self.host: Host | None = None

    async def run(self, host: Host, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        assert host.swarm.listen_addresses == ()  # services start before it listens
        self.host = host
        task_status.started()


@pytest.mark.parametrize(
    ("given", "text"),
    [(Note, "class"), (lambda: Note("function"), "function"), (Note("instance"), "instance")],
    ids=["class", "function", "instance"],
)
async def test_services_in_each_form(given: Any, text: str) -> None:
    async with LISTENING.services(given).open() as host:
        note = host.service(Note)
        assert note.text == text
        assert note.host is host
        assert host.has_service(Ping)


async def test_given_services_replace_the_default_ones_of_their_class() -> None:
    class MyPing(Ping):
        pass

    options = PingOptions(timeout=1.5)
    async with MEMORY.services(Ping(options)).open() as host:
        assert host.service(Ping).options is options
    async with MEMORY.services(lambda: MyPing(options)).open() as host:
        assert isinstance(host.service(Ping), MyPing)
        assert host.protocols.count("/ipfs/ping/1.0.0") == 1


async def test_without_default_services() -> None:
    bare = MEMORY.services(defaults=False)
    async with bare.open() as host:
        assert host.protocols == ()
    async with bare.services(Ping).open() as host:  # it stays so
        assert host.protocols == ("/ipfs/ping/1.0.0",)


async def test_handlers_are_there_before_it_listens() -> None:
    class Early:
        protocols: tuple[str, ...] = ()

        async def run(self, host: Host, *, task_status: Any = None) -> None:
            self.protocols = host.protocols
            task_status.started()

    async with LISTENING.handle("/echo/1", echo).services(Early).open() as host:
        assert "/echo/1" in host.service(Early).protocols
        async with MEMORY.open() as client:
            stream = await client.open_stream(host.addresses[0], "/echo/1")
            assert await exchange(stream, b"hello") == b"hello"


async def test_two_handlers_of_one_protocol() -> None:
    with pytest.raises(ValueError, match="has a handler already"):
        async with MEMORY.handle("/echo/1", echo).handle("/echo/1", echo).open():
            pass
    with pytest.raises(ValueError, match="has a handler already"):
        async with MEMORY.handle("/ipfs/ping/1.0.0", echo).open():
            pass


# --- limits, gater, resolver, peerstore, randomness -----------------------------------------------


async def test_limits() -> None:
    async with MEMORY.limits(connections=7).limits(dials=9).open() as host:
        assert (host.swarm.limits.connections, host.swarm.limits.dials) == (7, 9)
    async with MEMORY.limits(Limits(connections=5), dials=4).open() as host:
        assert (host.swarm.limits.connections, host.swarm.limits.dials) == (5, 4)
    with pytest.raises(ValueError, match="connections"):
        HostBuilder().limits(connection=7)


async def test_the_streams_of_a_connection_are_limited_in_its_muxer() -> None:
    few = MEMORY.limits(streams_per_connection=3)
    async with LISTENING.handle("/echo/1", echo).open() as server, few.open() as client:
        connection = await client.connect(server.addresses[0])
        with pytest.raises(CarrickError, match="streams_per_connection is 3"):
            for _ in range(4):  # the server's identify may take a place too
                await connection.open_stream("/echo/1")


async def test_a_gater() -> None:
    gater = BlockList()
    async with LISTENING.open() as server, MEMORY.gater(gater).open() as client:
        gater.block_peer(server.id)
        with pytest.raises(DialError, match="gater"):
            await client.connect(server.addresses[0])


async def test_a_resolver() -> None:
    class Names:
        asked: list[Multiaddr] = []
        answer: list[Multiaddr] = []

        async def resolve(self, address: Multiaddr) -> list[Multiaddr]:
            self.asked.append(address)
            return self.answer

    names = Names()
    builder = HostBuilder().listen("/ip4/127.0.0.1/tcp/0")
    client = HostBuilder().resolver(names)  # type: ignore[arg-type]
    async with builder.open() as server, client.open() as host:
        names.answer = server.addresses
        connection = await host.connect("/dns4/node.test/tcp/1")
        assert connection.peer_id == server.id
        assert [str(each) for each in names.asked] == ["/dns4/node.test/tcp/1"]


async def test_a_peerstore_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    async with LISTENING.open() as server:
        address = server.addresses[0]
        async with MEMORY.peerstore(path).open() as client:
            await client.connect(address)
        async with MEMORY.peerstore(str(path)).open() as client:  # it was closed and written
            assert (await client.connect(server.id)).peer_id == server.id
    SqlitePeerstore(path).close()


async def test_a_peerstore_of_ones_own_stays_open(tmp_path: Path) -> None:
    store = SqlitePeerstore(tmp_path / "peers.db")
    key = PrivateKey.generate().public_key
    for _ in range(2):
        async with MEMORY.peerstore(store).open() as host:
            assert host.peerstore is store
    store.add_addresses(key.peer_id, [parse_address("/memory/9")], Ttl.ADDRESS)
    store.close()


async def test_seeded_randomness() -> None:
    async with MEMORY.seed(5).open() as alice, MEMORY.seed(5).open() as bob:
        assert alice.rng.random() == bob.rng.random()
        assert alice.id != bob.id  # keys do not come from the seed


async def test_a_key_log_and_a_frame_trace() -> None:
    keys: list[str] = []
    frames: list[str] = []
    logged, traced = LISTENING.key_log(keys.append), MEMORY.trace_frames(frames.append)
    async with logged.open() as server, traced.open() as client:
        await client.connect(server.addresses[0])
    assert len(keys) == 1
    assert any('"frame"' in line for line in frames)
    assert '"closed"' in frames[-1]


# --- private networks -----------------------------------------------------------------------------


async def test_a_private_network() -> None:
    psk = bytes(range(32))
    members = LISTENING.private_network(psk)
    await meet(MEMORY.private_network(psk), members)
    for stranger in (MEMORY, MEMORY.private_network(bytes(32))):
        with pytest.raises(DialError):
            await meet(stranger, members)
    with pytest.raises(DialError):
        await meet(MEMORY.private_network(psk), LISTENING)


async def test_a_key_of_the_wrong_length() -> None:
    with pytest.raises((ValueError, CarrickError), match="32"):
        async with MEMORY.private_network(bytes(31)).open():
            pass


@pytest.mark.parametrize(("value", "forced"), [("1", True), ("0", False), ("", False)])
async def test_a_private_network_can_be_forced(
    value: str, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIBP2P_FORCE_PNET", value)
    async with MEMORY.private_network(bytes(32)).open():
        pass
    if forced:
        with pytest.raises(PrivateNetworkRequired):
            async with MEMORY.open():
                pass
    else:
        async with MEMORY.open():
            pass


async def test_a_handler_that_takes_relayed_streams() -> None:
    async def serve(stream: Stream) -> None:
        await stream.send_eof()

    builder = MEMORY.handle("/relayed/1", serve, allow_limited=True).handle("/direct/1", serve)
    async with builder.open() as host:
        find = host.swarm._handlers.find
        assert find("/relayed/1", limited=True) is not None
        assert find("/direct/1", limited=True) is None


def test_a_security_protocol_that_is_made_late_has_its_id() -> None:
    key = PrivateKey.generate()
    assert defaults.security_by_name("tls", key, None).id == Tls(key).id


async def test_how_many_observers_an_address_needs_is_what_was_said() -> None:
    async with HostBuilder().observers(1).open() as host:
        assert host.observed.observers == 1
