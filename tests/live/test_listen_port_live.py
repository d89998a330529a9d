"""CAPABILITIES B4 with the kernel's sockets: dials leave from the listening port, and a process
that was killed has it again at once."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from carrick import HostBuilder
from carrick.addressing import parse_address
from carrick.errors import CarrickError
from carrick.identity import PrivateKey
from carrick.interfaces import Transport
from carrick.transports.bytestream import Upgrader
from carrick.transports.quic import QuicTransport
from carrick.transports.security.noise import Noise
from carrick.transports.tcp import TcpTransport
from tests.support.transports import MUXERS, Unlimited

CORE = Path(__file__).parents[2] / "core"
DIALS = 20


def make(protocol: str) -> Transport:
    key = PrivateKey.generate()
    if protocol == "udp":
        return QuicTransport(key)
    return TcpTransport(Upgrader([Noise(key)], {"/yamux/1.0.0": MUXERS["/yamux/1.0.0"]}))


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_twenty_dials_at_once(protocol: str, ip: str) -> None:
    version, suffix = (6 if ":" in ip else 4), "/quic-v1" if protocol == "udp" else ""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    transport = make(protocol)
    listener = await transport.listen(parse_address(f"/ip{version}/{ip}/{protocol}/0{suffix}"))
    port = int(str(listener.address).split("/")[4])
    seen: list[int] = []
    servers = [trio.socket.socket(family, kind) for _ in range(DIALS)]

    async def note(server: trio.socket.SocketType) -> None:
        if protocol == "udp":
            _, source = await server.recvfrom(65535)
        else:
            accepted, source = await server.accept()
            accepted.close()
        seen.append(source[1])

    async def dial(target: int) -> None:
        address = parse_address(f"/ip{version}/{ip}/{protocol}/{target}{suffix}")
        try:
            await transport.dial(address, None, budget=Unlimited())
        except CarrickError:
            return

    with trio.fail_after(10):
        async with trio.open_nursery() as dials:
            async with trio.open_nursery() as notes:
                for server in servers:
                    await server.bind((ip, 0))
                    if protocol == "tcp":
                        server.listen()
                    notes.start_soon(note, server)
                    dials.start_soon(dial, server.getsockname()[1])
            dials.cancel_scope.cancel()
    assert seen == [port] * DIALS
    listener.close()
    for server in servers:
        server.close()


NODE = """
import sys, trio
from carrick import HostBuilder

async def main():
    listen = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"
    async with HostBuilder().listen(*listen).open() as host:
        await host.connect(sys.argv[1])
        print(*host.swarm.listen_addresses, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_a_node_that_was_killed_listens_again_at_once() -> None:
    """With a connection from its port, which outlives it."""
    async with HostBuilder().listen("/ip4/127.0.0.1/tcp/0").open() as host:
        process = subprocess.Popen(
            [sys.executable, "-c", NODE, str(host.addresses[0])],
            env={"PYTHONPATH": str(CORE)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            with trio.fail_after(20):
                line = await trio.to_thread.run_sync(process.stdout.readline)
        finally:
            process.kill()
            process.communicate()
        with trio.fail_after(1):
            async with HostBuilder().listen(*line.split()).open() as again:
                assert {str(each) for each in again.swarm.listen_addresses} == set(line.split())
