"""New connections: one after another, many at once, and the first of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from benchmarks.bench import Bench, Cell, Row, Settings, fails
from benchmarks.contestants import Contestant, Listener, Stack
from benchmarks.processes import Failed, observe
from benchmarks.stats import Sample

NAME = "dials"
TITLE = "Dials"
NOTE = (
    "*dial + ping + close* opens a ping stream on a fresh dial, without waiting for identify, "
    "which runs on both sides. *connect()* returns after identify, and the connection is closed "
    "again. 50 at once are 50 hosts with 50 identities. *first connect* is that of a new process, "
    "as its own command times it: with identify in Carrick and go, without it in rust and js; py "
    "always waits 250 ms. py's listener refuses everybody after 250 connections and is started "
    "anew for each repetition; js's refused most of 50 at once, probably by its default of 10 "
    "unfinished connections."
)

AT_ONCE = 50


def seconds(settings: Settings) -> float:
    return settings.pick(8, 30) * settings.rounds + 4


def cells(bench: Bench) -> list[Cell]:
    stack = Stack()
    there = [each for each in bench.contestants if each.offers(stack)]
    found = []
    for contestant in there:
        ours = contestant is bench.carrick
        found += [
            _cell(bench, stack, contestant, "dial", 1, 150 if ours else 40),
            _cell(bench, stack, contestant, "dial", AT_ONCE, 250 if ours else AT_ONCE),
        ]
        if ours:
            found += [_cell(bench, stack, contestant, "connect", 1, 120)]
            if not bench.settings.quick:
                found += [_cell(bench, stack, contestant, "connect", AT_ONCE, 250)]
    if not bench.settings.quick:
        found.append(_cell(bench, Stack("tls"), bench.carrick, "dial", 1, 150))
    return found + [_first(bench, stack, contestant) for contestant in there]


def _cell(
    bench: Bench, stack: Stack, contestant: Contestant, command: str, at_once: int, count: int
) -> Cell:
    what = "connect()" if command == "connect" else "dial + ping + close"
    what += f", {at_once} at once" if at_once > 1 else ", one by one"
    row = Row(NAME, what, "carrick", contestant.name, str(stack), "/s")
    try:
        dialer, listening = bench.dialer(stack), _listening(bench, contestant, stack)
    except Failed as error:
        return fails((row,), error)
    if contestant.name != "py":  # its listener would be worn out
        count *= bench.settings.pick(1, 5)

    def run() -> Sequence[Sample]:
        with listening() as listener:
            return observe(
                listener,
                lambda: dialer.measure(
                    command,
                    values=lambda answer: [answer["count"] / answer["seconds"]],
                    address=listener.address,
                    count=count,
                    at_once=at_once,
                ),
            )

    return Cell((row,), run)


def _listening(
    bench: Bench, contestant: Contestant, stack: Stack
) -> Callable[[], AbstractContextManager[Listener]]:
    if contestant.name == "py":
        return lambda: contestant.listening(stack)
    listener = bench.listener(contestant, stack)
    return lambda: _lasting(listener)


@contextmanager
def _lasting(listener: Listener) -> Iterator[Listener]:
    yield listener


def _first(bench: Bench, stack: Stack, contestant: Contestant) -> Cell:
    name = contestant.name
    row = Row(NAME, "first connect", name, name, str(stack), "ms", more_is_better=False)
    try:
        listener = bench.listener(contestant, stack)
    except Failed as error:
        return fails((row,), error)
    return Cell(
        (row,),
        lambda: observe(listener, lambda: contestant.connect_once(stack, listener.address)),
    )
