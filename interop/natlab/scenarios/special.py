"""What is not a matter of two types of routers: each a topology, and what must happen on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import trio

from interop.natlab.node import Description
from interop.natlab.scenarios.meeting import Cast, at_once, begin, cast, topology
from interop.natlab.stages import PlayedNode, Stage
from interop.natlab.topology import Topology

DELAY = 50  # ms, one way
RTT = 2 * DELAY / 1000  # s, between two public places
RELAYED_RTT = 2 * RTT  # s, over the relay


@dataclass
class Report:
    """What was seen, and what of it should not be."""

    facts: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, fine: bool, words: str) -> None:
        if not fine:
            self.wrong.append(words)


Play: TypeAlias = Callable[[Stage, Report], Awaitable[None]]


@dataclass(frozen=True)
class Special:
    """A scenario.

    Attributes:
        rows: of CAPABILITIES that it shows.
        leaks: packets to private addresses may come onto the internet: behind one carrier's NAT two
            peers look as if on one LAN, and try that.
    """

    rows: str
    topology: Callable[[], Topology]
    play: Play
    leaks: bool = False

    async def __call__(self, stage: Stage) -> Report:
        report = Report()
        async with stage.delay(DELAY):
            await self.play(stage, report)
        leaked = await stage.leaked()
        report.check(self.leaks or not leaked, f"{leaked} private addresses on the internet")
        return report


async def _connect(
    stage: Stage, nodes: Cast, report: Report, *, direct: bool = True, settle: float = 0
) -> dict[str, Any]:
    """A connects to B over the relay; where that led is among the facts."""
    where = await begin(stage, nodes, nodes.b)
    told: dict[str, Any] = await nodes.a.do(
        "connect", addresses=where, direct=direct, settle=settle
    )
    paths = await nodes.a.do("paths", peer=nodes.b.id)
    report.facts |= {
        "error": told["message"],
        "seconds": round(told["seconds"], 3),
        "outcome": told["outcome"],
        "paths": [each["address"] for each in paths],
        "direct": [each["address"] for each in paths if not each["relayed"]],
    }
    report.facts["trace"] = told["trace"]
    return told


# --- on a LAN, or behind several routers ----------------------------------------------------------


def _same_lan() -> Topology:
    made = _public()
    router = made.router("r", "pr")
    made.host("a", router), made.host("b", router)
    return made


def _two_homes(carrier: str) -> Topology:
    made = _public()
    isp = made.cgnat("isp", carrier)
    for name in "ab":
        made.host(name, made.router(f"{name}-r", "pr", behind=isp))
    return made


def _public() -> Topology:
    made = Topology()
    made.public("relay")
    made.public("watcher", addresses=2)
    return made


async def _on_the_lan(stage: Stage, report: Report, transport: str) -> None:
    async with cast(stage, transport) as nodes:
        await _connect(stage, nodes, report)
    found = report.facts["direct"]
    report.check(bool(found), "not direct")
    report.check(all("/192.168." in each for each in found), f"not by the private address: {found}")


async def _must_punch(stage: Stage, report: Report, transport: str) -> None:
    await _meets(stage, report, (transport,), "/ip4/11.0.113.")


async def _udp_blocked(stage: Stage, report: Report) -> None:
    """No QUIC for one of them: TCP is punched, though the other was seen over QUIC only."""
    await _meets(stage, report, ("quic", "tcp"), "/tcp/")


async def _meets(stage: Stage, report: Report, transports: Sequence[str], by: str) -> None:
    async with cast(stage, *transports) as nodes:
        await _connect(stage, nodes, report)
    found = report.facts["direct"]
    report.check(bool(found), "not direct")
    report.check(all(by in each for each in found), f"not by {by}: {found}")
    report.check(report.facts["seconds"] <= 10, "took more than 10 s")


async def _must_relay(stage: Stage, report: Report, transport: str) -> None:
    """Connected over the relay within 5 s, and it says so; data flows (C6). Then directly: no."""
    async with cast(stage, transport) as nodes:
        told = await _connect(stage, nodes, report, direct=False)
        report.check(told["error"] is None, "not connected")
        report.check(told["seconds"] <= 5, f"relayed only after {told['seconds']:.1f} s")
        report.check(not report.facts["direct"], "direct, against physics")
        report.facts["transfer"] = await nodes.a.do("transfer", peer=nodes.b.id, size=50_000)
        report.check(report.facts["transfer"]["intact"], "what came back is not what was sent")
        report.check(report.facts["transfer"]["relayed"], "it does not say that it is relayed")
        told = await _connect(stage, nodes, report)
        report.check(told["error"] is not None, "says that it is direct")
        report.check(told["seconds"] <= 10, "took more than 10 s")


async def _firewall_of_ipv6(stage: Stage, report: Report, transport: str) -> None:
    async with cast(stage, transport, ipv6=True) as nodes:
        await _connect(stage, nodes, report)
    found = report.facts["direct"]
    report.check(bool(found), "not direct")
    report.check(all(each.startswith("/ip6/") for each in found), f"not by IPv6: {found}")


# --- reversal, and a relay that is used while there is nothing better -----------------------------


async def _reversed(stage: Stage, report: Report, transport: str) -> None:
    """A is public, B not: B dials back (C2)."""
    async with cast(stage, transport) as nodes:
        told = await _connect(stage, nodes, report)
    report.check(told["error"] is None, "not direct")
    report.check(told["outcome"] == "CONNECTION_REVERSED", f"outcome {told['outcome']}")
    handshake = 5 * RTT if transport == "tcp" else 3 * RTT  # CAPABILITIES section 3, the targets
    limit = 3 * RELAYED_RTT + handshake
    seconds = _end_of(told["trace"], "reverse")  # connect then waits for identify, too
    report.facts |= {
        "relayed": _end_of(told["trace"], "relay"),
        "reversed": seconds,
        "limit": limit,
    }
    slowness = 0.4 if stage.name == "kernel" else 0.0  # of the computer
    report.check(seconds <= limit + slowness, f"{seconds:.2f} s, more than {limit:.2f} s")


async def _relay_meanwhile(stage: Stage, report: Report, transport: str) -> None:
    """Data flows over the relay while the two punch, then directly (C10)."""
    async with cast(stage, transport) as nodes:
        told = await _connect(stage, nodes, report, direct=False)
        report.check(told["error"] is None, "not connected")
        first = await nodes.a.do("transfer", peer=nodes.b.id, size=1000)
        paths = await nodes.a.do("paths", peer=nodes.b.id, direct_within=10)
        report.check(any(not each["relayed"] for each in paths), "never direct")
        second = await nodes.a.do("transfer", peer=nodes.b.id, size=1000)
        report.facts |= {"first": first, "second": second}
        report.check(first["intact"] and second["intact"], "what came back is not what was sent")
        report.check(first["relayed"], "there was nothing to wait for")
        report.check(not second["relayed"], "new streams still go over the relay")


def _end_of(trace: Sequence[dict[str, Any]], strategy: str) -> float:
    ends = [step["end_ms"] for step in trace if step["strategy"] == strategy and step["end_ms"]]
    return max(ends, default=0.0) / 1000


# --- time, and what a node finds out about itself -------------------------------------------------


async def _idle(stage: Stage, report: Report, seconds: dict[str, float]) -> None:
    """Both routers forget a UDP mapping after 10 s of silence, and nobody says a word (C16)."""
    for router in stage.topology.routers:
        await stage.set_udp_lifetime(router.name, 10)
    async with cast(stage, "quic") as nodes:
        await _connect(stage, nodes, report)
        report.check(bool(report.facts["direct"]), "not direct")
        await trio.sleep(seconds[stage.name])
        report.facts["ping"] = await nodes.b.do("ping", peer=nodes.a.id)
        paths = await nodes.b.do("paths", peer=nodes.a.id)
        report.facts["after"] = [each["address"] for each in paths if not each["relayed"]]
        report.check(bool(report.facts["after"]), "the direct connection is gone")


# Behind "ar" a node looks public: it has sent to the servers' addresses.
VERDICTS = {"open": "public", "fc": "public", "pr": "private", "sym": "private"}


def _probed() -> Topology:
    made = Topology()
    for number in range(3):
        made.public(f"s{number}")
    for kind in VERDICTS:
        made.place(kind, kind)
    return made


async def _autonat(stage: Stage, report: Report) -> None:
    """Three servers are known: the verdict on each type within 30 s (B6)."""
    async with trio.open_nursery() as nursery:
        servers: list[PlayedNode] = []
        release = trio.Event()

        async def serve(place: str, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            async with stage.node(place, Description(services=("autonat",))) as node:
                servers.append(node)
                task_status.started()
                await release.wait()

        for number in range(3):
            await nursery.start(serve, f"s{number}")

        async def judge(kind: str) -> None:
            async with stage.node(kind, Description(services=("autonat",))) as node:
                started = trio.current_time()
                await at_once(*(node.do("dial", addresses=each.addresses) for each in servers))
                verdict, status = "unknown", {}
                while verdict == "unknown" and trio.current_time() < started + 30:
                    await trio.sleep(0.5)
                    status = await node.do("status")
                    verdict = status["reachable"][""]
                report.facts[kind] = (verdict, round(trio.current_time() - started, 1))
                report.check(verdict == VERDICTS[kind], f"{kind}: {verdict}")

        async with trio.open_nursery() as asking:
            for kind in VERDICTS:
                asking.start_soon(judge, kind)
        release.set()


def _by_both(
    name: str, rows: str, made: Callable[[], Topology], play: Any, **options: Any
) -> dict[str, Special]:
    """The same with TCP and with QUIC."""
    return {
        f"{name} {transport}": Special(rows, made, partial(play, transport=transport), **options)
        for transport in ("tcp", "quic")
    }


SPECIAL: dict[str, Special] = {
    **_by_both("same-lan", "C12", _same_lan, _on_the_lan),
    **_by_both("stacked-nats", "C3", partial(topology, "pr/pr", "pr"), _must_punch),
    **_by_both("hashed-ports", "C3", partial(topology, "prhash", "fchash"), _must_punch),
    **_by_both("ipv6-firewall", "B12", partial(topology, "pr", "sym"), _firewall_of_ipv6),
    **_by_both("one-carrier", "C6", partial(_two_homes, "pr"), _must_relay, leaks=True),
    **_by_both(
        "one-carrier-hairpin", "C3", partial(_two_homes, "fchash-hairpin"), _must_punch, leaks=True
    ),
    **_by_both("relayed", "C6", partial(topology, "sym", "sym"), _must_relay),
    **_by_both("reversed", "C2", partial(topology, "open", "sym"), _reversed),
    **_by_both("relay-meanwhile", "C10", partial(topology, "pr", "pr"), _relay_meanwhile),
    "udp-blocked": Special("C3", partial(topology, "pr-udp-blocked", "pr"), _udp_blocked),
    "idle": Special(
        "C16",
        partial(topology, "pr", "pr"),
        partial(_idle, seconds={"simulated": 300, "kernel": 45}),
    ),
    "autonat": Special("B6", _probed, _autonat),
}
