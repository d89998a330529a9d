"""What the matrix has brought: cells, whether they are as physics allows, and the page of them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from interop.natlab.matrix import CLASSIC, REGULAR, TRANSPORTS, TYPES, Played, can_meet
from interop.natlab.stages import STAGES

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
WHOLE = 10.0  # s, that connecting may take
SHARE = 0.95  # of runs that are direct, and of these at the first attempt


@dataclass
class Cell:
    """All runs of a pair with one transport, one delay and one initiator."""

    one: str
    other: str
    transport: str
    delay: int
    initiator: str
    runs: int = 0
    direct: int = 0
    first: int = 0
    strategies: dict[str, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def expected(self) -> bool:
        return can_meet(self.one, self.other)

    @property
    def may_take_two(self) -> bool:
        """Its roles may have to be swapped first."""
        return self.transport == "quic" and {self.one, self.other} == {"ar", "sym"}

    def wrong(self) -> Iterator[str]:
        """What is not as it should be, in words."""
        if not self.runs:
            yield "not played"
        if self.expected and self.direct < SHARE * self.runs:
            yield f"direct {self.direct} of {self.runs}"
        if not self.expected and self.direct:
            yield f"direct {self.direct} of {self.runs}, against physics"
        if self.first < SHARE * self.direct and not self.may_take_two:
            yield f"at the first attempt {self.first} of {self.direct}"
        if self.seconds and max(self.seconds) > WHOLE:
            yield f"took up to {max(self.seconds):.1f} s"
        yield from sorted(set(self.problems))

    def __str__(self) -> str:
        return (
            f"{self.one} × {self.other} {self.transport} {self.delay} ms, "
            f"{self.one if self.initiator == 'a' else self.other} ({self.initiator}) connects"
        )


def cells(played: Iterable[Played]) -> list[Cell]:
    found: dict[tuple[object, ...], Cell] = {}
    for each in played:
        one, other = each.job.pair
        for delay in each.job.plan:
            for initiator in "ab":
                key = one, other, each.job.transport, delay, initiator
                cell = found.setdefault(key, Cell(*key))
                if each.failure is not None:
                    cell.problems.append(each.failure)
                for run in each.runs:
                    if (run.delay, run.initiator) != (delay, initiator):
                        continue
                    cell.runs += 1
                    cell.seconds.append(round(run.seconds, 3))
                    if run.problem is not None:
                        cell.problems.append(run.problem)
                    elif run.direct:
                        cell.direct += 1
                        cell.first += run.attempt == 1
                        name = run.strategy or "?"
                        cell.strategies[name] = cell.strategies.get(name, 0) + 1
    return list(found.values())


def told(played: Played, traces: bool = False) -> Iterator[str]:
    """A job as it is done, in a line for each delay; *traces* of the runs that are odd."""
    if played.failure is not None:
        yield f"{played.job}: FAILED: {played.failure}"
    for delay in played.job.plan:
        runs = [run for run in played.runs if run.delay == delay]
        if runs:
            direct = [run for run in runs if run.direct]
            how = Counter(f"{run.strategy} {run.attempt}" for run in direct)
            times = sorted(run.seconds for run in runs)
            yield (
                f"{str(played.job):<24} {delay:>3} ms: {len(direct):>2}/{len(runs)} direct, "
                f"{median(times):5.2f} s, {times[-1]:5.2f} s  "
                + ", ".join(f"{name}: {count}" for name, count in how.most_common())
            )
    for run in played.runs if traces else ():
        if run.problem or run.direct != can_meet(*played.job.pair) or (run.attempt or 1) > 1:
            yield f"  {run.initiator} connects, {run.seconds:.2f} s, {run.outcome}: {run.problem}"
            yield from steps(run.trace, "    ")


def steps(trace: Sequence[Mapping[str, Any]], indent: str = "") -> Iterator[str]:
    """A connect's trace, in a line for each step."""
    for step in trace:
        end = "…" if step["end_ms"] is None else f"{step['end_ms']:.0f}"
        words = f"{step['start_ms']:.0f}–{end} ms {step['strategy']}: {step['result']}"
        yield indent + " ".join(filter(None, (words, step["reason"], step["address"])))
        yield from steps(step["attempts"], indent + "  ")


# --- kept -----------------------------------------------------------------------------------------


def path(stage: str) -> Path:
    return HERE / "results" / f"{stage}.json"


def keep(stage: str, found: Sequence[Cell]) -> None:
    """In place of what is kept of these cells; and write the page."""
    every = {_key(cell): cell for cell in (*load(stage), *found)}
    lines = ",\n".join(json.dumps(asdict(cell)) for _, cell in sorted(every.items()))
    path(stage).parent.mkdir(exist_ok=True)
    path(stage).write_text(f"[\n{lines}\n]\n")
    PAGE.write_text("\n".join(page()) + "\n")


def _key(cell: Cell) -> tuple[str, str, str, int, str]:
    return cell.one, cell.other, cell.transport, cell.delay, cell.initiator


def load(stage: str) -> list[Cell]:
    try:
        return [Cell(**each) for each in json.loads(path(stage).read_text())]
    except FileNotFoundError:
        return []


# --- the page -------------------------------------------------------------------------------------


def page() -> Iterator[str]:
    """Both stages side by side."""
    found = {stage: load(stage) for stage in STAGES}
    yield from (
        "# Two nodes behind routers",
        "",
        "Who knows only the other's relayed address connects to it: `python -m interop.natlab",
        "matrix`, with `--simulated` in the simulator. A cell: direct connections of all runs; how",
        "many at another than the first attempt; by which strategy; the median and the longest",
        "time until `connect` was done.",
        "",
    )
    for stage, group in found.items():
        yield from _summary(stage, group)
    yield ""
    yield from _table(found, CLASSIC, "The classic types")
    yield from _table(found, REGULAR, "Symmetric with ports that can be foretold")
    yield from _by_delay(found)


def _summary(stage: str, group: Sequence[Cell]) -> Iterator[str]:
    if not group:
        yield f"- **{stage}**: not played"
        return
    classic = [cell for cell in group if (cell.one, cell.other) in CLASSIC]
    pairs = {pair for pair in CLASSIC if can_meet(*pair)}
    good = {pair for pair in pairs if _all_fine(classic, pair)}
    meetable = [cell for cell in classic if cell.expected]
    direct, runs = sum(c.direct for c in meetable), sum(c.runs for c in meetable)
    first = sum(c.first for c in meetable)
    wrong = sum(any(cell.wrong()) for cell in group)
    yield (
        f"- **{stage}**: {sum(c.runs for c in group)} runs, {len(group)} cells, {wrong} not as "
        f"expected. {len(good)} of {len(pairs)} pairs that can meet do; {direct} of {runs} such "
        f"runs ({_percent(direct, runs)}), {first} of them at the first attempt "
        f"({_percent(first, direct)})."
    )
    share = f"**{100 * _weighted(classic):.1f} %**"
    yield (
        f"  Direct share with all five types equally frequent: {share},"
        " of the 88.0 % that physics allows. What others say of themselves, with the world's mix of"
        " routers instead of a laboratory's: libp2p's DCUtR campaign 70 % ± 7.1 % of its punches;"
        " iroh, Tailscale about 90 %; ZeroTier 92 to 96 % (2014)."
    )


def _weighted(group: Sequence[Cell]) -> float:
    """Of ordered pairs of types, each as frequent as any other; not played is not direct."""
    shares = []
    for one in TYPES:
        for other in TYPES:
            pair = tuple(sorted((one, other), key=TYPES.index))
            of = [cell for cell in group if (cell.one, cell.other) == pair]
            runs = sum(cell.runs for cell in of)
            shares.append(sum(cell.direct for cell in of) / runs if runs else 0.0)
    return sum(shares) / len(shares)


def _all_fine(group: Sequence[Cell], pair: tuple[str, str]) -> bool:
    of = [cell for cell in group if (cell.one, cell.other) == pair]
    return bool(of) and not any(any(cell.wrong()) for cell in of)


def _table(
    found: dict[str, list[Cell]], pairs: Sequence[tuple[str, str]], title: str
) -> Iterator[str]:
    columns = [(transport, stage) for transport in TRANSPORTS for stage in STAGES]
    yield f"## {title}"
    yield ""
    yield "| pair | expected | " + " | ".join(f"{t.upper()}, {s}" for t, s in columns) + " |"
    yield "| --- | --- |" + " --- |" * len(columns)
    for pair in pairs:
        row = [
            _summarize(c for c in found[s] if (c.one, c.other) == pair and c.transport == t)
            for t, s in columns
        ]
        expected = "direct" if can_meet(*pair) else "relayed"
        yield f"| {' × '.join(pair)} | {expected} | {' | '.join(row)} |"
    yield ""


def _by_delay(found: dict[str, list[Cell]]) -> Iterator[str]:
    yield "## By delay"
    yield ""
    yield "Pairs that can meet; ms one way."
    yield ""
    yield "| stage | delay | direct | first attempt | median | longest |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for stage, group in found.items():
        delays: dict[int, list[Cell]] = defaultdict(list)
        for cell in group:
            if cell.expected:
                delays[cell.delay].append(cell)
        for delay, of in sorted(delays.items()):
            direct, first = sum(c.direct for c in of), sum(c.first for c in of)
            times = [each for cell in of for each in cell.seconds] or [0.0]
            yield (
                f"| {stage} | {delay} ms | {direct} of {sum(c.runs for c in of)} | "
                f"{_percent(first, direct)} | {median(times):.2f} s | {max(times):.2f} s |"
            )


def _summarize(group: Iterable[Cell]) -> str:
    of = list(group)
    runs, direct = sum(c.runs for c in of), sum(c.direct for c in of)
    if not runs:
        return "–"
    times = [each for cell in of for each in cell.seconds]
    words = [f"{direct}/{runs}"]
    if later := direct - sum(c.first for c in of):
        words.append(f"{later} later")
    strategies = sum((Counter(c.strategies) for c in of), Counter())
    words += [name for name, _ in strategies.most_common()]
    words.append(f"{median(times):.2f} s, {max(times):.2f} s")
    if any(any(cell.wrong()) for cell in of):
        words.insert(0, "**!**")
    return ", ".join(words)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"
