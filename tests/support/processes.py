"""`carrick listen` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio
from multiaddr import Multiaddr

from carrick.addressing import parse_address

CORE = Path(__file__).parents[2] / "core"


@dataclass
class Node:
    """A running node."""

    pid: int
    address: Multiaddr
    log: bytes = b""
    """What it wrote to stderr; complete once it has ended."""


@asynccontextmanager
async def listening_node(
    *options: str, descriptors: int | None = None, limits: Sequence[str] = ()
) -> AsyncIterator[Node]:
    """`carrick listen` on loopback, ended by SIGINT; it must end with 0.

    Args:
        descriptors: how many it may have.
        limits: as `--limit` takes them.
    """
    command = [sys.executable, "-m", "carrick", "--json", "listen"]
    command += ["--listen", "/ip4/127.0.0.1/tcp/0", *options]
    for limit in limits:
        command += ["--limit", limit]
    if descriptors is not None:
        command = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    environment = {**os.environ, "PYTHONPATH": str(CORE), "CARRICK_HOME": "/nonexistent"}
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            lambda task_status: trio.run_process(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                check=False,
                task_status=task_status,
            )
        )
        assert process.stdout is not None and process.stderr is not None
        log = bytearray()

        async def read_log() -> None:
            assert process.stderr is not None
            async for chunk in process.stderr:
                log.extend(chunk)

        nursery.start_soon(read_log)
        line = b""
        with trio.fail_after(20):
            while not line.endswith(b"\n"):
                chunk = await process.stdout.receive_some()
                assert chunk, f"the node ended: {log.decode()}"
                line += chunk
        node = Node(process.pid, parse_address(json.loads(line)["addresses"][0]))
        try:
            yield node
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(10):
                process.send_signal(signal.SIGINT)
                await process.wait()
    node.log = bytes(log)
    assert process.returncode in (0, 130), node.log.decode()
