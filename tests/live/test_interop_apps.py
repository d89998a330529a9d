"""The apps with each other over a real Redis server, and the runner with its faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from interop.apps.resp import Redis, RedisError
from interop.runner.faults import Fault, FaultProxy
from interop.runner.process import Process
from interop.runner.server import NoRedis, find_server, running_server

ROOT = Path(__file__).resolve().parents[2]
BROKEN = f"carrick-broken={sys.executable} -m tests.support.broken_carrick"

try:
    find_server()
except NoRedis as missing:
    pytestmark = pytest.mark.skip(
        reason=f"NO REDIS SERVER, NOTHING OF INTEROP IS TESTED: {missing}"
    )


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    async with running_server("127.0.0.1", tmp_path) as address:
        yield address


def run(*flags: str, expect: int) -> dict[str, dict[str, object]]:
    """Run the runner; its results by pair."""
    words = [sys.executable, "-m", "interop", "run", "--json", "-", *flags]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=55)
    assert done.returncode == expect, done.stderr
    return {result["name"]: result for result in json.loads(done.stdout)["results"]}


# --- the apps -------------------------------------------------------------------------------------


def app(name: str, output: Path, **env: str) -> Process:
    words = [sys.executable, "-m", f"interop.apps.{name}"]
    python_path = os.pathsep.join([str(ROOT / "core"), str(ROOT)])
    return Process(
        words, env={**os.environ, "PYTHONPATH": python_path, **env}, cwd=ROOT, output=output
    )


async def meet(name: str, logs: Path, listener: dict[str, str], dialer: dict[str, str]) -> str:
    """What the dialer prints."""
    listening = app(name, logs / "listener", **listener)
    dialling = app(name, logs / "dialer", **dialer)
    try:
        with trio.fail_after(30):
            assert await dialling.wait() == 0, dialling.stderr + listening.stderr
        assert await listening.stop(5) == 0, listening.stderr
    finally:
        dialling.kill()
        listening.kill()
    return dialling.stdout


async def test_test_plans_dialect(redis: tuple[str, int], tmp_path: Path) -> None:
    env = {
        "redis_addr": "{}:{}".format(*redis),
        "transport": "tcp",
        "security": "tls",
        "muxer": "mplex",
        "ip": "127.0.0.1",
    }
    printed = await meet(
        "transport", tmp_path, {**env, "is_dialer": "false"}, {**env, "is_dialer": "true"}
    )
    assert json.loads(printed).keys() == {"handshakePlusOneRTTMillis", "pingRTTMilllis"}


async def test_perf(redis: tuple[str, int], tmp_path: Path) -> None:
    env = {
        "REDIS_ADDR": "{}:{}".format(*redis),
        "TEST_KEY": "1234abcd",
        "TRANSPORT": "tcp",
        "SECURE_CHANNEL": "noise",
        "MUXER": "yamux",
        "LISTENER_IP": "127.0.0.1",
        "UPLOAD_BYTES": "1000000",
        "DOWNLOAD_BYTES": "1000000",
        "UPLOAD_ITERATIONS": "2",
        "DOWNLOAD_ITERATIONS": "3",
        "LATENCY_ITERATIONS": "4",
    }
    printed = await meet(
        "perf", tmp_path, {**env, "IS_DIALER": "false"}, {**env, "IS_DIALER": "true"}
    )
    for name, count in (("upload", 2), ("download", 3), ("latency", 4)):
        assert f"{name}:\n  iterations: {count}\n" in printed


async def test_kad_dht(redis: tuple[str, int], tmp_path: Path) -> None:
    env = {"REDIS_ADDR": "{}:{}".format(*redis), "TEST_KEY": "1234abcd"}
    roles = [
        app("kad_dht", tmp_path / role, **env, ROLE=role)
        for role in ("bootstrap", "provider", "querier")
    ]
    *serving, querier = roles
    try:
        with trio.fail_after(40):
            assert await querier.wait() == 0, "".join(each.stderr for each in roles)
        assert querier.stdout == "status: pass\n"
        for each in serving:
            assert await each.stop(5) == 0, each.stderr
    finally:
        for each in roles:
            each.kill()


async def test_kad_dht_finds_nothing(redis: tuple[str, int], tmp_path: Path) -> None:
    """The suite looks for these words, and for the exit code."""
    env = {"REDIS_ADDR": "{}:{}".format(*redis), "TEST_KEY": "4321dcba", "TEST_TIMEOUT_SECS": "1"}
    querier = app("kad_dht", tmp_path / "querier", **env, ROLE="querier")
    try:
        with trio.fail_after(30):
            assert await querier.wait() == 1
    finally:
        querier.kill()
    error, status = querier.stdout.splitlines()
    assert error.startswith("error: ") and status == "status: fail"


async def test_the_redis_client(redis: tuple[str, int]) -> None:
    async with Redis.connect(redis) as client:
        await client.push_only("k", "one")
        await client.push_only("k", "two")
        assert await client.pop("k", 1) == "two"
        with pytest.raises(RedisError, match="nothing at k"):
            await client.pop("k", 1)
        await client.call("SET", "text", "x")
        with pytest.raises(RedisError, match="WRONGTYPE"):
            await client.pop("text", 1)


# --- the runner -----------------------------------------------------------------------------------


def test_carrick_with_itself() -> None:
    """C1 with the runner that plays it with go, rust and js too (`make interop`)."""
    results = run("--only", "carrick x carrick", "--transport", "tcp", "--workers", "2", expect=0)
    assert len(results) == 4
    for result in results.values():
        assert result["status"] == "passed" and result["handshake_ms"]


def test_a_broken_carrick_fails_its_pairs_in_both_roles() -> None:
    only = ["--only", "carrick-broken & carrick (", "--only", "carrick x carrick-broken"]
    words = ["--command", BROKEN, *only, "--transport", "tcp", "--timeout", "5", "--workers", "2"]
    results = run(*words, expect=1)
    assert len(results) == 8
    for result in results.values():
        assert result["status"] == "failed", result


@pytest.mark.parametrize(
    ("kind", "stack"),
    [
        ("cut", "tls, mplex"),
        ("delay", "noise, mplex"),
        ("garble", "noise, yamux"),
        ("drip", "tls, yamux"),
    ],
)
def test_faults(kind: str, stack: str) -> None:
    only = f"carrick x carrick & tcp, {stack}"
    (result,) = run("--fault", kind, "--only", only, "--timeout", "15", expect=0).values()
    dialer, listener = result["dialer"], result["listener"]
    assert isinstance(dialer, dict) and isinstance(listener, dict)
    assert listener["ended"] == "stopped"
    fatal = Fault(kind).fatal
    assert (dialer["exit_code"] != 0) is fatal
    assert bool(dialer["said"]) is fatal


def test_who_does_not_notice_a_fault_fails() -> None:
    """A cut behind the last byte that is sent changes nothing."""
    results = run(
        "--fault", "cut@900000", "--only", "carrick x carrick & tcp, noise, yamux", expect=1
    )
    (result,) = results.values()
    assert result["reason"] == "the dialer did not notice: cut@900000"


def test_a_killed_runner_leaves_nothing_behind(tmp_path: Path) -> None:
    """Both sides hold a pipe open, so its end of file is their end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    side = f"carrick-mine=sh -c 'exec 3>{pipe}; echo up >&3; exec sleep 600'"
    words = [sys.executable, "-m", "interop", "run", "--logs", str(tmp_path / "logs")]
    words += ["--only", "carrick-mine x carrick-mine", "--command", side]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL) as runner, pipe.open() as up:
        assert [up.readline() for _ in range(2)] == ["up\n"] * 2
        runner.kill()
        assert up.read() == ""


# --- the proxy ------------------------------------------------------------------------------------


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def through_proxy(fault: Fault, data: bytes) -> bytes:
    """What an echo server's answer has become."""
    received = bytearray()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        address = f"/ip4/127.0.0.1/tcp/{listeners[0].socket.getsockname()[1]}"
        async with FaultProxy.running(fault, "127.0.0.1", address) as instead:
            port = int(instead.split("/")[4])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                try:
                    await stream.send_all(data)
                    await stream.send_eof()
                    async for piece in stream:
                        received += piece
                except trio.BrokenResourceError:
                    received += b" reset"
        nursery.cancel_scope.cancel()
    return bytes(received)


async def test_the_proxy() -> None:
    data = bytes(range(256))
    assert await through_proxy(Fault("delay"), data) == data
    assert await through_proxy(Fault("drip"), data) == data
    garbled = bytearray(data)
    garbled[100] ^= 1
    assert await through_proxy(Fault("garble", 100), data) == garbled
    assert await through_proxy(Fault("cut", 0), data) == b" reset"
    cut = await through_proxy(Fault("cut", 100), data)
    assert cut.endswith(b" reset") and data.startswith(cut.removesuffix(b" reset"))
