"""How long it takes to import, and to be ready."""

from __future__ import annotations

import compileall
import importlib.util
import sys
import time
from collections.abc import Sequence

from benchmarks.bench import Bench, Cell, Row, Settings
from benchmarks.contestants import Contestant, Listener, Stack
from benchmarks.processes import ROOT, Child, Outcome, observe
from benchmarks.stats import Sample

NAME = "startup"
TITLE = "Start"
NOTE = (
    "*until it listens*: from starting the process to its line of JSON with its addresses. The "
    "imports are timed within a new interpreter, whose own start is not in them. *all that a host "
    "takes*: with TCP, Noise, TLS, Yamux, identify and ping. Modules are compiled beforehand, as "
    "an installer leaves them."
)

TCP_HOST = "import of all that a host takes"
_IMPORTS = {
    "import carrick": "import carrick",
    TCP_HOST: (
        "from carrick import HostBuilder; import carrick.transports.tcp, "
        "carrick.transports.security.noise, carrick.transports.security.tls, "
        "carrick.transports.muxers.yamux, carrick.protocols.identify, carrick.protocols.ping"
    ),
}
_MORE = "carrick.transports.quic", "carrick.transports.websocket"  # if they are there
_TIMED = """
import json, time
started, cpu = time.perf_counter(), time.process_time()
{}
print(json.dumps({{"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}}))
"""


def seconds(settings: Settings) -> float:
    return 4.0 * settings.rounds


def cells(bench: Bench) -> list[Cell]:
    _compile()
    stack = Stack()
    ready = [_ready(each, stack) for each in bench.contestants if each.offers(stack)]
    imports = dict(_IMPORTS)
    if all(importlib.util.find_spec(name) for name in _MORE):
        imports["the same with QUIC and WebSocket"] = f"{imports[TCP_HOST]}, {', '.join(_MORE)}"
    return [*ready, *(_import(what, code) for what, code in imports.items())]


def _compile() -> None:
    """Compile this tree, as pip compiles what it installs: otherwise, where the environment forbids
    Python to write bytecode, each start would compile Carrick, and Carrick alone, anew."""
    for folder in ("core", "transports", "protocols"):  # a link is not followed
        compileall.compile_dir(ROOT / folder, quiet=1)


def _row(what: str, name: str) -> Row:
    return Row(NAME, what, "–", name, "", "ms", more_is_better=False)


def _ready(contestant: Contestant, stack: Stack) -> Cell:
    def start() -> Outcome:
        began = time.perf_counter()
        with Listener(contestant.start(stack)) as listener:
            taken = time.perf_counter() - began
            cpu = listener.cpu()
        return Outcome((taken * 1e3,), taken, cpu, cpu)

    def run() -> Sequence[Sample]:
        return _as_listener(observe(None, start))

    return Cell((_row("until it listens", contestant.name),), run)


def _import(what: str, code: str) -> Cell:
    def take() -> Outcome:
        with Child([sys.executable, "-c", _TIMED.format(code)]) as child:
            answer = child.line(30)
            spent = child.finish(30)
        return Outcome((answer["seconds"] * 1e3,), answer["seconds"], answer["cpu"], spent)

    def run() -> Sequence[Sample]:
        return _as_listener(observe(None, take))

    return Cell((_row(what, "carrick"),), run)


def _as_listener(samples: Sequence[Sample]) -> list[Sample]:
    return [
        Sample(each.value, each.wall, each.dialer_cpu, 0.0, each.other_cores) for each in samples
    ]
