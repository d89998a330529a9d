"""A child process with its output in files, that never outlives the runner."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trio

from interop.runner.network import die_with_parent

__all__ = ["Process"]

EXCERPT = 16 * 1024  # bytes read from the end of an output file


class Process:
    """A process in a session of its own; end it with `stop`."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path
    ) -> None:
        """Start it; `output` plus `.out` and `.err` take what it prints."""
        self._out = output.with_name(output.name + ".out")
        self._err = output.with_name(output.name + ".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            # Not trio's: that starts it from a thread whose end would kill it.
            self._popen = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def exit_code(self) -> int | None:
        return self._popen.poll()

    @property
    def stdout(self) -> str:
        return _tail(self._out)

    @property
    def stderr(self) -> str:
        return _tail(self._err)

    async def wait(self) -> int:
        """The exit code; that of a signal is negative."""
        if self._popen.poll() is None:
            if hasattr(os, "pidfd_open"):
                fd = os.pidfd_open(self._popen.pid)
                try:
                    await trio.lowlevel.wait_readable(fd)
                finally:
                    os.close(fd)
            else:
                await trio.to_thread.run_sync(self._popen.wait, cancellable=True)
        return self._popen.wait()

    async def stop(self, grace: float) -> int:
        """SIGTERM to all of its session, SIGKILL after `grace` seconds; the exit code."""
        try:
            self._signal(signal.SIGTERM)
            with trio.move_on_after(grace):
                await self.wait()
        finally:
            self._signal(signal.SIGKILL)
        with trio.CancelScope(shield=True):
            return await self.wait()

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._popen.pid, number)
        except ProcessLookupError:
            return


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - EXCERPT))
        return file.read().decode(errors="replace")
