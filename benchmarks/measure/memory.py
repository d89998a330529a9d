"""What idle connections and streams cost, in memory and CPU time, and how many of them do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Contestant, Dialer, Listener, Stack
from benchmarks.stats import Sample, percentile

NAME = "memory"
TITLE = "Idle connections and streams"
NOTE = (
    "Resident memory of the listener, after less before, per connection of a peer of its own or "
    "per stream; the first 20 connections, or the first stream, come before. No collection of "
    "garbage is forced. CPU is the listener's while nothing happens. The dialer is Carrick's, one "
    "process with as many identities, with every listener."
)

_WARM_UP = 20  # connections
_SETTLE = 3.0  # s; a muxer sends its first ping a second after the connection is there
_ECHOES = 500


def seconds(settings: Settings) -> float:
    return settings.pick(20, 200)


def cells(bench: Bench) -> list[Cell]:
    noise, others = Stack("noise"), [Stack("tls"), Stack("tls", "quic-v1")]
    found = [_connections(bench, noise, bench.carrick)]
    if not bench.settings.quick:
        found += [
            _connections(bench, stack, bench.carrick)
            for stack in others
            if bench.carrick.offers(stack)
        ]
        found += [_connections(bench, noise, peer) for peer in bench.peers if peer.offers(noise)]
    return [*found, _streams(bench, noise)]


def _connections(bench: Bench, stack: Stack, contestant: Contestant) -> Cell:
    name, count = contestant.name, 500
    rest = bench.settings.pick(4, 15)  # s

    def row(what: str, unit: str) -> Row:
        return Row(NAME, what, "carrick", name, str(stack), unit, more_is_better=False)

    def run() -> Sequence[Sample]:
        with _both(bench, contestant, stack) as (listener, dialer):
            _hold(dialer, listener, "hold", _WARM_UP)
            before = listener.rss()
            _hold(dialer, listener, "hold", count)
            each = (listener.rss() - before) / count / 1024
            cpu = listener.cpu()
            time.sleep(rest)
            share = (listener.cpu() - cpu) / rest * 100
        return Sample(each), Sample(share, wall=rest, listener_cpu=share * rest / 100)

    rows = row(f"memory per connection of {count}", "KiB"), row(f"CPU with {count}", "% of a core")
    return Cell(rows, run, once=True)


def _streams(bench: Bench, stack: Stack) -> Cell:
    count = bench.settings.pick(1000, 10_000)

    def row(what: str, unit: str, *, more_is_better: bool = False) -> Row:
        return Row(NAME, what, "carrick", "carrick", str(stack), unit, more_is_better)

    rows = (
        row(f"memory per stream of {count}", "KiB"),
        row(f"memory per stream of {count}, dialer", "KiB"),
        row(f"setting up {count} streams", "/s", more_is_better=True),
        row("echo beside no stream, p50", "µs"),
        row(f"echo on a random one of {count}, p50", "µs"),
        row(f"closing {count} streams", "/s", more_is_better=True),
    )

    def run() -> Sequence[Sample]:
        with _both(bench, bench.carrick, stack) as (listener, dialer):

            def each(answer: dict[str, Any]) -> list[float]:
                return [answer["count"] / answer["seconds"]]

            def median(answer: dict[str, Any]) -> list[float]:
                return [percentile(answer["times"], 0.5) * 1e6]

            _hold(dialer, listener, "hold_streams", 1)
            before, ours = listener.rss(), dialer.rss()
            (alone,) = dialer.measure("echo_held", values=median, count=_ECHOES).values
            address = listener.address
            held = dialer.measure("hold_streams", values=each, address=address, count=count)
            time.sleep(_SETTLE)
            memory = (listener.rss() - before) / count / 1024
            own = (dialer.rss() - ours) / count / 1024
            (among,) = dialer.measure("echo_held", values=median, count=_ECHOES).values
            closed = dialer.measure("close_held", values=each)
        figures = (memory, own, *held.values, alone, among, *closed.values)
        return tuple(Sample(figure) for figure in figures)

    return Cell(rows, run, once=True)


@contextmanager
def _both(bench: Bench, contestant: Contestant, stack: Stack) -> Iterator[tuple[Listener, Dialer]]:
    """New processes, which nothing else has used."""
    with (
        Listener(contestant.listen(stack)) as listener,
        Dialer(bench.carrick.dial(stack)) as dialer,
    ):
        yield listener, dialer


def _hold(dialer: Dialer, listener: Listener, command: str, count: int) -> None:
    dialer.measure(command, values=lambda answer: [], address=listener.address, count=count)
    time.sleep(_SETTLE)
