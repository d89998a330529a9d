"""The benchmark's processes do what they are asked for; how fast is not asked here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import controls
from benchmarks.bench import Bench
from benchmarks.contestants import CarrickDialer, Listener, Stack, carrick_itself, echo_listener
from benchmarks.measure import bulk
from benchmarks.plan import settings_for
from benchmarks.processes import Child, Failed, Outcome, observe


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with Listener(echo_listener(Stack())) as child:
        yield child


@pytest.fixture(scope="module")
def dialer() -> Iterator[CarrickDialer]:
    with CarrickDialer(Stack()) as child:
        yield child


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("transfer", {"up": 100_000, "down": 200_000}),
        ("upload", {"size": 100_000, "write": 4096, "buffered": True}),
        ("upload", {"size": 100_000, "write": 1024, "streams": 5}),
        ("messages", {"size": 64, "count": 20, "pipelined": False}),
        ("messages", {"size": 4096, "count": 20, "pipelined": True}),
        ("ping", {"count": 5}),
        ("dial", {"count": 6, "at_once": 3}),
        ("connect", {"count": 2, "at_once": 1}),
        ("streams", {"count": 10, "at_once": 4, "protocol": "echo"}),
        ("streams", {"count": 3, "at_once": 1, "protocol": "perf"}),
        ("hold", {"count": 2}),
        ("hold_streams", {"count": 3}),
    ],
)
def test_every_command_works(
    listener: Listener, dialer: CarrickDialer, command: str, arguments: dict[str, Any]
) -> None:
    def act() -> Outcome:
        return dialer.measure(
            command, values=lambda _: [1.0], address=listener.address, **arguments
        )

    (sample,) = observe(listener, act)
    assert sample.wall > 0
    if command == "hold_streams":
        assert dialer.measure("echo_held", values=lambda a: a["times"], count=4).values
        assert dialer.measure("close_held", values=lambda a: [a["count"]]).values == (3,)
    assert dialer.measure("release", values=lambda answer: [answer["count"]]).values[0] >= 0


def test_a_failure_is_told(dialer: CarrickDialer) -> None:
    nobody = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWLMaGvGwY8QMruJ4FSYreKR9PAbLntdUC7yY3njbmcFDt"
    with pytest.raises(Failed, match="DialError"):
        dialer.measure("dial", values=lambda _: [], address=nobody, count=1, at_once=2)


@pytest.mark.parametrize("kind", ["tcp", "aead"])
def test_the_controls_deliver(kind: str) -> None:
    with (
        Listener(controls.command("listen", kind)) as listener,
        Child(controls.command("dial", kind)) as dialer,
    ):
        for _ in range(2):
            answer = dialer.ask({"address": listener.address, "size": 3_000_000}, 30)
            assert 2_000_000 < answer["bytes"] <= 3_000_000


def test_carrick_is_a_contestant() -> None:
    carrick = carrick_itself()
    with Bench(settings_for(True, 1, None), [carrick]) as bench:
        listener = bench.listener(carrick, Stack())
        assert bench.listener(carrick, Stack()) is listener
        assert carrick.connect_once(Stack(), listener.address).values[0] > 0
        cells = bulk.cells(bench)
        rows = [(row.what, row.stack) for cell in cells for row in cell.rows]
        assert ("download", "tcp+tls+yamux") in rows


def test_a_child_that_ends_says_why() -> None:
    with (
        Child([sys.executable, "-c", "import sys; sys.exit('no such luck')"]) as child,
        pytest.raises(Failed, match="no such luck"),
    ):
        child.line(10)
