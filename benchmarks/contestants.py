"""Who is measured: Carrick, and the peers of `interop/peers`, under one contract.

A contestant listens, and transfers bytes as a dialer. What one does not offer is not measured.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import carrick
from benchmarks import rust_release
from benchmarks.processes import ROOT, Child, Outcome
from interop.peers import build

__all__ = [
    "LIMITS",
    "PEERS",
    "CarrickDialer",
    "Contestant",
    "Listener",
    "Stack",
    "carrick_itself",
    "echo_listener",
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

_WHERE = {"tcp": "/tcp/0", "ws": "/tcp/0/ws", "quic-v1": "/udp/0/quic-v1"}
_CARRICK_TRANSPORTS = ("tcp",)
_START = 30.0  # s for a process to say that it is ready
_TRANSFER = 120.0  # s


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


@dataclass(frozen=True, slots=True)
class Contestant:
    """An implementation.

    Attributes:
        name: `carrick`, `go`, …
        listen: the command of a listener for a stack.
        perf: the command of a dialer that transfers, without address and sizes; None for Carrick,
            whose dialer lives on (`CarrickDialer`).
        connect: the command that connects once, without address.
        transports: what it offers.
        missing: why it cannot be run here.
    """

    name: str
    library: str
    version: str
    toolchain: str
    listen: Callable[[Stack], list[str]]
    perf: Callable[[Stack, str, int, int], list[str]] | None
    connect: Callable[[Stack, str], list[str]]
    transports: tuple[str, ...]
    missing: str | None = None

    def offers(self, stack: Stack) -> bool:
        return self.missing is None and stack.transport in self.transports

    @contextmanager
    def listening(self, stack: Stack) -> Iterator[Listener]:
        with Listener(self.listen(stack)) as listener:
            yield listener

    def transfer(self, stack: Stack, address: str, up: int, down: int, idle: float) -> Outcome:
        """Dial in a new process and transfer; the value is in MB/s.

        Args:
            idle: CPU-seconds of a process that transfers nothing, to be taken off.

        Raises:
            Failed: it did not work.
        """
        assert self.perf is not None
        with Child(self.perf(stack, address, up, down)) as child:
            seconds = float(child.line(_TRANSFER)["seconds"])
            spent = child.finish(_START)
        rate = (up + down) / seconds / 1e6 if seconds else 0.0
        return Outcome((rate,), seconds, max(0.0, spent - idle), spent)

    def connect_once(self, stack: Stack, address: str) -> Outcome:
        """Connect from a new process; the value is in ms, as the process itself sees it.

        It says no `seconds`: the CPU time is that of the whole process.
        """
        with Child(self.connect(stack, address)) as child:
            ms = float(child.line(_START)["connect_ms"])
            spent = child.finish(_START)
        return Outcome((ms,), 0.0, spent, spent)


class CarrickDialer(Child):
    """`benchmarks.carrick_peer` as a dialer: one process for many measurements."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(_carrick_peer("dial", stack))

    def measure(
        self, what: str, *, values: Callable[[dict[str, Any]], Sequence[float]], **arguments: Any
    ) -> Outcome:
        """Have it run the command `what` of `benchmarks.carrick_peer`.

        Raises:
            Failed: it did not work.
        """
        answer = self.ask({"command": what, **arguments}, _TRANSFER)
        cpu = float(answer["cpu"])
        return Outcome(tuple(values(answer)), float(answer["seconds"]), cpu, cpu)


def carrick_itself() -> Contestant:
    """The Carrick of this source tree."""
    limits = [word for pair in LIMITS.items() for word in ("--limit", "{}={}".format(*pair))]
    program = [sys.executable, "-m", "carrick"]

    def listen(stack: Stack) -> list[str]:
        where = "/ip4/127.0.0.1" + _WHERE[stack.transport]
        flags = stack.flags(transport=False)
        return [*program, "listen", "--json", "--perf", "--listen", where, *flags, *limits]

    def connect(stack: Stack, address: str) -> list[str]:
        return [*program, "connect", "--json", address, *stack.flags(transport=False)]

    python = f"Python {platform.python_version()}"
    version = f"{carrick.__version__} {_revision()}".strip()
    return Contestant(
        "carrick", "carrick", version, python, listen, None, connect, _CARRICK_TRANSPORTS
    )


def echo_listener(stack: Stack) -> list[str]:
    """The command of a Carrick listener that also serves what only Carrick's side speaks."""
    return _carrick_peer("listen", stack)


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
    def listen(stack: Stack) -> list[str]:
        return [*command, "listen", *stack.flags(transport=True)]

    def perf(stack: Stack, address: str, up: int, down: int) -> list[str]:
        sizes = ["--upload-bytes", str(up), "--download-bytes", str(down)]
        timeout = ["--timeout", f"{_TRANSFER:g}"]
        return [*command, "perf", address, *stack.flags(transport=False), *sizes, *timeout]

    def connect(stack: Stack, address: str) -> list[str]:
        return [*command, "dial", address, *stack.flags(transport=False)]

    transports = tuple(_WHERE)
    library = build.LANGUAGES[name].library
    return Contestant(name, library, version, toolchain, listen, perf, connect, transports, missing)


def _carrick_peer(role: str, stack: Stack) -> list[str]:
    limits = json.dumps(LIMITS)
    flags = stack.flags(transport=False)
    return [sys.executable, "-m", "benchmarks.carrick_peer", role, "--limits", limits, *flags]


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
