"""miniupnpd in the laboratory: a real gateway, real kernels, by each protocol."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from interop.natlab import gateway as gateways
from interop.natlab.gateway import forwards, gateway
from interop.natlab.lab import Lab, LabProcess, open_lab, unavailable
from interop.natlab.topology import Router, Topology
from tests.support.waiting import until

missing = unavailable() or gateways.unavailable()
pytestmark = [pytest.mark.timeout(120)]
if missing is not None:
    pytestmark.append(pytest.mark.skip(reason=f"NO REAL GATEWAY IS TESTED: {missing}"))

BOTH = {"tcp 4001", "udp 4001"}


@asynccontextmanager
async def home() -> AsyncIterator[tuple[Lab, Router]]:
    topology = Topology()
    topology.public("s")
    router = topology.router("r", "pr")
    topology.host("h", router)
    async with open_lab(topology) as lab:
        yield lab, router


def node(lab: Lab, *protocols: str):  # type: ignore[no-untyped-def]
    return lab.process(
        "h", [sys.executable, "-m", "tests.support.portmap_node", *protocols], env=ENV
    )


def carrick(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "carrick", *arguments]


ENV = {"PYTHONPATH": "core:.", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}


async def told(process: LabProcess, count: int) -> tuple[str, str, list[str]]:
    """The next report with so many addresses."""
    while True:
        via, layers, *addresses = (await process.line()).split()
        if len(addresses) == count:
            return via, layers, addresses


async def stop(process: LabProcess) -> None:
    process.signal(signal.SIGTERM)
    with trio.fail_after(10):
        assert await process.wait() == 0


async def forwarded(lab: Lab, router: Router) -> bool:
    """The gateway has written both into the kernel, which tells nobody."""
    return await forwards(lab, router) == BOTH


@pytest.mark.parametrize("via", ["pcp", "nat-pmp", "upnp"])
async def test_a_real_gateway_maps_and_a_stranger_dials(via: str, tmp_path: Path) -> None:
    async with home() as (lab, router), gateway(lab, router, tmp_path):
        async with node(lab, via) as process:
            peer = await process.line()
            with trio.fail_after(10):
                used, layers, addresses = await told(process, 2)
            assert (used, layers) == (via, "nat")
            outside = router.address
            assert addresses == [f"/ip4/{outside}/tcp/4001", f"/ip4/{outside}/udp/4001/quic-v1"]
            assert await forwards(lab, router) == BOTH
            for address in addresses:
                ping = carrick("ping", f"{address}/p2p/{peer}", "-n", "1", "--timeout", "10s")
                await lab.run("s", ping, env=ENV)
            await stop(process)
        assert await forwards(lab, router) == set()


@pytest.mark.parametrize("via", ["pcp", "nat-pmp", "upnp"])
async def test_a_real_gateway_restarts(via: str, tmp_path: Path) -> None:
    async with home() as (lab, router), node(lab, via) as process:
        await process.line()
        async with gateway(lab, router, tmp_path):
            with trio.fail_after(20):
                await told(process, 2)
            assert await forwards(lab, router) == BOTH
        async with gateway(lab, router, tmp_path):
            assert await forwards(lab, router) == set()
            await until(lambda: forwarded(lab, router), within=30, every=0.1)
            await stop(process)


async def test_the_command_maps_lists_and_removes(tmp_path: Path) -> None:
    async with home() as (lab, router):

        async def run(*arguments: str) -> tuple[int, str]:
            argv = carrick("nat", "map", *arguments)
            result = await lab.run("h", argv, env=ENV, check=False)
            return result.returncode, result.stdout.decode()

        code, out = await run("probe")
        assert code == 4 and out.count("no:") == 3
        async with gateway(lab, router, tmp_path):
            code, out = await run("probe")
            assert code == 0 and out.count("yes") == 3 and f"outside {router.address}" in out
            for via in ("nat-pmp", "upnp"):
                code, out = await run("add", "5001", "--proto", via)
                assert code == 0 and out.count(f"{router.address}:5001") == 2
                assert await forwards(lab, router) == {"tcp 5001", "udp 5001"}
                code, out = await run("ls")
                assert code == 0 and out.count(":5001") == 2
                code, out = await run("rm", "5001", "--proto", via)
                assert code == 0
                assert await forwards(lab, router) == set()


async def test_listen_with_upnp(tmp_path: Path) -> None:
    listen = ("--listen", "/ip4/0.0.0.0/tcp/4001", "--listen", "/ip4/0.0.0.0/udp/4001/quic-v1")
    async with home() as (lab, router), gateway(lab, router, tmp_path):
        argv = carrick("listen", *listen, "--upnp", "--no-api")
        async with lab.process("h", argv, env=ENV) as process:
            await process.line()
            await until(lambda: forwarded(lab, router), within=10, every=0.1)
            process.signal(signal.SIGINT)
            with trio.fail_after(10):
                assert await process.wait() == 0
        assert await forwards(lab, router) == set()


async def test_a_real_gateway_behind_a_providers_nat(tmp_path: Path) -> None:
    """miniupnpd maps nothing there, and says so; nothing is advertised (CAPABILITIES B3)."""
    topology = Topology()
    router = topology.router("r", "pr", behind=topology.cgnat("isp", "pr"))
    topology.host("h", router)
    async with open_lab(topology) as lab, gateway(lab, router, tmp_path):
        for arguments, code, words in (
            (("probe",), 0, "no usable address outside"),
            (("add", "4001/tcp"), 1, "action failed"),
        ):
            argv = carrick("nat", "map", *arguments)
            result = await lab.run("h", argv, env=ENV, check=False)
            assert result.returncode == code
            assert words in (result.stdout + result.stderr).decode()
        assert await forwards(lab, router) == set()
