"""`Host`: reaching others, being reached, its services, its errors and its end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from carrick import Connection, Host, HostBuilder, PeerId, PrivateKey, Stream
from carrick.addressing import parse_address
from carrick.errors import (
    ConnectionClosed,
    ConnectionGated,
    DialError,
    InvalidAddress,
    InvalidPeerId,
    LimitedConnection,
    ListenError,
    NoAddresses,
    PeerIdMismatch,
    PeerTimeout,
    ProtocolNotSupported,
    UnsupportedAddress,
)
from carrick.network import ConnectionCode, events
from carrick.network.inbound import InboundStreams
from carrick.peerstore import Ttl
from carrick.transports.memory import MemoryTransport
from tests.support.swarms import Detour, echo, exchange

MEMORY = HostBuilder().transports("memory").security("noise")
LISTENING = MEMORY.listen("/memory/0").handle("/echo/1", echo)
NOWHERE = parse_address("/memory/4711")


@pytest.fixture
async def server() -> AsyncIterator[Host]:
    async with LISTENING.open() as host:
        yield host


@pytest.fixture
async def client() -> AsyncIterator[Host]:
    async with MEMORY.open() as host:
        yield host


def place(host: Host) -> Multiaddr:
    """Where it listens, without its id."""
    return host.swarm.listen_addresses[0]


# --- whom to reach --------------------------------------------------------------------------------


async def test_every_way_to_name_a_peer(server: Host) -> None:
    full, bare = server.addresses[0], place(server)
    targets: list[Any] = [full, str(full), bare, str(bare), [full], [NOWHERE, bare, full]]
    for target in targets:
        async with MEMORY.open() as client:
            assert (await client.connect(target)).peer_id == server.id
            stream = await client.open_stream(server.id, "/echo/1")
            assert await exchange(stream, b"hello") == b"hello"


async def test_a_peer_id_is_looked_up_in_the_peerstore(server: Host) -> None:
    for target in (server.id, str(server.id), server.id.to_cid(), f"/p2p/{server.id}"):
        async with MEMORY.open() as client:
            with pytest.raises(NoAddresses):
                await client.connect(target)
            client.peerstore.add_addresses(server.id, [place(server)], Ttl.ADDRESS)
            assert (await client.connect(target)).peer_id == server.id


async def test_a_peer_that_was_dialled_is_known(server: Host, client: Host) -> None:
    await client.connect(server.addresses[0])
    await client.disconnect(server.id)
    assert client.connections == ()
    assert place(server) in client.peerstore.addresses(server.id)
    await client.connect(server.id)


async def test_sources_of_addresses_are_asked(server: Host, client: Host) -> None:
    async def source(peer: PeerId) -> Iterable[Multiaddr]:
        return [place(server)] if peer == server.id else []

    client.add_address_source(source)
    assert (await client.connect(server.id)).peer_id == server.id


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/nonsense/1", InvalidAddress),
        ("nonsense", InvalidPeerId),
        ([], NoAddresses),
        (PrivateKey.generate().peer_id, NoAddresses),
        ("/ip4/127.0.0.1/tcp/1", DialError),
        (str(NOWHERE), DialError),
    ],
    ids=["address", "peer id", "empty", "unknown peer", "no transport", "nobody"],
)
async def test_targets_that_lead_nowhere(client: Host, target: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await client.connect(target)


async def test_addresses_of_two_peers(server: Host, client: Host) -> None:
    other = PrivateKey.generate().peer_id
    with pytest.raises(NoAddresses, match="of one peer"):
        await client.connect([server.addresses[0], parse_address(f"/memory/1/p2p/{other}")])


async def test_the_wrong_peer(server: Host, client: Host) -> None:
    other = PrivateKey.generate().peer_id
    with pytest.raises(DialError) as caught:
        await client.connect(f"{place(server)}/p2p/{other}")
    assert caught.value.peer == other
    ((address, cause),) = caught.value.causes
    assert address == place(server)
    assert isinstance(cause, PeerIdMismatch)
    assert client.connections == ()


async def test_oneself(server: Host) -> None:
    with pytest.raises(DialError, match="this host itself"):
        await server.connect(server.id)
    with pytest.raises(DialError, match="this host itself"):
        await server.connect(server.addresses[0])
    with pytest.raises(DialError) as caught:
        await server.connect(place(server))
    assert isinstance(caught.value.causes[0][1], ConnectionGated)
    assert server.connections == ()


async def test_a_connection_that_is_there_is_taken(server: Host, client: Host) -> None:
    connection = await client.connect(server.addresses[0])
    assert await client.connect(server.id) is connection
    assert client.connections == (connection,)
    stream = await client.open_stream(server.id, "/echo/1")
    assert stream.connection is connection


# --- streams --------------------------------------------------------------------------------------


async def test_open_stream_dials_and_negotiates(server: Host, client: Host) -> None:
    stream = await client.open_stream(server.addresses[0], "/shout/1", "/echo/1")
    assert (stream.protocol, stream.peer_id) == ("/echo/1", server.id)
    assert await exchange(stream, b"hello") == b"hello"


async def test_a_protocol_that_is_not_supported(server: Host, client: Host) -> None:
    connection = await client.connect(server.addresses[0])
    targets: list[Any] = [server.addresses[0], server.id, connection]
    for target in targets:
        with pytest.raises(ProtocolNotSupported) as caught:
            await client.open_stream(target, "/shout/1")
        assert caught.value.peer == server.id
        with pytest.raises(ValueError, match="at least one protocol"):
            await client.open_stream(target)


async def test_a_handler_as_a_decorator(server: Host, client: Host) -> None:
    @server.handle("/shout/1")
    async def shout(stream: Stream) -> None:
        await stream.send_all((await stream.receive_some()).upper())

    assert shout.__name__ == "shout"  # it stays the function
    assert server.handle("/shout/2", shout) is shout
    for protocol in ("/shout/1", "/shout/2"):
        async with await client.open_stream(server.addresses[0], protocol) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"HELLO"
    with pytest.raises(ValueError, match="has a handler already"):
        server.handle("/shout/1", shout)


async def test_a_peer_that_does_not_answer(autojump_clock: trio.testing.MockClock) -> None:
    transport = MEMORY.open()
    async with transport as host:
        silent = Detour(host.swarm.transports[0], {NOWHERE: (60, NOWHERE)})
        host.swarm.dialer.transports = [silent]
        start = trio.current_time()
        with pytest.raises(PeerTimeout):
            await host.connect(NOWHERE, timeout=2)
        with pytest.raises(PeerTimeout):
            await host.open_stream(NOWHERE, "/echo/1", timeout=3)
        assert trio.current_time() - start == pytest.approx(5)


async def test_a_stream_whose_proposal_is_not_answered(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LISTENING.open() as server, MEMORY.open() as client:
        connection = await client.connect(server.addresses[0])
        monkeypatch.setattr(InboundStreams, "_negotiate", lambda *_: trio.sleep_forever())
        start = trio.current_time()
        targets: list[Any] = [connection, server.id]
        for target in targets:
            with pytest.raises(PeerTimeout):
                await client.open_stream(target, "/shout/1", timeout=2)
        assert trio.current_time() - start == pytest.approx(4)


async def test_relayed_connections_are_opt_in(autojump_clock: trio.testing.MockClock) -> None:
    async with LISTENING.open() as server, MEMORY.open() as client:
        relayed = parse_address("/memory/99")
        route = {relayed: (0.0, place(server))}
        client.swarm.dialer.transports = [Detour(client.swarm.transports[0], route, limited=True)]
        connection = await client.connect([relayed])
        assert connection.is_limited
        targets: list[Any] = [connection, server.id]
        for target in targets:
            with pytest.raises(LimitedConnection):
                await client.open_stream(target, "/echo/1")
            stream = await client.open_stream(target, "/echo/1", allow_limited=True)
            assert await exchange(stream, b"x") == b"x"


# --- listening ------------------------------------------------------------------------------------


async def test_a_port_in_use_comes_out_unwrapped() -> None:
    builder = HostBuilder().listen("/ip4/127.0.0.1/tcp/0")
    async with builder.open() as host:
        taken = place(host)
        with pytest.raises(ListenError, match=re.escape(str(taken))):
            async with HostBuilder().listen(taken).open():
                pytest.fail("it cannot be open")
        async with HostBuilder().open() as other:
            with pytest.raises(ListenError):
                await other.listen(taken)
            await other.connect(host.addresses[0])  # nothing else is disturbed


async def test_an_address_that_no_transport_listens_on() -> None:
    with pytest.raises(UnsupportedAddress):
        async with MEMORY.listen("/ip4/127.0.0.1/tcp/0").open():
            pass


# --- errors, services, the end --------------------------------------------------------------------


async def test_an_error_of_the_block_comes_out_unwrapped(server: Host) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with MEMORY.open() as client:
            await client.connect(server.addresses[0])
            raise error
    assert caught.value is error


async def test_a_block_that_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with LISTENING.open():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


class Failing:
    """A service that fails: at once, or when it is told to."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.now = trio.Event()

    async def run(self, host: Host, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        if not self.at_once:
            task_status.started()
            await self.now.wait()
        raise ZeroDivisionError("the service failed")


async def test_a_service_that_does_not_start() -> None:
    with pytest.raises(ZeroDivisionError):
        async with LISTENING.services(lambda: Failing(at_once=True)).open():
            pytest.fail("it cannot be open")


@pytest.mark.parametrize("nested", [False, True])
async def test_a_service_that_crashes_ends_the_host_with_its_error(nested: bool) -> None:
    with trio.fail_after(5), pytest.raises(ZeroDivisionError, match="the service failed"):
        async with LISTENING.services(Failing).open() as host:
            host.service(Failing).now.set()
            if nested:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
            await trio.sleep_forever()


async def test_a_service_and_the_block_fail() -> None:
    with trio.fail_after(5), pytest.RaisesGroup(KeyError, ZeroDivisionError):
        async with LISTENING.services(Failing).open() as host:
            host.service(Failing).now.set()
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("mine")


async def test_closing_tells_the_peers(server: Host) -> None:
    with server.events.subscribe(events.ConnectionClosed) as closed:
        async with MEMORY.open() as client:
            connection = await client.connect(server.addresses[0])
            stream = await client.open_stream(connection, "/echo/1")
            assert await exchange(stream, b"x") == b"x"
            (theirs,) = server.connections
        with trio.fail_after(1):
            event = await anext(closed)
        assert event.connection is theirs
        error = theirs.muxed.closed_error()
        assert (error.remote, error.code) == (True, ConnectionCode.SHUTDOWN)
    with pytest.raises(ConnectionClosed):
        await stream.send_all(b"y")
    assert connection.closed and server.connections == ()


async def test_a_closed_host_is_of_no_use(server: Host) -> None:
    async with MEMORY.open() as client:
        pass
    with pytest.raises(DialError):
        await client.connect(server.addresses[0])


# --- the hooks ------------------------------------------------------------------------------------


async def test_connection_steps_end_before_connect_returns(server: Host, client: Host) -> None:
    seen: list[Connection] = []

    async def step(connection: Connection) -> None:
        await trio.lowlevel.checkpoint()
        assert not connection.announced.is_set()
        # The host's own bookkeeping comes first: the peerstore knows.
        assert place(server) in client.peerstore.addresses(connection.peer_id)
        seen.append(connection)

    client.add_connection_step(step)
    connection = await client.connect(server.addresses[0])
    assert seen == [connection]


async def test_own_addresses_of_services(server: Host) -> None:
    mapped = parse_address("/ip4/192.0.2.1/tcp/4001")
    server.add_own_addresses(lambda: [mapped])
    assert [str(each) for each in server.addresses] == [
        f"{place(server)}/p2p/{server.id}",
        f"{mapped}/p2p/{server.id}",
    ]


async def test_transports_may_be_added(server: Host) -> None:
    upgraders: list[MemoryTransport] = []

    def make(upgrader: Any) -> MemoryTransport:
        upgraders.append(MemoryTransport(upgrader))
        return upgraders[-1]

    async with HostBuilder().transports(make).open() as client:
        assert upgraders[0] in client.swarm.transports
        await client.connect(server.addresses[0])


@pytest.mark.parametrize("steps", range(0, 24, 2))
async def test_a_host_that_is_cancelled_while_it_opens(steps: int) -> None:
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            nursery.start_soon(cancel)
            async with LISTENING.open():
                await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_what_a_peer_spoke_when_we_last_met(server: Host, client: Host) -> None:
    """Its protocols are proposed lazily from the start; a refusal shows at the first receive.

    Where there is a choice it is asked: it may have changed."""
    await client.connect(place(server))
    await client.disconnect(server.id)
    server.swarm.unhandle("/echo/1")
    server.handle("/echo/2", echo)
    stream = await client.open_stream(server.id, "/echo/1")
    with pytest.raises(ProtocolNotSupported):
        await exchange(stream, b"hello")
    await client.disconnect(server.id)
    stream = await client.open_stream(server.id, "/echo/1", "/echo/2")
    assert await exchange(stream, b"hello") == b"hello"
