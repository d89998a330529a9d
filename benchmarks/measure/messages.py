"""Many small requests and responses on one stream, Carrick with itself."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Stack, echo_listener
from benchmarks.processes import observe

NAME = "messages"
TITLE = "Requests and responses"
NOTE = (
    "Each request is answered with as many bytes. *Pipelined*: requests are sent as fast as the "
    "stream takes them, without waiting for responses. The peers serve nothing of the kind; "
    "*ping* compares them."
)


def seconds(settings: Settings) -> float:
    return settings.pick(2, 12) * settings.rounds


def cells(bench: Bench) -> list[Cell]:
    stack = Stack()
    listener, dialer = bench.start(echo_listener(stack)), bench.dialer(stack)

    def cell(size: int, pipelined: bool) -> Cell:
        what = f"{size} B, {'pipelined' if pipelined else 'one by one'}"
        count = bench.settings.pick(3000, 20_000) * (3 if pipelined else 1)
        return Cell(
            (Row(NAME, what, "carrick", "carrick", str(stack), "/s"),),
            lambda: observe(
                listener,
                lambda: dialer.measure(
                    "messages",
                    values=lambda answer: [answer["count"] / answer["seconds"]],
                    address=listener.address,
                    size=size,
                    count=count,
                    pipelined=pipelined,
                ),
            ),
        )

    return [cell(size, pipelined) for size in (64, 4096) for pipelined in (False, True)]
