"""What the size of the application's writes costs, Carrick with itself."""

from __future__ import annotations

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Stack
from benchmarks.processes import observe

NAME = "writes"
TITLE = "Sizes of writes"
NOTE = (
    "An upload on one stream, timed to its delivery. `send_all` sends each write as it comes; "
    "*buffered* is the stream's `writer()`."
)

_WRITES = [(256, False), (64, False), (16, False), (4, False), (4, True), (1, True)]  # KiB


def seconds(settings: Settings) -> float:
    return settings.pick(2, 15) * settings.rounds


def cells(bench: Bench) -> list[Cell]:
    stack = Stack()
    listener, dialer = bench.listener(bench.carrick, stack), bench.dialer(stack)
    size = bench.settings.pick(120, 1000) * 1_000_000

    def cell(write: int, buffered: bool) -> Cell:
        how = "buffered" if buffered else "send_all"
        row = Row(NAME, f"{write} KiB, {how}", "carrick", "carrick", str(stack), "MB/s")
        return Cell(
            (row,),
            lambda: observe(
                listener,
                lambda: dialer.measure(
                    "upload",
                    values=lambda answer: [answer["bytes"] / answer["seconds"] / 1e6],
                    address=listener.address,
                    size=size if write > 4 or buffered else size // 3,
                    write=write * 1024,
                    buffered=buffered,
                ),
            ),
        )

    return [cell(*each) for each in _WRITES]
