"""New streams on one connection."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Row, Settings, fails
from benchmarks.contestants import Stack, echo_listener
from benchmarks.processes import Child, Failed, observe

NAME = "streams"
TITLE = "New streams"
NOTE = (
    "Each is opened, negotiated, carries 32 bytes there and back, and is closed. *echo* is a "
    "protocol of the benchmark; *perf* asks any peer for 32 bytes by `/perf/1.0.0`, and ends its "
    "own side first. rust's peer reset some of many perf streams at once, probably while its "
    "queue was full."
)


def seconds(settings: Settings) -> float:
    return settings.pick(4, 20) * settings.rounds + 3


def cells(bench: Bench) -> list[Cell]:
    stack = Stack()
    echo = bench.start(echo_listener(stack))
    found = [
        _cell(bench, stack, echo, echo.address, "carrick", "echo", at_once, 1000)
        for at_once in (1, 100)
    ]
    for contestant in bench.contestants:
        if not contestant.offers(stack):
            continue
        count = 600 if contestant is bench.carrick else 200
        for at_once in (1, 30):
            try:
                listener = bench.listener(contestant, stack)
            except Failed as error:
                found.append(fails((_row(contestant.name, "perf", at_once, stack),), error))
                continue
            found.append(
                _cell(
                    bench,
                    stack,
                    listener,
                    listener.address,
                    contestant.name,
                    "perf",
                    at_once,
                    count,
                )
            )
    return found


def _row(name: str, protocol: str, at_once: int, stack: Stack) -> Row:
    what = f"{protocol}, {at_once} at once" if at_once > 1 else f"{protocol}, one by one"
    return Row(NAME, what, "carrick", name, str(stack), "/s")


def _cell(
    bench: Bench,
    stack: Stack,
    listener: Child,
    address: str,
    name: str,
    protocol: str,
    at_once: int,
    count: int,
) -> Cell:
    dialer = bench.dialer(stack)
    return Cell(
        (_row(name, protocol, at_once, stack),),
        lambda: observe(
            listener,
            lambda: dialer.measure(
                "streams",
                values=lambda answer: [answer["count"] / answer["seconds"]],
                address=address,
                count=count * bench.settings.pick(1, 5),
                at_once=at_once,
                protocol=protocol,
            ),
        ),
    )
