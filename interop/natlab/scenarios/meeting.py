"""Two nodes that know each other only by relayed addresses meet directly, if physics lets them.

A public relay, a public peer that serves STUN too, and a node behind each of two routers. Both
reserve; one connects to the other's relayed address, as a stranger that learned it elsewhere would.
Between runs every connection is closed, every router forgets its mappings, and the nodes forget
each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from interop.natlab.node import Description, NodeError
from interop.natlab.stages import PlayedNode, Stage
from interop.natlab.topology import Topology

PATIENCE = 60.0  # s, for what no router should stop
ENDS = ("a", "b")
NATTED = ("client", "nat", "dcutr")  # services of a node behind a router


@dataclass(frozen=True)
class Run:
    """What came of one meeting.

    Attributes:
        delay: ms, of the internet.
        initiator: "a" or "b".
        direct: the two ended on a direct connection, and both of them see it.
        strategy: that led to it.
        attempt: of that strategy, from 1.
        seconds: until there was a direct connection, or no more was tried.
        problem: what should not have been, whatever the routers.
        trace: of `connect`.
    """

    delay: int
    initiator: str
    direct: bool
    strategy: str | None
    attempt: int | None
    seconds: float
    problem: str | None = None
    outcome: str | None = None
    trace: Sequence[Mapping[str, Any]] = ()


def topology(one: str, other: str) -> Topology:
    """Node "a" behind the first kind of router, "b" behind the second; see ``Topology.place``."""
    made = Topology()
    made.public("relay")
    made.public("watcher", addresses=2)
    for name, kind in zip(ENDS, (one, other), strict=True):
        made.place(name, kind)
    return made


@dataclass(frozen=True)
class Cast:
    """Everybody of a scenario."""

    relay: PlayedNode
    watcher: PlayedNode
    a: PlayedNode
    b: PlayedNode


@asynccontextmanager
async def cast(
    stage: Stage, *transports: str, ipv6: bool = False, services: Sequence[str] = NATTED
) -> AsyncIterator[Cast]:
    """All nodes of a ``topology``, started."""
    async with AsyncExitStack() as stack:
        stun = (f"{stage.topology.nodes['watcher'].address}:3478",)

        async def enter(place: str, *services: str) -> PlayedNode:
            description = Description(
                transports=transports, services=services, stun=stun, ipv6=ipv6
            )
            return await stack.enter_async_context(stage.node(place, description))

        relay = await enter("relay", "relay")
        watcher = await enter("watcher", "stun")
        ends = [await enter(place, *services) for place in ENDS]
        if "nat" in services:
            await at_once(*(node.do("classify") for node in ends))
        yield Cast(relay, watcher, *ends)


async def meet(stage: Stage, transport: str, plan: Mapping[int, int]) -> list[Run]:
    """Play on a ``topology``. *plan*: runs of each initiator, by delay in ms."""
    runs: list[Run] = []
    async with cast(stage, transport) as nodes:
        for delay, count in plan.items():
            async with stage.delay(delay):
                for name in ENDS:
                    for _ in range(count):
                        runs.append(Run(delay, name, **await meet_once(stage, nodes, name)))
        if leaked := await stage.leaked():
            raise RuntimeError(f"{leaked} packets with private addresses on the internet")
    return runs


async def meet_once(stage: Stage, nodes: Cast, initiator: str) -> dict[str, Any]:
    """One run, from a clean start; the fields of ``Run``."""
    one, other = (nodes.a, nodes.b) if initiator == "a" else (nodes.b, nodes.a)
    started = trio.current_time()
    try:
        with trio.fail_after(PATIENCE):
            where = await begin(stage, nodes, other)
        with trio.fail_after(PATIENCE):
            told = await one.do("connect", addresses=where, settle=PATIENCE)
            return await _judge(one, other, told)
    except (NodeError, trio.TooSlowError) as error:
        return {
            "direct": False,
            "strategy": None,
            "attempt": None,
            "seconds": trio.current_time() - started,
            "problem": f"{type(error).__name__}: {error}",
        }


async def begin(stage: Stage, nodes: Cast, target: PlayedNode) -> list[str]:
    """Reset everything, and reserve anew; the relayed addresses of *target*."""
    ends = (nodes.a, nodes.b)
    await at_once(*(node.do("reset") for node in ends))
    await trio.sleep(0.1 + 4 * stage.milliseconds / 1000)  # the routers must see connections end
    await stage.forget()
    await at_once(*(node.do("dial", addresses=nodes.watcher.addresses) for node in ends))
    reserved = await at_once(*(node.do("reserve", relay=nodes.relay.addresses) for node in ends))
    found: list[str] = reserved[ends.index(target)]
    return found


async def _judge(one: PlayedNode, other: PlayedNode, told: dict[str, Any]) -> dict[str, Any]:
    here = await one.do("paths", peer=other.id)
    direct = any(not path["relayed"] for path in here)
    there = await other.do("paths", peer=one.id, direct_within=2 if direct else 0)
    strategy, attempt = _winner(told["trace"])
    problem = None
    if told["error"] is not None:
        problem = f"connect failed: {told['message']}"
    elif any(not path["relayed"] for path in there) != direct:
        problem = f"here {here}, there {there}"
    elif direct != (strategy is not None):
        problem = f"the trace says {strategy}, and the connections are {here}"
    else:
        await one.do("ping", peer=other.id)
    return {
        "direct": direct,
        "strategy": strategy,
        "attempt": attempt,
        "seconds": told["settled"],
        "problem": problem,
        "outcome": told["outcome"],
        "trace": told["trace"],
    }


def _winner(trace: Sequence[Mapping[str, Any]]) -> tuple[str | None, int | None]:
    """The strategy that led to a direct connection, and its attempt."""
    for step in trace:
        if step["result"] == "ok" and step["strategy"] != "relay":
            results = [attempt["result"] for attempt in step["attempts"]]
            attempt = results.index("ok") + 1 if "ok" in results else 1
            return step["strategy"], attempt if step["strategy"] == "punch" else 1
    return None, None


async def at_once(*calls: Awaitable[Any]) -> list[Any]:
    """The results of several calls that run at the same time."""
    results: list[Any] = [None] * len(calls)

    async def run(index: int) -> None:
        results[index] = await calls[index]

    async with trio.open_nursery() as nursery:
        for index in range(len(calls)):
            nursery.start_soon(run, index)
    return results
