"""Two hours in the life of a DHT: nodes come and go, and what was placed is looked for.

``python -m benchmarks.kademlia.scenario NODES`` prints what was found as JSON.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import trio
import trio.testing

from benchmarks.kademlia.model import Network, Node, true_closest
from carrick.errors import CarrickError
from carrick.protocols.kademlia import Hop, HopKind
from carrick.protocols.kademlia.keyspace import key_of
from carrick.protocols.kademlia.lookup import K
from carrick.sim.running import seeded
from carrick.testing import seeded_key

CHURN_EVERY = 600.0  # s
CHURN_SHARE = 0.10  # of the nodes, that restart then, and forget everything but who they are
DOWN = 60.0  # s until they are back
SETTLE = 900.0  # s: the table is refreshed once, then nothing changes for a while
FAREWELLS = 0.05  # of the nodes, that publish and then leave for good
CLIENTS = 0.5  # of the nodes are behind NATs


@dataclass
class Score:
    """How often something worked, and at what cost."""

    tried: int = 0
    worked: int = 0
    hops: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note(self, worked: bool, seconds: float, why: str) -> None:
        self.tried += 1
        self.worked += worked
        self.seconds.append(seconds)
        if not worked and len(self.failures) < 20:
            self.failures.append(f"{trio.current_time():.0f} s: {why}")


@dataclass
class Placed:
    """Something that is in the DHT.

    Attributes:
        value: what is under the key; None: providers are.
        publisher: who put it there; not None as long as it is there.
    """

    key: bytes
    value: bytes | None
    publisher: Node

    def held_by(self, node: Node) -> bool:
        now = trio.current_time()
        if self.value is not None:
            return node.records.get(self.key, now) is not None
        held = node.providers.get(self.key, now)
        return any(each.id == self.publisher.id for each in held)


class Scenario:
    """One run.

    Args:
        operations: how many reads, spread over the time of churn.
        lookups: how many lookups are compared with the truth before it.
    """

    def __init__(
        self, nodes: int, *, hours: float, operations: int, lookups: int, seed: int
    ) -> None:
        self.network = Network(seed)
        self.rng = self.network.rng
        self.hours = hours
        self.operations = operations
        self.lookups = lookups
        servers = nodes - int(nodes * CLIENTS)
        self.everyone = [self.network.node(server=index < servers) for index in range(nodes)]
        self.placed: list[Placed] = []
        self.gone: set[Node] = set()
        self.exact, self.churned = Score(), Score()
        self.reads = {"values": Score(), "providers": Score(), "orphans": Score()}
        self.writes = {"values": Score(), "providers": Score()}
        self.restarts = 0
        self._lives: dict[Node, trio.CancelScope] = {}

    async def play(self) -> None:
        async with trio.open_nursery() as self.nursery:
            for node in self.everyone:
                self._start(node)
                await trio.sleep(60 / len(self.everyone))
            await trio.sleep(SETTLE)
            await self._compare(self.exact)
            for _ in range(max(10, self.operations // 20)):
                await self._write(self._anyone())
            end = trio.current_time() + self.hours * 3600
            async with trio.open_nursery() as busy:
                busy.start_soon(self._churn, end)
                busy.start_soon(self._operate, end)
            await self._compare(self.churned)
            self.nursery.cancel_scope.cancel()

    # --- nodes ------------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        scope = self._lives[node] = trio.CancelScope()

        async def live() -> None:
            with scope:
                await node.run()

        self.nursery.start_soon(live)

    def _anyone(self) -> Node:
        up = self.network.nodes.values()
        return self.rng.choice([each for each in up if each.upkeep.bootstrapped.is_set()])

    async def _churn(self, end: float) -> None:
        at = trio.current_time() + CHURN_EVERY / 2
        while at < end:
            await trio.sleep_until(at)
            up = list(self.network.nodes.values())
            chosen = self.rng.sample(up, int(len(self.everyone) * CHURN_SHARE))
            for node in chosen:
                self._lives[node].cancel()
            self.restarts += len(chosen)
            await trio.sleep(DOWN)
            for node in chosen:
                if node not in self.gone:
                    self._start(node)
            at += CHURN_EVERY

    # --- operations -------------------------------------------------------------------------------

    async def _compare(self, score: Score) -> None:
        """Lookups while nothing changes, against the truth."""
        for _ in range(self.lookups):
            node, key = self._anyone(), self.rng.randbytes(34)
            started = trio.current_time()
            found = await node.dht.closest_peers(key)
            truth = true_closest(self.network, key_of(key), node.dht.k, node.id)
            same = [each.id for each in found.closest] == truth
            missed = len(set(truth) - {each.id for each in found.closest})
            score.note(same, trio.current_time() - started, f"{missed} of {len(truth)} are missing")
            score.hops.append(found.hops)
            score.requests.append(found.requests)

    async def _operate(self, end: float) -> None:
        """Reads by random nodes, and now and then a write by one that may leave for good."""
        pause = (end - trio.current_time()) / self.operations
        farewells = int(len(self.everyone) * FAREWELLS)
        every = max(1, self.operations // 100)
        async with trio.open_nursery() as running:
            for count in range(self.operations):
                if count % every == 0:
                    node = self._anyone()
                    leaves = count >= self.operations // 10 and len(self.gone) < farewells
                    running.start_soon(self._publish, node, leaves)
                item = self.rng.choice(self.placed)
                running.start_soon(self._read, self._stranger(item), item)
                await trio.sleep(pause)

    def _stranger(self, item: Placed) -> Node:
        """A node that does not hold it itself, and so must ask others."""
        while item.held_by(node := self._anyone()):
            pass
        return node

    async def _publish(self, node: Node, leaves: bool) -> None:
        await self._write(node)
        if leaves:
            self.gone.add(node)
            self._lives[node].cancel()

    async def _write(self, node: Node) -> None:
        """Put the public key of somebody, or say that we provide something."""
        started = trio.current_time()
        kind = self.rng.choice(["values", "providers"])
        if kind == "values":
            key = seeded_key(self.rng)
            item = Placed(b"/pk/" + key.peer_id.to_bytes(), key.public_key.to_protobuf(), node)
        else:
            digest = hashlib.sha256(self.rng.randbytes(32)).digest()
            item = Placed(b"\x12\x20" + digest, None, node)
        try:
            if item.value is not None:
                await node.dht.put_value(item.key, item.value)
            else:
                await node.dht.provide(item.key)
        except CarrickError as error:
            if node.id in self.network.nodes:  # otherwise it was switched off while it wrote
                self.writes[kind].note(False, trio.current_time() - started, str(error))
            return
        self.writes[kind].note(True, trio.current_time() - started, "")
        self.placed.append(item)

    async def _read(self, node: Node, item: Placed) -> None:
        started, why, worked = trio.current_time(), "", False
        asked: list[Hop] = []

        def watch(hop: Hop) -> None:
            if hop.kind is HopKind.ASKED:
                asked.append(hop)

        try:
            if item.value is not None:
                worked = await node.dht.get_value(item.key, watch=watch) == item.value
            else:
                found = await node.dht.find_providers(item.key, count=1, watch=watch)
                worked = any(each.id == item.publisher.id for each in found)
        except CarrickError as error:
            why = str(error)
        if node.id not in self.network.nodes:
            return  # it was switched off while it looked
        if not worked:
            why = f"{why or 'other providers'}; {len(asked)} asked; {self._holders(item)}"
        names = ["values" if item.value is not None else "providers"]
        if item.publisher in self.gone:
            names.append("orphans")
        for name in names:
            self.reads[name].note(worked, trio.current_time() - started, why)
            self.reads[name].requests.append(len(asked))

    def _holders(self, item: Placed) -> str:
        """Who could have told: whether it is lost, or was not found."""
        servers = self.network.servers()
        holders = [each.id for each in servers if item.held_by(each)]
        nearest = true_closest(self.network, key_of(item.key), K, item.publisher.id)
        return f"{len(holders)} hold it, {len({*holders} & {*nearest})} of them of the {K} nearest"


def measure(
    nodes: int, *, hours: float, operations: int, lookups: int, seed: int
) -> dict[str, Any]:
    """Play one scenario in virtual time, and say what came of it."""
    scenario = Scenario(nodes, hours=hours, operations=operations, lookups=lookups, seed=seed)

    async def program() -> float:
        await scenario.play()
        return trio.current_time()

    wall, cpu = time.perf_counter(), time.process_time()
    threshold = gc.get_threshold()
    gc.set_threshold(100_000)  # nearly everything lives on: see benchmarks/SIMULATION.md
    try:
        with seeded(seed):
            virtual = trio.run(program, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        gc.set_threshold(*threshold)
    costs = scenario.network.costs
    return {
        "nodes": nodes,
        "seed": seed,
        "servers": nodes - int(nodes * CLIENTS),
        "hours": hours,
        "virtual_s": virtual,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "restarts": scenario.restarts,
        "left_for_good": len(scenario.gone),
        "requests": costs.requests,
        "dials": costs.dials,
        "failures": costs.failures,
        "bytes": costs.bytes,
        "by_type": dict(costs.by_type),
        "exact": asdict(scenario.exact),
        "churned": asdict(scenario.churned),
        "writes": {name: asdict(score) for name, score in scenario.writes.items()},
        "reads": {name: asdict(score) for name, score in scenario.reads.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", type=int)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--operations", type=int, default=4000)
    parser.add_argument("--lookups", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    json.dump(measure(options.pop("nodes"), **options), sys.stdout)
    print()


if __name__ == "__main__":
    main()
