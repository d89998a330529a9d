"""The hole-punch app in its three roles, behind the kernel's NATs, for both suites.

As in the suites: peers see Redis and the relay, and each other through their routers only. (On
loopback nothing is punched: such addresses are never told.)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio

from interop.apps.resp import encode_command
from interop.natlab.lab import LabProcess, unavailable
from interop.natlab.node import Description
from interop.natlab.stages.kernel import KernelStage, environment, open_kernel_stage
from interop.natlab.topology import Topology
from interop.runner.results import read_latency
from interop.runner.server import NoRedis, find_server

PROGRAM = [sys.executable, "-m", "interop.apps.hole_punch"]
PORT = 6379
LINK = 50  # ms, of each link to the internet: much more than a busy machine adds

missing = unavailable()
try:
    SERVER = find_server()
except NoRedis as error:
    missing = str(error)
if missing is not None:
    pytestmark = pytest.mark.skip(reason=f"NO HOLE-PUNCH APP IS TESTED: {missing}")


def public_internet() -> Topology:
    """A place for Redis, one for the relay, and homes "l" and "d"."""
    topology = Topology()
    topology.public("redis")
    topology.public("relay")
    topology.place("l", "pr")
    topology.place("d", "pr")
    return topology


def private_internet() -> Topology:
    """The same on one wire with private addresses, as unified-testing has it."""
    topology = Topology()
    wire = topology.cgnat("wire", "pr")
    topology.host("redis", wire)
    topology.host("relay", wire)
    for name in ("l", "d"):
        topology.host(name, topology.router(f"{name}-r", "pr", behind=wire))
    return topology


@asynccontextmanager
async def playing(topology: Topology) -> AsyncIterator[tuple[KernelStage, AsyncExitStack]]:
    """The topology with Redis running."""
    database = topology.nodes["redis"]
    words = [SERVER, "--bind", database.address, "--port", str(PORT), "--save", ""]
    words += ["--appendonly", "no", "--protected-mode", "no", "--daemonize", "no"]
    outer = {node.name: LINK for node in topology.nodes.values() if node.router is None}
    async with open_kernel_stage(topology) as stage, AsyncExitStack() as stack:
        await stack.enter_async_context(stage.lab.delay(outer))
        await stack.enter_async_context(stage.lab.process("redis", words, env=dict(os.environ)))
        yield stage, stack
        assert await stage.leaked() == 0


@asynccontextmanager
async def app(stage: KernelStage, place: str, **env: str) -> AsyncIterator[LabProcess]:
    redis = f"{stage.topology.nodes['redis'].address}:{PORT}"
    everything = {**environment(), "REDIS_ADDR": redis, **env}
    async with stage.lab.process(place, PROGRAM, env=everything) as process:
        yield process


async def printed(process: LabProcess, lines: int) -> str:
    """What a dialer prints; it must succeed."""
    with trio.fail_after(45):
        said = [await process.line() for _ in range(lines)]
        assert await process.wait() == 0
    return "\n".join(said)


@pytest.mark.parametrize("transport", ["tcp", "quic-v1"])
@pytest.mark.parametrize("internet", [public_internet, private_internet])
async def test_unified_testing(internet: Callable[[], Topology], transport: str) -> None:
    stack = {} if transport == "quic-v1" else {"SECURE_CHANNEL": "noise", "MUXER": "yamux"}
    env = {"TEST_KEY": "1234abcd", "TRANSPORT": transport, **stack}
    async with playing(internet()) as (stage, running):
        own = {name: node.address for name, node in stage.topology.nodes.items()}
        listener = {"IS_DIALER": "false", "LISTENER_IP": own["l"]}
        dialer = {"IS_DIALER": "true", "DIALER_IP": own["d"]}
        await running.enter_async_context(app(stage, "relay", **env, RELAY_IP=own["relay"]))
        await running.enter_async_context(app(stage, "l", **env, **listener))
        dialling = await running.enter_async_context(app(stage, "d", **env, **dialer))
        latency = read_latency(await printed(dialling, 4))
    assert latency is not None
    if internet is public_internet:
        # Two links there and two back; over the relay it would be twice as much.
        assert 4 * LINK <= latency[1] < 8 * LINK


@pytest.mark.parametrize("transport", ["tcp", "quic"])
async def test_test_plans(transport: str) -> None:
    """With the suite's relay, which tells its address twice, once for each peer."""
    env = {"TRANSPORT": transport}
    async with playing(public_internet()) as (stage, running):
        description = Description(transports=(transport,), services=("relay",))
        relay = await running.enter_async_context(stage.node("relay", description))
        command = encode_command(
            "RPUSH", f"RELAY_{transport.upper()}_ADDRESS", *(2 * relay.addresses)
        )
        await tell(stage, command.decode())
        await running.enter_async_context(app(stage, "l", **env, MODE="listen"))
        dialling = await running.enter_async_context(app(stage, "d", **env, MODE="dial"))
        result = json.loads(await printed(dialling, 1))
    assert result.keys() == {"rtt_to_holepunched_peer_millis"}
    assert isinstance(result["rtt_to_holepunched_peer_millis"], int)
    assert 4 * LINK <= result["rtt_to_holepunched_peer_millis"] < 8 * LINK


async def tell(stage: KernelStage, command: str) -> None:
    """One command for the Redis server, from beside it."""
    address = (stage.topology.nodes["redis"].address, PORT)
    program = (
        f"import socket, sys; s = socket.create_connection({address!r}); "
        "s.sendall(sys.stdin.buffer.read()); sys.exit(s.recv(1) != b':')"
    )
    await stage.lab.run("redis", [sys.executable, "-c", program], stdin=command)
