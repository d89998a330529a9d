"""Who is measured: Carrick, and the peers of `interop/peers`, under one contract.

A contestant is a listener, and a dialer that does what it is asked for, in the words of
`benchmarks.work`. What one does not offer is not measured.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import carrick
from benchmarks import rust_release
from benchmarks.processes import ROOT, Child, Outcome
from benchmarks.work import WHERE
from interop.peers import build

__all__ = [
    "LIMITS",
    "PEERS",
    "Contestant",
    "Dialer",
    "Listener",
    "Stack",
    "carrick_itself",
    "find_peer",
]

PEERS = ("go", "rust", "js", "py")

LIMITS = {
    "connections": 20_000,
    "connections_inbound": 20_000,
    "connections_pending": 4096,
    "low_water": 20_000,
    "high_water": 20_000,
    "streams": 100_000,
    "streams_inbound": 100_000,
    "streams_pending": 20_000,
    "streams_inbound_per_peer": 20_000,
    "streams_outbound_per_peer": 20_000,
    "streams_per_connection": 20_000,
    "streams_inbound_per_connection": 20_000,
    "streams_pending_per_connection": 20_000,
    "streams_inbound_per_protocol": 20_000,
    "streams_inbound_per_protocol_and_peer": 20_000,
    "streams_inbound_per_service": 20_000,
    "streams_inbound_per_service_and_peer": 20_000,
}
"""The limits of Carrick that are raised, on both sides; those of peers: `interop/peers`."""

_CARRICK_MODULES = {"tcp": "tcp", "ws": "websocket", "quic-v1": "quic"}
_START = 30.0  # s for a process to say that it is ready
_ANSWER = 120.0  # s


@dataclass(frozen=True, slots=True)
class Stack:
    """What carries the streams."""

    security: str = "noise"
    transport: str = "tcp"
    muxer: str = "yamux"

    def __str__(self) -> str:
        if self.transport == "quic-v1":
            return self.transport
        return f"{self.transport}+{self.security}+{self.muxer}"

    def flags(self, *, transport: bool) -> tuple[str, ...]:
        """The command line of peers."""
        words = ("--security", self.security, "--muxer", self.muxer)
        return ("--transport", self.transport, *words) if transport else words


class Listener(Child):
    """A node that has said where it listens."""

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__(command)
        try:
            self.address = str(self.line(_START)["addresses"][0])
        except BaseException:
            self.stop()
            raise


class Dialer(Child):
    """A process that does what it is asked for, one thing after another."""

    def measure(
        self, what: str, *, values: Callable[[dict[str, Any]], Sequence[float]], **arguments: Any
    ) -> Outcome:
        """Have it run the command `what` of `benchmarks.work`.

        Raises:
            Failed: it did not work.
        """
        before = self.cpu()
        answer = self.ask({"command": what, **arguments}, _ANSWER)
        spent = self.cpu() - before
        cpu = float(answer.get("cpu", spent))  # a peer's is that of the whole command
        return Outcome(tuple(values(answer)), float(answer["seconds"]), cpu, max(cpu, spent))


@dataclass(frozen=True, slots=True)
class Contestant:
    """An implementation.

    Attributes:
        name: `carrick`, `go`, …
        start: the command of a node as users start it.
        listen: the command of a listener that serves identify, ping, perf and the echo.
        dial: the command of a `Dialer`.
        connect: the command that connects once, with the address.
        transports: what it offers.
        missing: why it cannot be run here.
    """

    name: str
    library: str
    version: str
    toolchain: str
    start: Callable[[Stack], list[str]]
    listen: Callable[[Stack], list[str]]
    dial: Callable[[Stack], list[str]]
    connect: Callable[[Stack, str], list[str]]
    transports: tuple[str, ...]
    missing: str | None = None

    def offers(self, stack: Stack) -> bool:
        return self.missing is None and stack.transport in self.transports

    def connect_once(self, stack: Stack, address: str) -> Outcome:
        """Connect from a new process; the value is in ms, as the process itself sees it.

        It says no `seconds`: the CPU time is that of the whole process.
        """
        with Child(self.connect(stack, address)) as child:
            ms = float(child.line(_START)["connect_ms"])
            spent = child.finish(_START)
        return Outcome((ms,), 0.0, spent, spent)


def carrick_itself() -> Contestant:
    """The Carrick of this source tree."""
    limits = [word for pair in LIMITS.items() for word in ("--limit", "{}={}".format(*pair))]
    program = [sys.executable, "-m", "carrick"]

    def start(stack: Stack) -> list[str]:
        where = "/ip4/127.0.0.1" + WHERE[stack.transport]
        flags = stack.flags(transport=False)
        return [*program, "listen", "--json", "--perf", "--listen", where, *flags, *limits]

    def serve(role: str) -> Callable[[Stack], list[str]]:
        command = [sys.executable, "-m", "benchmarks.carrick_peer", role]
        raised = ["--limits", json.dumps(LIMITS)]
        return lambda stack: [*command, *raised, *stack.flags(transport=True)]

    def connect(stack: Stack, address: str) -> list[str]:
        return [*program, "connect", "--json", address, *stack.flags(transport=False)]

    return Contestant(
        name="carrick",
        library="carrick",
        version=f"{carrick.__version__} {_revision()}".strip(),
        toolchain=f"Python {platform.python_version()}",
        start=start,
        listen=serve("listen"),
        dial=serve("dial"),
        connect=connect,
        transports=tuple(
            name
            for name, module in _CARRICK_MODULES.items()
            if importlib.util.find_spec(f"carrick.transports.{module}")
        ),
    )


def find_peer(name: str) -> Contestant:
    """A peer of `interop/peers`, built if need be; one that is not to be had says why."""
    try:
        peer = build.build(name)
        command, remark = peer.command, ""
        if name == "rust":
            command, remark = rust_release.command(peer), ", release profile"
    except build.Skipped as missing:
        return _peer(name, [], "–", "–", str(missing))
    except (subprocess.CalledProcessError, OSError) as error:
        return _peer(name, [], "–", "–", f"its build failed: {error}")
    return _peer(name, command, peer.version, peer.toolchain + remark, None)


def _peer(
    name: str, command: Sequence[str], version: str, toolchain: str, missing: str | None
) -> Contestant:
    def serve(role: str) -> Callable[[Stack], list[str]]:
        return lambda stack: [*command, role, *stack.flags(transport=True)]

    def connect(stack: Stack, address: str) -> list[str]:
        return [*command, "dial", address, *stack.flags(transport=False)]

    return Contestant(
        name=name,
        library=build.LANGUAGES[name].library,
        version=version,
        toolchain=toolchain,
        start=serve("listen"),
        listen=serve("listen"),
        dial=serve("bench"),
        connect=connect,
        transports=tuple(WHERE),
        missing=missing,
    )


def _revision() -> str:
    """The commit of the source tree, with `+` if it has changed since; empty if unknown."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
