"""The command in tests: in processes of its own, and in this one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from carrick.cli import main

CORE = Path(__file__).resolve().parents[2] / "core"
COMMAND = [sys.executable, "-m", "carrick"]
LOOPBACK = "/ip4/127.0.0.1/tcp/0"
PATIENCE = 30  # s

Run: TypeAlias = Callable[..., tuple[int, str, str]]


def environment(home: Path, **more: str) -> dict[str, str]:
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CARRICK_", "SSLKEYLOG", "LIBP2P_"))
    }
    return {**plain, "PYTHONPATH": str(CORE), "CARRICK_HOME": str(home), **more}


class Node:
    """A node in a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline()
        assert self.line, process.communicate()[1]
        self.ready: dict[str, Any] = json.loads(self.line)
        self.id: str = self.ready["id"]
        self.address: str = self.ready["addresses"][0]
        self.port = self.address.split("/")[4]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """(exit code, the rest of stdout, stderr)."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


@contextmanager
def listening(
    home: Path, *args: str, command: tuple[str, ...] = ("listen",), **variables: str
) -> Iterator[Node]:
    """A node that listens on loopback, run by that command."""
    process = subprocess.Popen(
        [*COMMAND, *command, "--json", "--listen", LOOPBACK, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(home, **variables),
    )
    try:
        yield Node(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def runner(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs commands in this process: (exit code, stdout, stderr)."""
    logger = logging.getLogger("carrick")
    handlers, level = list(logger.handlers), logger.level

    def run(*args: object, **variables: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - environment(home).keys():
                patch.delenv(name)
            for name, value in environment(home, **variables).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    yield run
    logger.handlers[:] = handlers
    logger.setLevel(level)


def failure(run: Run, *args: object, **variables: str) -> tuple[int, str]:
    """(exit code, the error's code), told as one line of text and as one of JSON."""
    code, out, err = run(*args, **variables)
    assert out == ""
    assert "Traceback" not in err
    assert "carrick: " in err
    again, out, err = run(*args, "--json", **variables)
    assert (again, err, out.count("\n")) == (code, "", 1)
    error = json.loads(out)["error"]
    assert error["message"]
    return code, error["code"]
