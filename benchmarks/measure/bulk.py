"""One stream, as many bytes as it carries: every implementation with itself and with Carrick."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import controls
from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Listener, Stack
from benchmarks.pairs import Amount, Pair, Sized, command_cell, megabytes, pairs
from benchmarks.processes import Child, Outcome, observe
from benchmarks.stats import Sample
from benchmarks.work import WRITE

NAME = "bulk"
TITLE = "Bulk"
NOTE = (
    "`/perf/1.0.0`, one stream of a new connection, from opening it to the confirmed delivery of "
    "the last byte, in writes of 256 KiB (what a peer is asked to send back: 64 KiB). *trio TCP* "
    "is a plain trio stream, writes of 64 KiB; *AEAD ceiling* is TCP with ChaCha20-Poly1305 of "
    "64 KiB messages on blocking sockets and nothing else, in two processes. js and py do not "
    "connect over TLS with each other, and are not asked to."
)

CEILING = "AEAD ceiling"
TRIO_TCP = "trio TCP"

_LEAST, _MOST = 4_000_000, 4_000_000_000  # bytes


def seconds(settings: Settings) -> float:
    return settings.pick(13, 150) * settings.rounds + settings.pick(8, 60)


def cells(bench: Bench) -> list[Cell]:
    found = [_control(bench, kind, what) for kind, what in (("tcp", TRIO_TCP), ("aead", CEILING))]
    for stack in stacks(bench.settings):
        # A quick run has TLS only of each with itself.
        crossed = not (bench.settings.quick and stack.security == "tls")
        for pair in pairs(bench, stack, crossed=crossed):
            found += [_cell(bench, pair, what) for what in ("upload", "download")]
    return found


def stacks(settings: Settings) -> list[Stack]:
    both = [Stack("noise"), Stack("tls")]
    if settings.quick:
        return both
    return [*both, Stack("noise", "ws"), Stack("tls", "quic-v1")]


def _amount(settings: Settings) -> Amount:
    return Amount(settings.pick(2, 10) / 10, _LEAST, _MOST)


def _cell(bench: Bench, pair: Pair, what: str) -> Cell:
    up = what == "upload"
    return command_cell(
        bench,
        pair,
        (pair.row(NAME, what, "MB/s"),),
        "transfer",
        _amount(bench.settings),
        asks=lambda size: {"up": size * up, "down": size * (not up), "write": WRITE},
        values=megabytes,
    )


def _control(bench: Bench, kind: str, what: str) -> Cell:
    row = Row(NAME, what, "–", "–", "tcp", "MB/s")
    listener = bench.keep(Listener(controls.command("listen", kind)))
    dialer = bench.keep(Child(controls.command("dial", kind)))

    def transfer(size: int) -> Outcome:
        answer = dialer.ask({"address": listener.address, "size": size}, 60)
        rate = answer["bytes"] / answer["seconds"] / 1e6
        return Outcome((rate,), answer["seconds"], answer["cpu"], answer["cpu"])

    def run(size: int) -> Sequence[Sample]:
        return observe(listener, lambda: transfer(size))

    return Cell((row,), Sized(_amount(bench.settings), run))
