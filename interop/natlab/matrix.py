"""The matrix: which pairs of routers are played, how often, on which stage; and playing it."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import trio

from interop.natlab.scenarios.meeting import Run, meet, topology
from interop.natlab.stages import play

Pair: TypeAlias = tuple[str, str]
Plan: TypeAlias = "Callable[[Pair], Mapping[int, int]]"
"""Runs of each initiator, by delay."""

TYPES = ("open", "fc", "ar", "pr", "sym")
CLASSIC = tuple(itertools.combinations_with_replacement(TYPES, 2))
REGULAR = tuple(
    (easier, symmetric) for symmetric in ("symseq1", "symseq") for easier in ("fc", "ar", "pr")
)
"""Symmetric NATs whose ports can be foretold, and what is met through them then."""
TRANSPORTS = ("tcp", "quic")
DELAYS = (50, 0, 200)  # ms, one way from anywhere on the internet to anywhere else

QUICK = (("open", "sym"), ("pr", "pr"), ("sym", "sym"))  # reversed, punched, relayed
_OFTEN = {("ar", "sym"), ("pr", "pr"), ("fc", "sym"), *REGULAR}  # the ones that could be chance


@dataclass(frozen=True)
class Job:
    """One pair with one transport, the nodes started once."""

    pair: Pair
    transport: str
    plan: Mapping[int, int]  # delay → runs of each initiator

    @property
    def runs(self) -> int:
        return 2 * sum(self.plan.values())

    def __str__(self) -> str:
        return f"{' × '.join(self.pair)} {self.transport}"


def can_meet(one: str, other: str) -> bool:
    """Whether physics lets the two meet (NAT behaviour, RFC 5128): a symmetric NAT shows each peer
    another port, and a filter by port lets in only what it expects."""
    if "symseq" in (one[:6], other[:6]):
        return {one[:6], other[:6]} <= {"open", "fc", "ar", "pr", "symseq"} and one != other
    return "sym" not in (one, other) or bool({one, other} & {"open", "fc", "ar"})


def jobs(pairs: Sequence[Pair], transports: Sequence[str], plan: Plan) -> list[Job]:
    return [Job(pair, transport, plan(pair)) for pair in pairs for transport in transports]


def everything(runs: int, delays: Sequence[int] = DELAYS) -> Plan:
    """So many runs of each initiator at each delay."""
    return lambda _: dict.fromkeys(delays, runs)


def kernel_plan(pair: Pair) -> Mapping[int, int]:
    """What fits into an hour: chance is looked for where it could play a part."""
    return {50: 20 if pair in _OFTEN else 5, 0: 2, 200: 2}


# --- playing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """A job that was played.

    Attributes:
        seconds: of real time.
        failure: why it could not be played to its end.
    """

    job: Job
    runs: Sequence[Run]
    seconds: float
    failure: str | None = None


def simulate(work: Sequence[Job], processes: int, *, seed: int = 0) -> Iterator[Played]:
    """In the simulator, each job by itself with a seed of its own; the results as they come."""
    if processes == 1:
        yield from (_simulate_one(job, seed) for job in work)
        return
    # The unit of work is a job at one delay, so that the last one does not take long.
    with ProcessPoolExecutor(processes) as pool:
        waiting = [
            pool.submit(_simulate_one, Job(job.pair, job.transport, {delay: runs}), seed)
            for job in work
            for delay, runs in job.plan.items()
        ]
        for done in as_completed(waiting):
            yield done.result()


def _simulate_one(job: Job, seed: int) -> Played:
    started = time.monotonic()
    own = zlib.crc32(f"{seed} {job} {sorted(job.plan)}".encode())
    scenario = partial(meet, transport=job.transport, plan=job.plan)
    try:
        runs = play("simulated", topology(*job.pair), scenario, seed=own)
    except Exception as error:  # of the program, not of the network: it is shown, and counts
        return Played(job, (), time.monotonic() - started, _words(error))
    return Played(job, runs, time.monotonic() - started)


async def play_in_kernel(
    work: Sequence[Job], at_once: int, report: Callable[[Played], None]
) -> None:
    """Each job in a laboratory of its own, some beside each other: they mostly wait."""
    from interop.natlab.stages.kernel import open_kernel_stage

    limit = trio.CapacityLimiter(at_once)

    async def one(job: Job) -> None:
        async with limit:
            started, failure = time.monotonic(), None
            runs: Sequence[Run] = ()
            try:
                async with open_kernel_stage(topology(*job.pair)) as stage:
                    runs = await meet(stage, job.transport, job.plan)
            except Exception as error:  # shown, and counts
                failure = _words(error)
            report(Played(job, runs, time.monotonic() - started, failure))

    async with trio.open_nursery() as nursery:
        for job in work:
            nursery.start_soon(one, job)


def _words(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_words, error.exceptions))
    return f"{type(error).__name__}: {error}"
