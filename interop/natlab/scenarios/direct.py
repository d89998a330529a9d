"""Without any NAT traversal: whoever is behind a router reaches the public, and nobody him.

A node listens on a public host and one behind each router, all on one port. The public host dials
the router's outside address, where nothing has opened a way in.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from interop.natlab.lab import ROOT, Lab, open_lab
from interop.natlab.topology import Node, Router, Topology

CARRICK = (sys.executable, "-m", "carrick", "--json")
PORT = 4001
PINGS = 3
TIMEOUT = 2  # seconds, for the dial that cannot succeed
ROUTERS = ("fc", "ar", "pr", "prhash", "pr-input-rst", "pr-udp-blocked", "sym", "symaddr", "fw")


@dataclass(frozen=True)
class Outcome:
    """Of one router: pings outward in milliseconds, and the error of the dial inward."""

    router: str
    rtts: tuple[float, ...]
    error: str | None
    status: int  # the command's exit code for the dial inward
    seconds: float  # that it took, the start of the process included


async def play(routers: Sequence[str] = ROUTERS, *, delay: int = 0) -> list[Outcome]:
    """Both directions through each router; *delay* in ms, of each access link and direction.

    Raises ``LabError`` if a node does not listen, or cannot reach the public one.
    """
    topology = Topology()
    public = topology.public("s")
    pairs = []
    for number, kind in enumerate(routers):
        router = topology.router(f"r{number}", kind)
        pairs.append((router, topology.host(f"h{number}", router)))
    outer = [node.name for node in topology.nodes.values() if node.router is None]
    outcomes = []
    async with (
        open_lab(topology) as lab,
        lab.delay(dict.fromkeys(outer, delay)),
        listening(lab, public) as target,
    ):
        for router, host in pairs:
            async with listening(lab, host):
                outcomes.append(await _through(lab, router, host, target))
    return outcomes


@asynccontextmanager
async def listening(lab: Lab, node: Node) -> AsyncIterator[str]:
    """`carrick listen` on a host; the address with its peer id."""
    argv = [*CARRICK, "listen", "--listen", f"/ip4/0.0.0.0/tcp/{PORT}"]
    async with lab.process(node.name, argv, env=environment()) as process:
        peer = json.loads(await process.line())["id"]
        yield f"/ip4/{node.address}/tcp/{PORT}/p2p/{peer}"


def environment() -> dict[str, str]:
    """For Carrick in the laboratory: this source, and no identity of whoever runs it."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "core"), "CARRICK_HOME": "/nonexistent"}


async def _through(lab: Lab, router: Router, host: Node, target: str) -> Outcome:
    ping = [*CARRICK, "ping", "--count", str(PINGS), "--interval", "1ms", target]
    result = await lab.run(host.name, ping, env=environment())
    *pings, _ = map(json.loads, result.stdout.splitlines())

    outside = router.address if router.kind.translates else host.address
    dial = [*CARRICK, "--timeout", f"{TIMEOUT}s", "connect", "--allow-unknown-peer"]
    started = trio.current_time()
    inward = await lab.run(
        "s", [*dial, f"/ip4/{outside}/tcp/{PORT}"], env=environment(), check=False
    )
    return Outcome(
        router.kind.name,
        tuple(ping["rtt_ms"] for ping in pings),
        json.loads(inward.stdout)["error"]["code"] if inward.returncode else None,
        inward.returncode,
        trio.current_time() - started,
    )
