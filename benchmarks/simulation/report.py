"""What to say of the worlds that were measured. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["AIM_MEMORY", "AIM_NODES", "AIM_SECONDS", "markdown"]

AIM_NODES, AIM_SECONDS, AIM_MEMORY = 1000, 60.0, 2 << 30

_MIB, _KIB = 1 << 20, 1 << 10

World = Mapping[str, Any]

_HEAD = """# Simulation

Many Carrick nodes on one simulated internet, in one process and one thread: TCP, Noise, Yamux and
identify, their production code, with links of 10 ms. Each node is connected to {peers} others (to
all, if there are fewer). A connection counts once, and has two ends here; it is counted when both
have identified the other. Written by

    python -m benchmarks.simulation --nodes {nodes} --peers {peers}

which takes each size in a process of its own; `--nodes 10,100,1000` is the whole of it. Nothing is
recorded (`record=False`).
"""

_NOTES = """
*Idle* is a minute of virtual time in which nothing is asked of the nodes: once before they connect,
once after, when connections are kept alive. *(gc N)* is the same after `gc.set_threshold(N)`:
nearly everything in a large simulation is alive, and Python's default looks through it again and
again. *Memory per node* is that of the process, less what it has after its imports (with few nodes
it is mostly what is imported late); *connected* has both ends of the connections. *Real time* is
that of this machine, which may do other things too; CPU time is steadier.
"""


def markdown(
    worlds: Sequence[World],
    facts: Mapping[str, str],
    *,
    peers: int,
    time_profile: World | None = None,
    memory_profile: World | None = None,
) -> str:
    """The page.

    Args:
        worlds: what `benchmarks.simulation.world` printed, one for each size.
        facts: of the machine and the run.
        time_profile, memory_profile: a world that was measured with a profiler.
    """
    sizes = ",".join(dict.fromkeys(str(world["nodes"]) for world in worlds))
    lines = [_HEAD.format(nodes=sizes, peers=peers)]
    lines += _table(("", ""), facts.items())
    lines += ["\n## What it costs\n", *_costs(worlds), _NOTES, "## The aim\n", _aim(worlds)]
    if time_profile is not None:
        lines += _profile("time", "Where time goes while they connect", time_profile)
    if memory_profile is not None:
        lines += _profile("memory", "Where memory is when they are connected", memory_profile)
    return "\n".join(lines) + "\n"


def _costs(worlds: Sequence[World]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        _row("connections", worlds, lambda world: f"{world['connections']:,}"),
        _row("to open all nodes, real time", worlds, _seconds("open")),
        _row("to connect all, real time", worlds, _seconds("connect")),
        _row("to connect all, CPU time", worlds, _seconds("connect", "cpu")),
        _row("of that, collecting garbage", worlds, _seconds("connect", "collecting")),
        _row("connections per second of real time", worlds, _per_second),
        _row("CPU time per connection", worlds, _per_connection),
        _row("CPU time of an idle minute", worlds, _seconds("idle", "cpu")),
        _row("CPU time of an idle minute, connected", worlds, _seconds("connected, idle", "cpu")),
        _row("memory per node, idle", worlds, lambda world: _per_node(world, "idle")),
        _row("memory per node, connected", worlds, lambda world: _per_node(world, "connect")),
        _row("memory of the process at most", worlds, _peak),
        _row("whole run, real time", worlds, lambda world: f"{world['seconds']:.1f} s"),
    ]
    return _table(("nodes", *map(_name, worlds)), rows)


def _aim(worlds: Sequence[World]) -> str:
    wanted = (
        f"{AIM_NODES:,} nodes connected to 20 others each: at most {AIM_SECONDS:.0f} s and "
        f"{AIM_MEMORY >> 30} GiB. It is an aim, not a gate. "
    )
    verdicts = [_verdict(world) for world in worlds if world["nodes"] == AIM_NODES]
    return wanted + ("Not measured in this run." if not verdicts else " ".join(verdicts))


def _verdict(world: World) -> str:
    seconds = world["phases"]["open"]["seconds"] + world["phases"]["connect"]["seconds"]
    memory = world["peak_rss"]
    return (
        f"With {_name(world)}: {seconds:.1f} s to open and connect, "
        f"{_reached(seconds <= AIM_SECONDS)}; {memory / _MIB:,.0f} MiB, "
        f"{_reached(memory <= AIM_MEMORY)}."
    )


def _name(world: World) -> str:
    count = f"{world['nodes']:,}"
    return f"{count} (gc {world['gc']:,})" if world["gc"] else count


def _reached(yes: bool) -> str:
    return "reached" if yes else "**missed**"


def _profile(kind: str, title: str, world: World) -> list[str]:
    slow = "the profiler makes small functions look dearer than they are"
    how = {
        "time": f"{world['nodes']} nodes under cProfile; {slow}. C code counts for the room that "
        "called it, cryptography aside.",
        "memory": f"{world['nodes']} nodes under tracemalloc: what Python has allocated from each "
        "room's code since before the first node, and still holds.",
    }[kind]
    shares = ((name, f"{share:.1%}") for name, share in world[kind].items())
    return [f"\n## {title}\n", how + "\n", *_table(("room", "share"), shares)]


def _row(name: str, worlds: Sequence[World], value: Any) -> tuple[str, ...]:
    return name, *(value(world) for world in worlds)


def _seconds(phase: str, which: str = "seconds") -> Any:
    return lambda world: _time(world["phases"][phase][which])


def _per_second(world: World) -> str:
    return f"{world['connections'] / world['phases']['connect']['seconds']:,.0f}"


def _per_connection(world: World) -> str:
    return _time(world["phases"]["connect"]["cpu"] / world["connections"])


def _per_node(world: World, after: str) -> str:
    held = world["phases"][after]["rss"] - world["imported_rss"]
    return f"{held / world['nodes'] / _KIB:,.0f} KiB"


def _peak(world: World) -> str:
    return f"{world['peak_rss'] / _MIB:,.0f} MiB"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
