"""Child processes that speak JSON lines, and the CPU time of them and of the machine."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.stats import Sample

__all__ = ["ROOT", "Child", "Failed", "Outcome", "observe"]

ROOT = Path(__file__).resolve().parents[1]

_READ = 65536
_GRACE = 3.0  # s from SIGTERM to SIGKILL


class Failed(Exception):
    """A child did not do what it was asked for; the message has the end of its errors."""


class Child:
    """A process that prints JSON lines. As a context manager it is stopped at the end.

    Its standard input is a pipe: children that watch it end with us, however we end.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._rest = b""
        self._lost = False
        self._popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "core")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._process = psutil.Process(self._popen.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def usable(self) -> bool:
        """Whether it runs, and has answered all that it was asked."""
        return not self._lost and self._popen.poll() is None

    def line(self, timeout: float) -> dict[str, Any]:
        """Its next line.

        Raises:
            Failed: it ended, said nothing in time, or no JSON.
        """
        assert self._popen.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._popen.stdout], [], [], left)[0]:
                self._lost = True  # the answer may come yet, to another question
                raise Failed(f"no answer within {timeout:g} s{self._last_words()}")
            data = os.read(self._popen.stdout.fileno(), _READ)
            if not data:
                raise Failed(f"the process ended{self._last_words()}")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\n")
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError:
            raise Failed(f"not JSON: {text[:200]!r}") from None
        if error := found.get("error") or found.get("unsupported"):
            raise Failed(str(error))
        return found

    def ask(self, question: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Write a line, and read one; errors as `line`."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(question).encode() + b"\n")
        except OSError:
            raise Failed(f"the process ended{self._last_words()}") from None
        return self.line(timeout)

    def cpu(self) -> float:
        """CPU-seconds so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(self._process.memory_info().rss)

    def finish(self, timeout: float) -> float:
        """Wait for its end; the CPU-seconds of its life.

        Raises:
            Failed: it failed, or did not end in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(self._popen.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                raise Failed(f"did not end within {timeout:g} s")
            time.sleep(0.001)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        if self._popen.returncode:
            raise Failed(f"exit code {self._popen.returncode}{self._last_words()}")
        return usage.ru_utime + usage.ru_stime

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        self._popen.wait()
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:300]}" if lines else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action says of itself.

    Attributes:
        values: one for each row that it measures.
        seconds: the part that counts.
        dialer_cpu: the dialer's CPU-seconds in that part.
        spent: the dialer's CPU-seconds in all.
    """

    values: tuple[float, ...]
    seconds: float
    dialer_cpu: float
    spent: float


def observe(listener: Child | None, act: Callable[[], Outcome]) -> tuple[Sample, ...]:
    """Run `act`, and see what the listener and everything else on the machine used meanwhile."""
    started, busy, ours = time.monotonic(), _busy(), time.process_time()
    before = listener.cpu() if listener else 0.0
    outcome = act()
    listening = listener.cpu() - before if listener else 0.0
    wall = time.monotonic() - started
    known = listening + outcome.spent + time.process_time() - ours
    other = max(0.0, _busy() - busy - known) / wall
    return tuple(
        Sample(value, outcome.seconds, listening, outcome.dialer_cpu, other)
        for value in outcome.values
    )


def _busy() -> float:
    """CPU-seconds that the machine has worked, or been kept from it by its host."""
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are counted in user and nice
    return float(sum(value for name, value in times.items() if name not in idle))
