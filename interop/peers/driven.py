"""A peer on another library that does what a test tells it: `drive` in README.md.

async with driven("go", "relay-service") as relay:
    await relay.ask("connect", address=…)
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import trio

from interop.peers.build import Skipped, find

if TYPE_CHECKING:
    from interop.natlab.lab import Lab

__all__ = ["Driven", "Refused", "command_of", "driven", "unavailable"]

TIMEOUT = 30.0  # s that a command may take; the peer gives up a little earlier
START_TIMEOUT = 20.0  # s
MAX_LINE = 1 << 20  # bytes


class Refused(Exception):
    """The peer could not do it; the message is its own."""


class _Talk(Protocol):
    async def line(self) -> str: ...
    async def send_line(self, line: str) -> None: ...


@dataclass
class Driven:
    """A peer that runs.

    Attributes:
        library: as `go` or `rust-v0.54`.
        id: its peer id.
        addresses: where it listens, with its id.
    """

    library: str
    id: str
    addresses: list[str]
    _talk: _Talk

    @property
    def address(self) -> str:
        return self.addresses[0]

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have it do something, one thing at a time; its answer.

        Raises:
            Refused: it could not.
            trio.TooSlowError: it did not answer.
        """
        with trio.fail_after(TIMEOUT):
            await self._talk.send_line(json.dumps({"command": command, **arguments}))
            said = json.loads(await self._talk.line())
        if "error" in said:
            raise Refused(said["error"])
        return said["answer"]


def unavailable(*names: str) -> str | None:
    """Which of these peers have not been built here, in words; None if all have."""
    missing = [name for name in names if find(name) is None]
    if not missing:
        return None
    builds = "; ".join(f"python -m interop.peers.build {name}" for name in missing)
    return f"not built: {', '.join(missing)} ({builds})"


def command_of(name: str) -> list[str]:
    """How to start a peer that has been built.

    Raises:
        Skipped: it has not.
    """
    peer = find(name)
    if peer is None:
        raise Skipped(f"not built: {name}")
    return peer.command


@asynccontextmanager
async def driven(
    name: str,
    *parts: str,
    transport: str = "tcp",
    lab: Lab | None = None,
    place: str = "",
) -> AsyncIterator[Driven]:
    """A peer with these parts, for the block; on loopback, or at a host of the laboratory.

    Raises:
        Skipped: it has not been built.
    """
    host = "127.0.0.1" if lab is None else lab.topology.nodes[place].address
    words = [*command_of(name), "drive", "--transport", transport, "--host", host]
    words += ["--with", ",".join(parts), "--timeout", str(TIMEOUT - 1)]
    process: AbstractAsyncContextManager[_Talk]
    process = _process(words) if lab is None else lab.process(place, words, stdin=True)
    async with process as talk:
        with trio.fail_after(START_TIMEOUT):
            said = json.loads(await talk.line())
        yield Driven(name, said["id"], said["addresses"], talk)


@asynccontextmanager
async def _process(words: list[str]) -> AsyncIterator[_Talk]:
    process = await trio.lowlevel.open_process(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if os.environ.get("CARRICK_PEERS_STDERR") else subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield _Pipes(process.stdin, process.stdout)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


class _Pipes:
    def __init__(self, stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._rest = b""

    async def line(self) -> str:
        while b"\n" not in self._rest:
            piece = await self._stdout.receive_some()
            if not piece or len(self._rest) > MAX_LINE:
                raise Refused(f"it ended, or said too much: {self._rest[-200:]!r}")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def send_line(self, line: str) -> None:
        await self._stdin.send_all(f"{line}\n".encode())
