"""The TCP transport and the kernel's sockets: ports, families, limits of the system.

What every transport must do is in `test_transport_conformance.py`.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from carrick.addressing import parse_address, tcp_endpoint
from carrick.errors import (
    CarrickError,
    DialError,
    ListenError,
    PeerTimeout,
    ProtocolNotSupported,
    UnsupportedAddress,
)
from carrick.identity import PrivateKey
from carrick.interfaces import ByteListener, ByteSocket, Endpoint
from carrick.sockets import KernelListener, KernelSocket, KernelSockets
from carrick.transports.bytestream import ByteStreamConnection, Upgrader
from carrick.transports.tcp import TcpTransport
from carrick.transports.tcp.transport import TcpListener
from tests.support.transports import MUXERS, SECURITIES, Unlimited
from tests.support.waiting import until

CORE = Path(__file__).parents[2] / "core"
V4 = parse_address("/ip4/127.0.0.1/tcp/0")
V6 = parse_address("/ip6/::1/tcp/0")


def make(*securities: str, reuse_port: bool = True, sockets: object = None) -> TcpTransport:
    key = PrivateKey.generate()
    chosen = [SECURITIES[name](key) for name in securities or ("noise",)]
    upgrader = Upgrader(chosen, {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]})
    return TcpTransport(upgrader, reuse_port=reuse_port, sockets=sockets)  # type: ignore[arg-type]


class Server:
    """Accepts and upgrades whatever comes."""

    def __init__(self, listener: TcpListener) -> None:
        self.listener = listener
        self.address = listener.address
        self.port = listener.endpoint[1]
        self.accepted = 0
        self.connections: list[ByteStreamConnection] = []

    async def run(self, nursery: trio.Nursery) -> None:
        while True:
            inbound = await self.listener.accept()
            self.accepted += 1
            nursery.start_soon(self._upgrade, inbound)

    async def _upgrade(self, inbound: object) -> None:
        try:
            self.connections.append(await inbound.upgrade(Unlimited()))  # type: ignore[attr-defined]
        except CarrickError:
            return


@asynccontextmanager
async def serving(
    *securities: str, at: Multiaddr = V4, transport: TcpTransport | None = None
) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        server = Server(await (transport or make(*securities)).listen(at))
        nursery.start_soon(server.run, nursery)
        try:
            with trio.fail_after(10):
                yield server
        finally:
            nursery.cancel_scope.cancel()
            server.listener.close()
            for connection in server.connections:
                connection.abort()


async def dial(transport: TcpTransport, address: Multiaddr) -> ByteStreamConnection:
    connection = await transport.dial(address, None, budget=Unlimited())
    connection.flush()  # the end of the handshake, as `run` does
    return connection


def port(address: Multiaddr) -> int:
    endpoint = tcp_endpoint(address)
    assert endpoint is not None
    return endpoint[1]


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["/memory/1", "/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/tcp/1/ws", "/dns4/a.test/tcp/1"]
)
async def test_other_addresses_are_not_its_own(text: str) -> None:
    address, transport = parse_address(text), make()
    assert not transport.can_dial(address)
    assert not transport.can_listen(address)
    with pytest.raises(UnsupportedAddress):
        await dial(transport, address)
    with pytest.raises(UnsupportedAddress):
        await transport.listen(address)


async def test_ipv6() -> None:
    transport = make()
    listener = await transport.listen(V6)
    async with serving(at=V6) as six, serving(at=V4) as four:
        connection = await dial(transport, six.address)
        assert port(connection.local_address) == listener.endpoint[1]
        assert str(connection.local_address).startswith("/ip6/::1/tcp/")
        # A listener of the other family has no port to dial from.
        assert port((await dial(transport, four.address)).local_address) != listener.endpoint[1]
    listener.close()


async def test_an_ipv6_wildcard_leaves_ipv4_alone() -> None:
    transport = make()
    six = await transport.listen(parse_address("/ip6/::/tcp/0"))
    four = await transport.listen(parse_address(f"/ip4/0.0.0.0/tcp/{six.endpoint[1]}"))
    assert str(six.address) == f"/ip6/::/tcp/{six.endpoint[1]}"
    assert str(four.address) == f"/ip4/0.0.0.0/tcp/{six.endpoint[1]}"
    six.close()
    four.close()


# --- the port that dials leave from ---------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_dials_leave_from_the_listening_port(host: str) -> None:
    transport = make()
    listener = await transport.listen(parse_address(f"/ip4/{host}/tcp/0"))
    async with serving() as server:
        connection = await dial(transport, server.address)
        assert port(connection.local_address) == listener.endpoint[1]
        await until(lambda: server.connections)
        (accepted,) = server.connections
        assert accepted.remote_address == connection.local_address
    listener.close()


async def test_a_dial_back_leaves_from_another_port() -> None:
    transport = make()
    listener = await transport.listen(V4)
    async with serving() as server:
        connection = await transport.dial_back(server.address, None, budget=Unlimited())
        assert port(connection.local_address) != listener.endpoint[1]
    listener.close()


async def test_a_pair_of_ports_that_is_taken() -> None:
    transport = make()
    listener = await transport.listen(V4)
    async with serving() as server:
        first = await dial(transport, server.address)
        second = await dial(transport, server.address)
        assert port(first.local_address) == listener.endpoint[1]
        assert port(second.local_address) != listener.endpoint[1]
    listener.close()


async def test_twenty_dials_at_once() -> None:
    transport = make()
    listener = await transport.listen(V4)
    ports: list[int] = []

    async with serving() as server, serving() as other:

        async def one(target: Server) -> None:
            ports.append(port((await dial(transport, target.address)).local_address))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one, server)
                nursery.start_soon(one, other)
        assert ports.count(listener.endpoint[1]) == 2  # one to each
        assert len(set(ports)) == 19
    listener.close()


async def test_without_a_listener_or_without_reuse_any_port_will_do() -> None:
    async with serving() as server:
        assert port((await dial(make(), server.address)).local_address)
        transport = make(reuse_port=False)
        listener = await transport.listen(V4)
        connection = await dial(transport, server.address)
        assert port(connection.local_address) != listener.endpoint[1]
        listener.close()

        transport = make()
        listener = await transport.listen(V4)
        listener.close()
        connection = await dial(transport, server.address)
        assert port(connection.local_address) != listener.endpoint[1]


class Recording:
    """A socket opener that only notes from where it is to connect."""

    def __init__(self, *outcomes: int) -> None:
        self.outcomes = list(outcomes)
        self.locals: list[Endpoint | None] = []

    async def connect_tcp(self, remote: Endpoint, *, local: Endpoint | None = None) -> ByteSocket:
        self.locals.append(local)
        raise OSError(self.outcomes.pop(0) if self.outcomes else errno.ECONNREFUSED, "no")

    async def listen_tcp(self, local: Endpoint, *, backlog: int = 512) -> ByteListener:
        class Bound:
            pass

        bound = Bound()
        bound.local = local  # type: ignore[attr-defined]
        return bound  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("listening", "remote", "local"),
    [
        ("/ip4/127.0.0.1/tcp/5", "/ip4/1.2.3.4/tcp/1", None),
        ("/ip4/192.168.1.5/tcp/5", "/ip4/127.0.0.1/tcp/1", None),
        ("/ip4/192.168.1.5/tcp/5", "/ip4/1.2.3.4/tcp/1", ("192.168.1.5", 5)),
        ("/ip4/0.0.0.0/tcp/5", "/ip4/1.2.3.4/tcp/1", ("0.0.0.0", 5)),
        ("/ip6/::/tcp/5", "/ip4/1.2.3.4/tcp/1", None),
        ("/ip4/127.0.0.1/tcp/5", "/ip4/127.0.0.1/tcp/5", None),  # not from itself to itself
    ],
)
async def test_which_listener_is_dialled_from(
    listening: str, remote: str, local: Endpoint | None
) -> None:
    sockets = Recording()
    transport = make(sockets=sockets)
    await transport.listen(parse_address(listening))
    with pytest.raises(DialError):
        await dial(transport, parse_address(remote))
    assert sockets.locals == [local]


@pytest.mark.parametrize("code", [errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EPERM])
async def test_a_port_that_cannot_be_shared(code: int) -> None:
    """CAPABILITIES B4: then any port will do."""
    sockets = Recording(code)
    transport = make(sockets=sockets)
    await transport.listen(parse_address("/ip4/0.0.0.0/tcp/5"))
    with pytest.raises(DialError):
        await dial(transport, parse_address("/ip4/1.2.3.4/tcp/1"))
    assert sockets.locals == [("0.0.0.0", 5), None]


async def test_a_refusal_is_not_tried_again() -> None:
    sockets = Recording(errno.ECONNREFUSED)
    transport = make(sockets=sockets)
    await transport.listen(parse_address("/ip4/0.0.0.0/tcp/5"))
    with pytest.raises(DialError):
        await dial(transport, parse_address("/ip4/1.2.3.4/tcp/1"))
    assert len(sockets.locals) == 1


async def test_nobody_answers(autojump_clock: trio.testing.MockClock) -> None:
    class Silent(Recording):
        async def connect_tcp(
            self, remote: Endpoint, *, local: Endpoint | None = None
        ) -> ByteSocket:
            await trio.sleep_forever()
            raise AssertionError

    start = trio.current_time()
    with pytest.raises(PeerTimeout):
        await dial(make(sockets=Silent()), parse_address("/ip4/1.2.3.4/tcp/1"))
    assert trio.current_time() - start == 5  # CONSTANTS: go's TCP connect timeout


# --- listening ------------------------------------------------------------------------------------


async def test_a_port_in_use() -> None:
    transport = make()
    listener = await transport.listen(V4)
    async with serving() as server:
        # Dialling from the port shares it with us, and with nobody else.
        connection = await dial(transport, server.address)
        assert port(connection.local_address) == listener.endpoint[1]
        for other in (make(), transport):
            with pytest.raises(ListenError, match="in use") as caught:
                await other.listen(listener.address)
            assert caught.value.address == listener.address
    listener.close()


async def test_an_interface_that_is_not_ours() -> None:
    with pytest.raises(ListenError, match="cannot listen"):
        await make().listen(parse_address("/ip4/192.0.2.1/tcp/0"))


async def test_a_port_can_be_bound_again_at_once() -> None:
    """Connections that the closed listener had accepted are in TIME_WAIT on its port."""
    async with serving() as server:
        address = server.address
        connection = await dial(make(), address)
        await until(lambda: server.connections)
        for accepted in server.connections:
            await accepted.aclose()
    listener = await make().listen(address)
    listener.close()
    connection.abort()


def script(source: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", source, *arguments]
    return subprocess.Popen(
        command,
        env={"PYTHONPATH": str(CORE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RESTARTED = """
import sys, trio
from carrick.sockets import KernelSockets

async def main():
    sockets = KernelSockets()
    listener = await sockets.listen_tcp(("127.0.0.1", 0))
    print(listener.local[1], flush=True)
    accepted = await listener.accept()
    # Two connections that outlive it: one that it accepted, one that it dialled from its port.
    dialled = await sockets.connect_tcp(("127.0.0.1", int(sys.argv[1])), local=listener.local)
    print("connected", flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_a_process_that_was_killed_binds_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        process = script(RESTARTED, str(ours.getsockname()[1]))
        assert process.stdout is not None
        number = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", number)) as there, ours.accept()[0] as back:
            assert process.stdout.readline() == "connected\n"
            process.kill()
            process.communicate()
            assert (there.recv(1), back.recv(1)) == (b"", b"")  # it is gone, we are still here
            listener = await make().listen(parse_address(f"/ip4/127.0.0.1/tcp/{number}"))
            listener.close()


# --- the kernel's sockets -------------------------------------------------------------------------


async def test_a_socket_that_connects_to_itself_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = free.getsockname()
    with pytest.raises(ConnectionRefusedError, match="itself"):
        await KernelSockets().connect_tcp(endpoint, local=endpoint)


def option(connected: KernelSocket, level: int, name: int) -> int:
    return connected._socket.getsockopt(level, name)


async def socket_pair() -> tuple[KernelSocket, KernelSocket, KernelListener]:
    sockets = KernelSockets()
    listener = await sockets.listen_tcp(("127.0.0.1", 0))
    here = await sockets.connect_tcp(listener.local)
    return here, await listener.accept(), listener


async def test_options_of_both_sides() -> None:
    here, there, listener = await socket_pair()
    for each in (here, there):
        assert option(each, socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert option(each, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if sys.platform == "linux":
            assert option(each, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            assert option(each, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert option(each, socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        assert not each._socket.getblocking()
    assert (here.local, here.remote) == (there.remote, there.local)
    for each in (here, there, listener):
        each.close()
        each.close()


async def test_close_arrives_in_order_and_abort_resets() -> None:
    buffer = memoryview(bytearray(10))
    here, there, listener = await socket_pair()
    assert here.send(memoryview(b"last words")) == 10
    here.close()
    await there.wait_readable()
    assert there.recv_into(buffer) == 10
    await there.wait_readable()
    assert there.recv_into(buffer) == 0
    there.close()
    listener.close()

    here, there, listener = await socket_pair()
    assert there.recv_into(buffer) is None
    here.abort()
    here.abort()
    await there.wait_readable()
    with pytest.raises(ConnectionResetError):
        there.recv_into(buffer)
    there.close()
    listener.close()


async def test_closing_wakes_who_waits() -> None:
    here, there, listener = await socket_pair()
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            for wait in (here.wait_readable, listener.accept):

                async def closed(wait: object = wait) -> None:
                    with pytest.raises(trio.ClosedResourceError):
                        await wait()  # type: ignore[operator]

                nursery.start_soon(closed)
            await trio.testing.wait_all_tasks_blocked()
            here.close()
            listener.close()
    for wait in (here.wait_readable, here.wait_writable, listener.accept):
        with pytest.raises(trio.ClosedResourceError):
            await wait()
    there.close()


async def test_a_connection_that_was_reset_before_it_is_accepted() -> None:
    sockets = KernelSockets()
    listener = await sockets.listen_tcp(("127.0.0.1", 0))
    (await sockets.connect_tcp(listener.local)).abort()
    second = await sockets.connect_tcp(listener.local)
    accepted = [await listener.accept()]
    while accepted[-1].remote != second.local:  # the first may come out, ended, or not at all
        accepted.append(await listener.accept())
    for each in (second, listener, *accepted):
        each.close()


async def test_a_connection_that_cannot_be_set_up_is_closed_and_the_next_one_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some systems refuse options of a connection that has ended already (EINVAL)."""
    sockets = KernelSockets()
    listener = await sockets.listen_tcp(("127.0.0.1", 0))
    first = await sockets.connect_tcp(listener.local)
    second = await sockets.connect_tcp(listener.local)
    original = KernelSocket.__init__
    broken: list[socket.socket] = []

    def fails_once(self: KernelSocket, connected: socket.socket) -> None:
        if not broken:
            broken.append(connected)
            raise OSError(errno.EINVAL, "Invalid argument")
        original(self, connected)

    monkeypatch.setattr(KernelSocket, "__init__", fails_once)
    accepted = await listener.accept()
    assert accepted.remote == second.local
    assert broken[0].fileno() == -1
    for each in (first, second, listener, accepted):
        each.close()


EXHAUSTED = """
import logging, os, resource, socket, time, trio
from carrick.sockets import KernelSockets

async def main():
    listener = await KernelSockets().listen_tcp(("127.0.0.1", 0))
    clients = [socket.create_connection(listener.local) for _ in range(10)]
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))  # not one more
    accepted = []

    async def accept():
        while True:
            accepted.append(await listener.accept())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        began = time.process_time()
        await trio.sleep(1)
        print(len(accepted), time.process_time() - began < 0.2)
        for client in clients[:4]:
            client.close()
        with trio.fail_after(5):
            while len(accepted) < 4:
                await trio.sleep(0.01)
        print(len(accepted))
        nursery.cancel_scope.cancel()
    for each in (*clients, *accepted, listener):
        each.close()

logging.basicConfig(format="%(message)s")
trio.run(main)
"""


def test_accepting_pauses_when_descriptors_run_out() -> None:
    """Row 79 of the attacks, at the socket: it neither spins nor floods the log, and goes on."""
    out, log = script(EXHAUSTED).communicate(timeout=30)
    assert out.splitlines() == ["0 True", "4"], log
    lines = log.splitlines()
    assert 1 <= len(lines) <= 2  # once before, and once when they have run out again
    assert all("accepting pauses" in line for line in lines)


# --- security that the listener does not speak ----------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen", "connections"),
    [
        (("noise", "tls"), ["tls"], "/tls/1.0.0", 2),
        (("tls", "noise"), ["noise"], "/noise", 2),
        (("noise", "tls"), ["tls", "noise"], "/noise", 1),
        (("noise", "tls", "plaintext"), ["plaintext"], "/plaintext/2.0.0", 3),
    ],
)
async def test_a_proposal_that_is_refused_is_dialled_again_without_it(
    ours: Sequence[str], theirs: Sequence[str], chosen: str, connections: int
) -> None:
    async with serving(*theirs) as server:
        connection = await dial(make(*ours), server.address)
        assert connection.security == chosen
        assert server.accepted == connections


async def test_no_common_security() -> None:
    async with serving("tls") as server:
        with pytest.raises(ProtocolNotSupported, match="/noise, /plaintext/2.0.0"):
            await dial(make("noise", "plaintext"), server.address)
        assert server.accepted == 2
