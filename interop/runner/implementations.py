"""The implementations of a run: Carrick itself, and the peers that can be built here."""

from __future__ import annotations

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import carrick
from interop.peers import build
from interop.runner.offers import OFFERS

__all__ = ["ROOT", "Implementation", "carrick_itself", "given", "prepare"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Implementation:
    """How to run one side.

    Attributes:
        command: with the suite's environment it plays either role; empty if `missing`.
        missing: why it cannot be run here.
    """

    name: str
    library: str
    version: str
    toolchain: str
    command: tuple[str, ...]
    missing: str | None = None


def carrick_itself() -> Implementation:
    """The Carrick of this source tree."""
    command = (sys.executable, "-m", "interop.apps.transport")
    python = f"Python {platform.python_version()}"
    return Implementation("carrick", "carrick", carrick.__version__, python, command)


def given(text: str) -> Implementation:
    """`NAME=COMMAND`: an app of the user's own that speaks the suite's environment.

    Raises:
        ValueError: it is not of that form, or no row of the offers is for it.
    """
    name, equals, command = text.partition("=")
    words = tuple(shlex.split(command))
    if not equals or not words:
        raise ValueError(f"not NAME=COMMAND: {text!r}")
    if name.split("-")[0] not in OFFERS:
        known = ", ".join(sorted(OFFERS))
        raise ValueError(f"{name!r} must be one of {known}, or such a name with -… behind it")
    return Implementation(name, "given", "-", "-", words)


def prepare(
    names: Iterable[str], budget: float, say: Callable[[str], None]
) -> list[Implementation]:
    """Build the peers that are not built yet, all within `budget` seconds."""
    end = time.monotonic() + budget
    found = []
    for name in names:
        say(f"building {name}")
        peer = _build(name, end - time.monotonic())
        if peer.missing:
            say(f"[bold red]{name} is not there: {peer.missing}[/]")
        found.append(peer)
    return found


def _build(name: str, left: float) -> Implementation:
    command = [sys.executable, "-m", "interop.peers.build", name]
    # Its own session: at the end of the budget all its compilers must go.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as builder:
        try:
            out, err = builder.communicate(timeout=max(left, 5))
        except BaseException as error:
            os.killpg(builder.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return _missing(name, "not built within the build budget")
            raise
    if builder.returncode == build.EXIT_SKIPPED:
        return _missing(name, json.loads(out)["skipped"])
    if builder.returncode:
        return _missing(name, "the build failed: " + _last_line(err))
    peer = build.Peer(**json.loads(out))
    return Implementation(name, peer.library, peer.version, peer.toolchain, tuple(peer.command))


def _missing(name: str, why: str) -> Implementation:
    return Implementation(name, build.LANGUAGES[name.split("-")[0]].library, "-", "-", (), why)


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
