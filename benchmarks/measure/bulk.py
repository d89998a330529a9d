"""One stream, as many bytes as it carries: every implementation with itself and with Carrick."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks import controls
from benchmarks.bench import Bench, Cell, Row, Settings, fails
from benchmarks.contestants import Contestant, Listener, Stack
from benchmarks.processes import Child, Failed, Outcome, observe
from benchmarks.stats import Sample

NAME = "bulk"
TITLE = "Bulk"
NOTE = (
    "`/perf/1.0.0`, one stream, from opening it to the confirmed delivery of the last byte. "
    "Writes of 256 KiB by Carrick, of 64 KiB by the others. Peers dial from a new process each "
    "time, so js warms up within the measurement; what their start costs is not in the CPU "
    "figures. *trio TCP* is a plain trio stream, writes of 64 KiB; *AEAD ceiling* is TCP with "
    "ChaCha20-Poly1305 of 64 KiB messages on blocking sockets and nothing else. js and py do not "
    "connect over TLS with each other, and are not asked to."
)

CEILING = "AEAD ceiling"
TRIO_TCP = "trio TCP"

_EXPECTED = {"carrick": 600, "go": 300, "rust": 400, "js": 150, "py": 60}  # MB/s, before we know
_LEAST, _MOST = 4_000_000, 4_000_000_000  # bytes
_WARM_UP = 8_000_000  # bytes each way, for a listener that compiles as it runs


def seconds(settings: Settings) -> float:
    return settings.pick(22, 250) * settings.rounds + settings.pick(10, 30)


def cells(bench: Bench) -> list[Cell]:
    found = [_control(bench, kind, what) for kind, what in (("tcp", TRIO_TCP), ("aead", CEILING))]
    for stack in stacks(bench.settings):
        for dialer, listener in pairs(bench, stack):
            found += _pair(bench, stack, dialer, listener)
    return found


def stacks(settings: Settings) -> list[Stack]:
    both = [Stack("noise"), Stack("tls")]
    if settings.quick:
        return both
    return [*both, Stack("noise", "ws"), Stack("tls", "quic-v1")]


def pairs(bench: Bench, stack: Stack) -> list[tuple[Contestant, Contestant]]:
    """(dialer, listener): each with itself, and Carrick with each in both roles.

    A quick run has TLS only of each with itself.
    """
    there = [each for each in bench.contestants if each.offers(stack)]
    found = [(each, each) for each in there]
    if bench.carrick in there and not (bench.settings.quick and stack.security == "tls"):
        for peer in there:
            if peer is not bench.carrick:
                found += [(bench.carrick, peer), (peer, bench.carrick)]
    return found


def _pair(bench: Bench, stack: Stack, dialer: Contestant, listener: Contestant) -> list[Cell]:
    rows = [
        Row(NAME, what, dialer.name, listener.name, str(stack), "MB/s")
        for what in ("upload", "download")
    ]
    try:
        target = bench.listener(listener, stack)
        transfer = _transfer(bench, stack, dialer, target)
        if listener.name != "carrick" and bench.carrick.offers(stack):
            bench.dialer(stack).measure(
                "transfer", values=_none, address=target.address, up=_WARM_UP, down=_WARM_UP
            )
    except Failed as error:
        return [fails((row,), error) for row in rows]
    rate = min(_EXPECTED[dialer.name], _EXPECTED[listener.name])
    if stack.transport != "tcp":
        rate //= 4
    upload = _Sized(bench.settings, rate, target, lambda size: transfer(size, 0))
    download = _Sized(bench.settings, rate, target, lambda size: transfer(0, size))
    return [Cell((rows[0],), upload), Cell((rows[1],), download)]


class _Sized:
    """A repetition that is as large as the last rate says, to take about the same time each."""

    def __init__(
        self, settings: Settings, rate: float, listener: Child, run: Callable[[int], Outcome]
    ) -> None:
        self._aim = settings.pick(3, 20) / 10  # s
        self._rate = rate  # MB/s
        self._listener = listener
        self._run = run

    def __call__(self) -> Sequence[Sample]:
        size = int(min(_MOST, max(_LEAST, self._rate * 1e6 * self._aim)))
        samples = observe(self._listener, lambda: self._run(size))
        self._rate = samples[0].value
        return samples


def _transfer(
    bench: Bench, stack: Stack, dialer: Contestant, target: Listener
) -> Callable[[int, int], Outcome]:
    """(bytes up, bytes down) -> MB/s."""
    address = target.address
    if dialer is bench.carrick:
        lasting = bench.dialer(stack)
        return lambda up, down: lasting.measure(
            "transfer",
            values=lambda answer: [(up + down) / answer["seconds"] / 1e6],
            address=address,
            up=up,
            down=down,
        )
    # What a process costs that transfers next to nothing.
    idle = dialer.transfer(stack, address, 1, 0, 0.0).spent
    return lambda up, down: dialer.transfer(stack, address, up, down, idle)


def _control(bench: Bench, kind: str, what: str) -> Cell:
    row = Row(NAME, what, "–", "–", "tcp", "MB/s")
    listener = bench.start(controls.command("listen", kind))
    dialer = bench.keep(Child(controls.command("dial", kind)))

    def run(size: int) -> Outcome:
        answer = dialer.ask({"address": listener.address, "size": size}, 60)
        rate = answer["bytes"] / answer["seconds"] / 1e6
        return Outcome((rate,), answer["seconds"], answer["cpu"], answer["cpu"])

    return Cell((row,), _Sized(bench.settings, 1000, listener, run))


def _none(_: object) -> list[float]:
    return []
