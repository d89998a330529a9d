"""The perf suites. ``python -m interop.apps.perf``

Without arguments: one side of unified-testing's `perf/`, from the environment. With arguments: the
executable `perf` of test-plans' `perf/` (`--run-server`, or a client).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Awaitable, Callable

import trio

from carrick import Connection, Host, HostBuilder, PrivateKey
from carrick.identity import KeyType
from carrick.protocols.perf import ID, Dialect, Perf
from interop.apps.environment import Settings, SettingsError, parse, read_number
from interop.apps.node import main, make_builder, published, wait_for_end
from interop.apps.resp import Redis, RedisError
from interop.apps.statistics import summarize

__all__ = ["dialect_of", "run", "server_key", "test_plans"]

UPLOAD_BYTES = DOWNLOAD_BYTES = 1 << 30
ITERATIONS = 10
LATENCY_ITERATIONS = 100

_UT16_AGENTS = ("rust", "dotnet", "lua", "zig")

# --- unified-testing ------------------------------------------------------------------------------


async def run(settings: Settings) -> None:
    """Serve until stopped, or dial, measure and print the statistics."""
    builder = make_builder(settings).services(Perf())
    async with builder.open() as host, Redis.connect(settings.redis) as redis:
        if settings.is_dialer:
            address = await redis.text(settings.key, settings.timeout)
            await _measure(host, address, settings)
        else:
            await redis.call("SET", settings.key, published(host.addresses))
            await wait_for_end(settings.timeout)


async def _measure(host: Host, address: str, settings: Settings) -> None:
    connection = await host.connect(address, timeout=settings.timeout)
    agent = host.peerstore.metadata(connection.peer_id).get("agent_version", "")
    dialect = dialect_of(os.environ.get("PERF_DIALECT", ""), agent)
    perf = host.service(Perf)
    up = read_number(os.environ, "UPLOAD_BYTES", UPLOAD_BYTES)
    down = read_number(os.environ, "DOWNLOAD_BYTES", DOWNLOAD_BYTES)

    async def upload() -> float:
        result = await perf.measure(connection, upload=up, dialect=dialect)
        return _gbps(up, result.upload_s)

    async def download() -> float:
        result = await perf.measure(connection, download=down, dialect=dialect)
        return _gbps(down, result.download_s)

    async def latency() -> float:
        return 1000 * await _round_trip(connection, dialect)

    for name, once, count, unit, digits in (
        ("upload", upload, ITERATIONS, "Gbps", 2),
        ("download", download, ITERATIONS, "Gbps", 2),
        ("latency", latency, LATENCY_ITERATIONS, "ms", 3),
    ):
        count = read_number(os.environ, f"{name.upper()}_ITERATIONS", count)
        samples = await _repeat(once, count)
        if samples:
            print(summarize(samples).block(name, unit, digits), flush=True)


async def _repeat(once: Callable[[], Awaitable[float]], count: int) -> list[float]:
    return [await once() for _ in range(count)]


async def _round_trip(connection: Connection, dialect: Dialect) -> float:
    """One byte there and one back on a new stream, in seconds."""
    numbers = (1,) if dialect is Dialect.SPEC else (1, 1)
    start = trio.current_time()
    async with await connection.open_stream([ID]) as stream:
        await stream.send_all(b"".join(number.to_bytes(8, "big") for number in numbers) + b"\0")
        await stream.send_eof()
        received = 0
        while data := await stream.receive_some(16):
            received += len(data)
    if received != 1:
        raise RedisError(f"one byte was asked for, {received} came")
    return trio.current_time() - start


def dialect_of(override: str, agent: str) -> Dialect:
    """How to speak `/perf/1.0.0`: as `override` says (`spec`, `ut16`), else by who is there.

    The suite's rust, .NET, lua and zig apps want 16 bytes where the specification has 8.

    Raises:
        SettingsError: `override` is something else.
    """
    if override:
        try:
            return Dialect(override)
        except ValueError:
            raise SettingsError(f"PERF_DIALECT is neither spec nor ut16: {override!r}") from None
    found = any(name in agent.lower() for name in _UT16_AGENTS)
    return Dialect.UT16 if found else Dialect.SPEC


def _gbps(size: int, seconds: float) -> float:
    return size * 8 / seconds / 1e9 if seconds else 0.0


# --- test-plans -----------------------------------------------------------------------------------


def server_key() -> PrivateKey:
    """The suite's fixed server identity: the Ed25519 key of 32 zero bytes."""
    seed = bytes(32)
    public = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
    return PrivateKey.from_protobuf(bytes([8, KeyType.ED25519, 18, 64]) + seed + public)


async def test_plans(args: argparse.Namespace) -> None:
    """The suite's server, which never ends, or one client."""
    host, _, port = args.server_address.rpartition(":")
    address = f"/ip4/{host}/tcp/{port}"
    if args.transport != "tcp":
        raise SettingsError(f"transport {args.transport} is not there")
    if args.run_server is not None:
        server = HostBuilder().identity(server_key()).listen(address).services(Perf())
        async with server.open():
            await trio.sleep_forever()
    await _client(f"{address}/p2p/{server_key().peer_id}", args.upload_bytes, args.download_bytes)


async def _client(address: str, upload: int, download: int) -> None:
    start = last = trio.current_time()
    before = (0, 0)

    def progress(uploaded: int, downloaded: int) -> None:
        nonlocal last, before
        now = trio.current_time()
        if now - last >= 1:
            _line("intermediary", now - last, uploaded - before[0], downloaded - before[1])
            last, before = now, (uploaded, downloaded)

    async with HostBuilder().services(Perf()).open() as host:
        connection = await host.connect(address)
        await host.service(Perf).measure(
            connection, upload=upload, download=download, progress=progress
        )
        _line("final", trio.current_time() - start, upload, download)


def _line(kind: str, seconds: float, uploaded: int, downloaded: int) -> None:
    fields = {"timeSeconds": seconds, "uploadBytes": uploaded, "downloadBytes": downloaded}
    print(json.dumps({"type": kind, **fields}), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf")
    parser.add_argument("--run-server", nargs="?", const="true")
    parser.add_argument("--server-address", required=True)
    parser.add_argument("--transport", default="tcp")
    parser.add_argument("--upload-bytes", type=int, default=0)
    parser.add_argument("--download-bytes", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(test_plans, _arguments())
    else:
        sys.exit(main(run, parse))
