"""Runs one pair: two processes, a Redis server between them, perhaps a faulty proxy."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from interop.apps.resp import Redis, RedisError
from interop.runner.faults import Fault, FaultProxy
from interop.runner.implementations import ROOT, Implementation
from interop.runner.matrix import Pair
from interop.runner.network import Network
from interop.runner.process import Process
from interop.runner.results import FAILED, PASSED, Result, Side, excerpt, read_latency

__all__ = ["Bench"]

STOP_GRACE = 2.0  # s between SIGTERM and SIGKILL
HUNG_AFTER = 5.0  # s beyond the test's own timeout

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME")


@dataclass(frozen=True, slots=True)
class Bench:
    """What all pairs of a run share.

    Attributes:
        timeout: of one pair, in seconds.
        logs: a folder for the output of failures.
    """

    network: Network
    redis: tuple[str, int]
    implementations: Mapping[str, Implementation]
    timeout: float
    logs: Path
    fault: Fault | None = None
    debug: bool = False

    async def run(self, pair: Pair) -> Result:
        """Run `pair`. Logs stay where the result says if it failed, else they go."""
        logs = self.logs / pair.slug
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        started = trio.current_time()
        dialer_key = pair.test_key + ("-fault" if self.fault else "")
        async with Redis.connect(self.redis) as redis:
            for key in {pair.test_key, dialer_key}:
                await redis.call("DEL", _list(key))
        async with (
            self._side(pair, pair.listener, pair.test_key, logs, dialer=False) as listener,
            self._side(pair, pair.dialer, dialer_key, logs, dialer=True) as dialer,
        ):
            trouble = await self._watch(pair, dialer_key, listener, dialer)
            dialer_ended = "itself" if dialer.exit_code is not None else "stopped"
            listener_ended = "itself" if listener.exit_code is not None else "stopped"
            dialer_code = await dialer.stop(STOP_GRACE)
            listener_code = await listener.stop(STOP_GRACE)
        result = self._judge(pair, trouble, dialer, listener_ended == "itself")
        result = replace(
            result,
            seconds=round(trio.current_time() - started, 2),
            dialer=Side(dialer_code, dialer_ended, excerpt(dialer.stderr)),
            listener=Side(listener_code, listener_ended, excerpt(listener.stderr)),
        )
        if result.status == FAILED:
            return replace(result, logs=str(logs))
        shutil.rmtree(logs)
        return result

    @asynccontextmanager
    async def _side(
        self, pair: Pair, name: str, key: str, logs: Path, *, dialer: bool
    ) -> AsyncIterator[Process]:
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        env |= {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT)]),
            "IS_DIALER": "true" if dialer else "false",
            "REDIS_ADDR": "{}:{}".format(*self.redis),
            "TEST_KEY": key,
            "TRANSPORT": pair.transport,
            "LISTENER_IP": self.network.bind,
            "TEST_TIMEOUT_SECS": f"{self.timeout:.0f}",
            "DEBUG": "true" if self.debug else "false",
        }
        if pair.security and pair.muxer:
            env |= {"SECURE_CHANNEL": pair.security, "MUXER": pair.muxer}
        process = Process(
            self.implementations[name].command,
            env=env,
            cwd=ROOT,
            output=logs / ("dialer" if dialer else "listener"),
        )
        try:
            yield process
        finally:
            process.kill()

    async def _watch(
        self, pair: Pair, dialer_key: str, listener: Process, dialer: Process
    ) -> str | None:
        """Until the dialer has ended; what went wrong besides what it says itself."""
        trouble: str | None = None
        with trio.move_on_after(self.timeout + HUNG_AFTER) as patience:
            async with trio.open_nursery() as nursery:

                async def watch_listener() -> None:
                    nonlocal trouble
                    code = await listener.wait()
                    trouble = f"the listener ended first, with exit code {code}"
                    nursery.cancel_scope.cancel()

                async def interpose(fault: Fault) -> None:
                    nonlocal trouble
                    try:
                        await self._interpose(fault, pair.test_key, dialer_key)
                    except (RedisError, ValueError) as error:
                        trouble = str(error)
                        nursery.cancel_scope.cancel()

                nursery.start_soon(watch_listener)
                if self.fault is not None:
                    nursery.start_soon(interpose, self.fault)
                await dialer.wait()
                nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            return f"the dialer hung: stopped after {self.timeout + HUNG_AFTER:g} s"
        return trouble

    async def _interpose(self, fault: Fault, listener_key: str, dialer_key: str) -> None:
        """Give the dialer a proxy's address in place of the listener's."""
        async with Redis.connect(self.redis) as redis:
            address = await redis.pop(_list(listener_key), self.timeout)
            async with FaultProxy.running(fault, self.network.ip, address) as instead:
                await redis.push_only(_list(dialer_key), instead)
                await trio.sleep_forever()

    def _judge(
        self, pair: Pair, trouble: str | None, dialer: Process, listener_gone: bool
    ) -> Result:
        fault = str(self.fault) if self.fault else None

        def failed(reason: str) -> Result:
            return Result(pair, FAILED, reason, fault=fault)

        if trouble:
            return failed(trouble)
        code = dialer.exit_code
        if listener_gone:
            return failed("the listener did not outlive the dialer")
        if self.fault is not None and self.fault.fatal:
            if code == 0:
                return failed(f"the dialer did not notice: {self.fault}")
            return Result(pair, PASSED, f"the dialer reported it, exit code {code}", fault=fault)
        if code:
            return failed(f"the dialer failed, with exit code {code}")
        times = read_latency(dialer.stdout)
        if times is None:
            return failed("the dialer printed no result")
        return Result(pair, PASSED, handshake_ms=times[0], ping_ms=times[1], fault=fault)


def _list(test_key: str) -> str:
    return f"{test_key}_listener_multiaddr"
