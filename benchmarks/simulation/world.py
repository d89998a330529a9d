"""One simulated internet of many nodes, measured in a process of its own.

`python -m benchmarks.simulation.world NODES PEERS` prints one JSON object: the phases in order,
each with seconds of real time and of CPU, and the resident memory behind it. With `--profile` it
says where time went while the nodes connected, with `--memory` where memory is; both make it slow,
so that its other numbers then mean nothing.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import resource
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psutil
import trio

from benchmarks.simulation.shares import memory_shares, time_shares
from carrick import HostBuilder
from carrick.protocols.identify import Identify
from carrick.protocols.ping import Ping
from carrick.sim import Internet, run
from carrick.testing import Node, keep_node

QUIET = 60.0  # s of virtual time
SETTLE = 2.0  # s of virtual time in which the listeners' side of identify ends


class Meter:
    """Real time, CPU time and memory of each phase, and how much of it collects garbage."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._process = psutil.Process()
        self._collecting = self._since = 0.0
        gc.callbacks.append(self._collect)

    def _collect(self, stage: str, _: dict[str, int]) -> None:
        now = time.process_time()
        if stage == "start":
            self._since = now
        else:
            self._collecting += now - self._since

    @asynccontextmanager
    async def phase(self, name: str) -> AsyncIterator[None]:
        before, began = self._process.memory_info().rss, time.perf_counter()
        cpu, virtual, collecting = time.process_time(), trio.current_time(), self._collecting
        yield
        self.phases[name] = {
            "seconds": time.perf_counter() - began,
            "cpu": time.process_time() - cpu,
            "collecting": self._collecting - collecting,
            "virtual": trio.current_time() - virtual,
            "rss": self._process.memory_info().rss,
            "grown": self._process.memory_info().rss - before,
        }


async def world(
    internet: Internet, nodes: int, peers: int, profile: bool, memory: bool
) -> dict[str, Any]:
    """Open the nodes, let them be idle, connect them, let them be idle again."""
    meter = Meter()
    found: dict[str, Any] = {"nodes": nodes}
    # Without the services that dial by themselves: only the connections asked for are measured.
    builder = HostBuilder().services(Identify, Ping, defaults=False)
    builder = builder.transports("tcp").security("noise").muxers("yamux")
    async with trio.open_nursery() as nursery:
        if memory:
            gc.collect()
            tracemalloc.start()
        async with meter.phase("open"):
            all_nodes: list[Node] = [
                await nursery.start(keep_node, internet.host(), builder) for _ in range(nodes)
            ]
        async with meter.phase("idle"):
            await trio.sleep(QUIET)
        profiler = cProfile.Profile()
        if profile:
            profiler.enable()
        async with meter.phase("connect"):
            wanted = await connect(all_nodes, peers)
            await trio.sleep(SETTLE)
        profiler.disable()
        _check(all_nodes, wanted)
        async with meter.phase("connected, idle"):
            await trio.sleep(QUIET)
        _check(all_nodes, wanted)
        found |= {"connections": wanted, "phases": meter.phases}
        if profile:
            found["time"] = time_shares(profiler)
        if memory:
            found["memory"] = memory_shares(tracemalloc.take_snapshot())
            tracemalloc.stop()
        nursery.cancel_scope.cancel()
    return found


async def connect(nodes: list[Node], peers: int) -> int:
    """Connect each to `peers` others, or to all if there are fewer: (how many connections).

    Each dials its half one after another; all do so at once.
    """
    count = len(nodes)
    reach = min(peers // 2, (count - 1) // 2)
    targets = {n: [nodes[(n + step) % count] for step in range(1, reach + 1)] for n in range(count)}
    if peers >= count - 1 and count % 2 == 0:
        for n in range(count // 2):  # the one opposite
            targets[n].append(nodes[n + count // 2])

    async def dial(node: Node, others: list[Node]) -> None:
        for other in others:
            await node.connect(other)

    async with trio.open_nursery() as nursery:
        for n, others in targets.items():
            nursery.start_soon(dial, nodes[n], others)
    return sum(map(len, targets.values()))


def _check(nodes: list[Node], connections: int) -> None:
    """Both ends are there, and know what the other speaks (identify)."""
    ends = [connection for node in nodes for connection in node.connections]
    known = sum(connection.protocols is not None for connection in ends)
    if (len(ends), known) != (2 * connections, 2 * connections):
        raise RuntimeError(
            f"{2 * connections} ends wanted, {len(ends)} are there, {known} are identified"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation.world")
    parser.add_argument("nodes", type=int)
    parser.add_argument("peers", type=int)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gc", type=int, help="gc.set_threshold(…)")
    arguments = parser.parse_args()
    if arguments.gc:
        gc.set_threshold(arguments.gc)
    base = psutil.Process().memory_info().rss
    began = time.perf_counter()
    found = run(
        partial(
            world,
            nodes=arguments.nodes,
            peers=arguments.peers,
            profile=arguments.profile,
            memory=arguments.memory,
        ),
        seed=arguments.seed,
        record=False,  # a trace keeps every packet
    )
    found["seconds"] = time.perf_counter() - began
    found["imported_rss"] = base
    found["gc"] = arguments.gc
    found["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


if __name__ == "__main__":
    main()
