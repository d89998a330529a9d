"""New connections: one after another, many at once, and the first of a process."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Contestant, Stack
from benchmarks.pairs import Amount, Pair, command_cell, pairs, rate
from benchmarks.processes import observe
from benchmarks.stats import Sample

NAME = "dials"
TITLE = "Dials"
NOTE = (
    "*dial + ping + close* opens a ping stream on a fresh connection, waits for the ping and "
    "closes it. It does not wait for identify, which runs on both sides (js and py dial without "
    "asking for it). rust's ping is the one that its behaviour sends of itself. *connect()* "
    "returns when the dialer has the peer's identify, and the connection is closed again. One by "
    "one is one host; 50 at once are 50 hosts with 50 identities in one process. *first connect* "
    "is that of a new process, as its own command times it: with identify in Carrick and go, "
    "without it in rust and js. py's `connect` always takes 250 ms, and its close 200 ms."
)

AT_ONCE = 50
_MOST = 20_000


def seconds(settings: Settings) -> float:
    return settings.pick(6, 64) * settings.rounds + settings.pick(12, 30)


def cells(bench: Bench) -> list[Cell]:
    quick, stack = bench.settings.quick, Stack()
    found = [
        _cell(bench, pair, command, at_once)
        for command, at_once in (("dial", 1), ("dial", AT_ONCE), ("connect", 1))
        for pair in pairs(bench, stack, crossed=not quick)
    ]
    if quick:
        return found
    own = Pair(bench.carrick, bench.carrick, stack)
    found.append(_cell(bench, own, "connect", AT_ONCE))
    found += [
        _cell(bench, pair, "dial", at_once)
        for at_once in (1, AT_ONCE)
        for pair in pairs(bench, Stack("tls"), crossed=False)
    ]
    there = [each for each in bench.contestants if each.offers(stack)]
    return found + [_first(bench, stack, contestant) for contestant in there]


def _cell(bench: Bench, pair: Pair, command: str, at_once: int) -> Cell:
    what = "connect()" if command == "connect" else "dial + ping + close"
    what += f", {at_once} at once" if at_once > 1 else ", one by one"
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, what, "/s"),),
        command,
        Amount(bench.settings.pick(4, 10) / 10, max(at_once, 2), _MOST),
        asks=lambda count: {"count": count, "at_once": at_once},
        values=rate,
    )


def _first(bench: Bench, stack: Stack, contestant: Contestant) -> Cell:
    name = contestant.name
    row = Row(NAME, "first connect", name, name, str(stack), "ms", more_is_better=False)

    def run() -> tuple[Sample, ...]:
        listener = bench.listener(contestant, stack)
        return observe(listener, lambda: contestant.connect_once(stack, listener.address))

    return Cell((row,), run)
